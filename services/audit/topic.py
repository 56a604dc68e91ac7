"""The public topic against the store: the very bytes, their order, and the heads that they say."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from events.envelope import BadMessage, UnknownMessage
from events.kafka.connection import LOST
from events.kafka.reading import read_all
from events.reading import read_placed
from events.topics import RUN_EVENTS, Placed, Record
from services.audit.survey import MARK, MOST, Index, mark_of
from services.places import broker_of
from services.settings import Settings

AT_ONCE = 1_000  # records between two turns of the event loop

NameOf = Callable[[int], str]
"""Return the id of the event at a position of the store."""


class NoBroker(Exception):
    """No broker answers, so what is on the topic is not known."""


def records(settings: Settings) -> Iterator[Record]:
    """Yield every record of the public topic, few in memory at a time. Raises NoBroker."""
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # NoBroker says what they would
    found = read_all(broker_of(settings), RUN_EVENTS)
    with asyncio.Runner() as runner:
        try:
            while page := runner.run(_some(found)):
                yield from page
        except LOST as error:
            raise NoBroker(f"no broker answers at {settings.brokers}") from error
        finally:
            runner.run(_close(found))


async def _some(found: AsyncIterator[Record]) -> Sequence[Record]:
    page = list[Record]()
    async for record in found:
        page.append(record)
        if len(page) == AT_ONCE:
            break
    return page


async def _close(found: AsyncIterator[Record]) -> None:
    await found.aclose()  # type: ignore[attr-defined]  # read_all is a generator


def differences(
    index: Index, until: int, published: Iterable[Record], name_of: NameOf
) -> tuple[int, list[str], list[str]]:
    """Return how many records there are, in what the topic differs from the store, and notes.

    An event that is there twice is no difference, nor one above `until`: it is newer than the look
    at the store. Nor is what nobody takes for an event, as anybody who may write there can leave
    it for as long as the topic is kept: it is noted. If it took an event's place, that is missing.
    """
    count, found, last = 0, list[str](), Counter[str]()
    notes, unreadable = list[str](), 0
    for record in published:
        count += 1
        try:
            placed = read_placed(record)
        except (UnknownMessage, BadMessage) as error:
            unreadable += 1
            if len(notes) < MOST:
                notes.append(f"topic: {record.partition}/{record.offset} is no event: {error}")
            continue
        for line in _wrong(index, until, record, placed, last):
            if len(found) < MOST:
                found.append(f"topic: {line}")
    missing = list[str]()
    more = 0
    for position in index.unseen():
        if len(found) + len(missing) < MOST:
            missing.append(f"topic: {name_of(position)} at position {position} is missing")
        else:
            more += 1
    if unreadable > len(notes):
        notes.append(f"topic: {unreadable - len(notes)} more records are no events")
    return count, [*found, *missing, *([f"topic: {more} more are missing"] if more else [])], notes


def _wrong(
    index: Index, until: int, record: Record, placed: Placed, last: Counter[str]
) -> Iterator[str]:
    if placed.position > until:
        return
    where = f"{placed.envelope.id} at position {placed.position}"
    number = index.find(placed.position)
    if number is None:
        yield f"{where} is not in the store"
        return
    if _mark(record) != index.mark(number):
        yield f"{where} is not what the store has there"
    elif _says_other_head(record, placed, index.head(number)):
        yield f"{where} says another head of {placed.key} than is recorded"
    if index.see(number):
        if placed.position < last[placed.key]:
            yield f"{where} comes after {last[placed.key]} of {placed.key}"
        last[placed.key] = placed.position


def _mark(record: Record) -> bytes:
    return mark_of(record.header("ce_type") or "", record.value or b"", record.key or b"")


def _says_other_head(record: Record, placed: Placed, head: bytes) -> bool:
    """Tell whether a record says a head, which very old ones do not, and another one."""
    if placed.head is None:
        return record.header("ce_chain") is not None
    return placed.head.chain[:MARK] != head
