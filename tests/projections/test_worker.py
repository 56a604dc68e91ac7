"""The projector's loop: records in, rows and dead letters out."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from events.message import wire_name
from events.topics import DEAD_LETTERS, RUN_EVENTS, Placed, Record, record_of
from projections import accounts
from projections.projector import Worker
from projections.rebuild import differences
from tests.projections.history import ALICE, World
from tests.projections.tables import ask, dump
from tests.projections.test_projector import with_poison


class Sent:
    """A list for Kafka."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(self, record: Record) -> None:
        self.records.append(record)


def record_for(placed: Placed) -> Record:
    return record_of(RUN_EVENTS, placed.key, placed.envelope, position=placed.position)


def take(engine: sa.Engine, sent: Any, world: World, records: Sequence[Record]) -> None:
    worker = Worker(engine, sent, lambda: iter(world.placed))
    asyncio.run(worker.take(records))


def with_header(record: Record, name: str, value: str) -> Record:
    kept = tuple(pair for pair in record.headers if pair[0] != name)
    return replace(record, headers=(*kept, (name, value.encode())))


def test_records_become_rows(engine: sa.Engine, world: World) -> None:
    sent = Sent()
    take(engine, sent, world, [record_for(placed) for placed in world.placed])
    assert sent.records == []
    assert not differences(engine, world.placed)


def test_what_is_no_event_of_ours_becomes_a_dead_letter(engine: sa.Engine, world: World) -> None:
    good = [record_for(placed) for placed in world.placed]
    first = good[0]
    name = wire_name(world.placed[0].envelope.message)
    bad = [
        Record(RUN_EVENTS, b"k", b"not json", (("ce_type", name.encode()),)),
        Record(RUN_EVENTS, None, None, ()),
        with_header(first, "ce_type", "septet.NeverHeardOf.v1"),
        with_header(first, "ce_type", name.replace(".v1", ".v99")),
        with_header(first, "ce_position", "many"),
        with_header(first, "ce_position", str(2**70)),
        with_header(first, "ce_position", "0"),
        with_header(first, "ce_accountid", "account-other"),
    ]
    sent = Sent()
    take(engine, sent, world, [*bad[:4], *good, *bad[4:]])
    assert [record.topic for record in sent.records] == [DEAD_LETTERS] * len(bad)
    assert all(record.header("septet-consumer") == "projector" for record in sent.records)
    assert [record.value for record in sent.records] == [record.value for record in bad]
    assert not differences(engine, world.placed)


def test_a_bad_event_is_a_dead_letter_before_the_position_moves(
    engine: sa.Engine, world: World
) -> None:
    events, bad = with_poison(world)
    sent = Sent()
    take(engine, sent, world, [record_for(placed) for placed in events])
    (letter,) = sent.records
    assert letter.header("ce_position") == str(bad.position)
    assert letter.header("septet-error") == "IndexError: 9"

    class Broken(Sent):
        async def publish(self, record: Record) -> None:
            raise ConnectionError(record.topic)

    fresh = dump(engine)
    later = replace(bad, position=max(placed.position for placed in events) + 1)
    with pytest.raises(ConnectionError):
        take(engine, Broken(), world, [record_for(later)])
    assert dump(engine) == fresh


def test_new_tables_are_filled_from_the_store(engine: sa.Engine, world: World) -> None:
    async def begin() -> None:
        worker = Worker(engine, Sent(), lambda: iter(world.placed))  # type: ignore[arg-type]
        await asyncio.to_thread(worker.begin, asyncio.get_running_loop())

    asyncio.run(begin())
    assert not differences(engine, world.placed)
    assert ask(engine, accounts.find, ALICE) is not None
