"""`septet audit`: every event as it was said, and whether all that follows from them agrees."""

import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated

import typer

from events import account, commands, receipts  # noqa: F401  # they enter their messages
from events import run as run_events  # noqa: F401
from events import site as site_events  # noqa: F401
from events.envelope import BadMessage, UnknownMessage, encode
from events.message import bare_name, wire_name
from events.reading import read_placed
from events.topics import Placed
from services.cli.environment import read_settings
from services.cli.kafka import records_of
from services.cli.output import Code, Failed, command, emit, group, note, say
from services.cli.stores import answering, opened
from services.settings import Settings

app = group("Audit: replay what happened, verify that every copy agrees.")

SETTLE_WITHIN = 10.0  # seconds that the read model and the topic are given to catch up


class Source(StrEnum):
    """Where events are read from."""

    STORE = "store"
    KAFKA = "kafka"


@command(app, "replay")
def replay(
    run: Annotated[str | None, typer.Option(help="Run id")] = None,
    site: Annotated[str | None, typer.Option(help="Site id")] = None,
    source: Annotated[
        Source, typer.Option("--from", help="store: the truth; kafka: septet.run-events")
    ] = Source.STORE,
) -> None:
    """Print the events of a run or a site as JSON lines, in order."""
    if (run is None) == (site is None):
        raise Failed("name either --run or --site", Code.USAGE)
    found = 0
    for placed in _placed(read_settings(), source):
        envelope = placed.envelope
        if (run is not None and envelope.run_id == run) or (
            site is not None and envelope.site_id == site
        ):
            name = wire_name(envelope.message)
            head = f'{{"position":{placed.position},"type":"{bare_name(name)}","ce_type":"{name}",'
            say(head + encode(envelope)[1:].decode())
            found += 1
    if not found:
        raise Failed(f"there are no events of {run or site} in the {source.value}")


@command(app, "verify")
def verify() -> None:
    """Check the log, refold it, compare with read model and topic. Exit code 1 if they differ.

    What is behind is given ten seconds to catch up, so this can be run beside an idle Septet.
    """
    settings = read_settings()
    deadline = time.monotonic() + SETTLE_WITHIN
    while True:
        events, differences, topic = _compare(settings)
        if not differences or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if not topic:
        note(f"the topic was not compared: no broker answers at {settings.brokers}")
    answer = {"events": events, "topic_compared": topic, "differences": differences}
    compared = "store, read model and topic" if topic else "store and read model"
    verdict = "differ" if differences else "agree"
    emit(answer, "\n".join([f"{events} events: {compared} {verdict}", *differences]))
    if differences:
        raise Failed(
            f"{len(differences)} differences. See septet projections rebuild",
            problem={"code": "differences", "count": len(differences)},
        )


def _compare(settings: Settings) -> tuple[int, list[str], bool]:
    from projections.database import open_engine
    from projections.rebuild import differences
    from services.invariants import violations
    from services.orchestrator.store import open_store
    from services.places import read_model_url

    with answering(settings):
        store, engine = open_store(settings), open_engine(read_model_url(settings))
        try:
            found = [f"log: {line}" for line in violations(store.stored())]
            placed = list(store.placed())
            found += differences(engine, placed)
        finally:
            engine.dispose()
            store.close()
    try:
        published, strange = _published(settings)
    except Failed:
        return len(placed), found, False
    return len(placed), [*found, *strange, *in_topic(placed, published)], True


def in_topic(stored: Iterable[Placed], published: Iterable[Placed]) -> list[str]:
    """Return in what the topic differs from the store: missing, foreign, changed or out of order.

    An event that is in the topic twice is no difference.
    """
    truth = {placed.envelope.id: placed for placed in stored}
    missing, last, found = dict(truth), dict[str, int](), list[str]()
    for placed in published:
        known = truth.get(placed.envelope.id)
        where = f"topic: {placed.envelope.id} at position {placed.position}"
        if known is None:
            found.append(f"{where} is not in the store")
            continue
        if known.position != placed.position or encode(known.envelope) != encode(placed.envelope):
            found.append(f"{where} is not what the store has at {known.position}")
        if missing.pop(placed.envelope.id, None) is not None:
            if placed.position < last.get(placed.key, 0):
                found.append(f"{where} comes after {last[placed.key]} of {placed.key}")
            last[placed.key] = placed.position
    return found + [
        f"topic: {identity} at position {placed.position} is missing"
        for identity, placed in missing.items()
    ]


def _placed(settings: Settings, source: Source) -> Iterator[Placed]:
    if source is Source.STORE:
        with answering(settings):
            yield from opened(settings)
        return
    placed, strange = _published(settings)
    for line in strange:
        note(line)
    yield from sorted(placed, key=lambda one: one.position)


def _published(settings: Settings) -> tuple[list[Placed], list[str]]:
    """Return the events of the public topic, and a line for each record that is none.

    Raises Failed when no broker answers.
    """
    from events.topics import RUN_EVENTS

    placed, strange = list[Placed](), list[str]()
    for record in records_of(settings, RUN_EVENTS):
        try:
            placed.append(read_placed(record))
        except (UnknownMessage, BadMessage) as error:
            strange.append(f"topic: {record.partition}/{record.offset} is no event: {error}")
    return placed, strange
