"""The projector's loop: records in, rows and dead letters out."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from events.message import wire_name
from events.reading import read
from events.run import MessageReplayed, MessageSetAside
from events.topics import DEAD_LETTERS, RUN_EVENTS, STAGE_REPORTS, Placed, Record, record_of
from projections import accounts, ai_tasks, fold, ledger, projector, run_log, runs
from projections.database import reached, reading
from projections.projector import Worker
from projections.rebuild import differences
from tests.builders import AT, Scene
from tests.projections.history import ALICE, SHOP, World
from tests.projections.tables import ask, dump, refolding
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
    worker = Worker(engine, sent, refolding(engine, world.placed), lambda: AT)
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
    letter, told = sent.records
    assert read(told).message.error == "IndexError: 9"  # type: ignore[attr-defined]
    assert (told.topic, read(told).run_id) == (STAGE_REPORTS, bad.envelope.run_id)
    assert letter.header("ce_position") == str(bad.position)
    assert letter.header("septet-error") == "IndexError: 9"

    class Broken(Sent):
        async def publish(self, record: Record) -> None:
            raise ConnectionError(record.topic)

    fresh = dump(engine)
    alone = bad.envelope.model_copy(update={"more": False})
    later = replace(bad, position=max(placed.position for placed in events) + 1, envelope=alone)
    with pytest.raises(ConnectionError):
        take(engine, Broken(), world, [record_for(later)])
    assert dump(engine) == fresh


def test_a_report_that_cannot_be_projected_is_never_reported_itself(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would make another, for ever."""
    started = next(one for one in world.placed if one.envelope.message.TYPE == "RunStarted")
    whom = {"site": started.envelope.site_id, "run": started.envelope.run_id}
    told = MessageSetAside(
        consumer="projector",
        message_id="msg-1",
        message_type="RunPaused",
        attempt=1,
        origin="septet.run-events/0/0",
        error="KeyError: 'x'",
    )
    about = Scene().envelope(told, account=started.envelope.account_id, **whom)
    placed = Placed(world.placed[-1].position + 1, about)

    def broken(_: sa.Connection, one: Placed) -> None:
        if isinstance(one.envelope.message, MessageSetAside):
            raise KeyError("a bug")

    monkeypatch.setattr(fold, "PROJECTIONS", (*fold.PROJECTIONS, broken))
    sent = Sent()
    take(engine, sent, world, [record_for(one) for one in (*world.placed, placed)])
    assert [record.topic for record in sent.records] == [DEAD_LETTERS]


def test_a_run_shows_what_was_set_aside_and_its_log_what_to_do(
    engine: sa.Engine, world: World
) -> None:
    started = next(one for one in world.placed if one.envelope.message.TYPE == "RunStarted")
    account, run_id = started.envelope.account_id, started.envelope.run_id or ""
    whom = {"site": started.envelope.site_id, "run": run_id, "account": account}
    known = {"message_id": "msg-1", "message_type": "StageBatchRequested", "stage": 2}
    said = [
        MessageSetAside(consumer="stage-worker-2", attempt=1, origin="t/0/0", error="one", **known),
        MessageSetAside(consumer="stage-worker-2", attempt=2, origin="t/0/1", error="two", **known),
        MessageReplayed(consumer="stage-worker-2", attempt=2, **known),
    ]
    last = world.placed[-1].position
    events = [
        *world.placed,
        *(Placed(last + n, Scene().envelope(one, **whom)) for n, one in enumerate(said, 1)),
    ]
    take(engine, Sent(), world, [record_for(one) for one in events])
    run = ask(engine, runs.find, account, run_id)
    assert run is not None
    assert (run.dead_letters, run.last_dead_letter) == (2, "two")
    first, second, third = ask(engine, run_log.tail, account, run_id, 3)
    assert [line.level for line in (first, second, third)] == ["error", "error", "info"]
    assert "stage-worker-2 set StageBatchRequested (msg-1) aside: one." in first.message
    assert "septet dead-letters replay" in first.message
    assert "aside for the 2nd time: two." in second.message
    assert "was sent again, set aside 2 times before, and handled" in third.message
    assert not differences(engine, events)


def test_new_tables_are_filled_from_the_store(engine: sa.Engine, world: World) -> None:
    async def begin() -> None:
        worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]
        await asyncio.to_thread(worker.begin, asyncio.get_running_loop())

    asyncio.run(begin())
    assert not differences(engine, world.placed)
    assert ask(engine, accounts.find, ALICE) is not None


def sums(engine: sa.Engine, run_id: str) -> tuple[int, int, int, int]:
    """What a run has used by its own row, its stages, its AI task log, and the ledger."""
    run = ask(engine, runs.find, ALICE, run_id)
    calls, _ = ask(engine, ai_tasks.entries, ALICE, run_id, 10_000, None)
    book, _ = ask(engine, ledger.entries, ALICE, 10_000, None)
    settled = [row.amount for row in book if (row.run_id, row.type) == (run_id, "settle")]
    assert run is not None
    stages = sum(stage.credits_used for stage in run.stages)
    return run.total_credits_used, stages, sum(call.credits for call in calls), sum(settled)


def test_however_a_fetch_cuts_an_append_the_sums_agree_at_every_moment(
    engine: sa.Engine, world: World
) -> None:
    """The AI task log and the ledger follow from two events of one append."""
    mine = [placed for placed in world.placed if placed.envelope.account_id == ALICE]
    run_id = next(one.envelope.run_id for one in mine if one.envelope.message.TYPE == "RunStarted")
    events = [one for one in mine if one.key == SHOP][:150]
    worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]
    began, kept = False, 0
    for placed in events:
        kept += bool(asyncio.run(worker.take([record_for(placed)])))
        began = began or ask(engine, runs.find, ALICE, run_id) is not None
        if began:
            assert len(set(sums(engine, run_id or ""))) == 1
    assert sums(engine, run_id or "")[0] > 0
    assert kept > 20


def test_what_waits_for_its_rest_is_not_committed(engine: sa.Engine, world: World) -> None:
    worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]
    first = next(n for n, placed in enumerate(world.placed) if placed.envelope.more)
    one = record_for(world.placed[first])
    assert asyncio.run(worker.take([one])) == [one]
    last = next(p for p in world.placed[first + 1 :] if not p.envelope.more)
    rest = world.placed[first + 1 : world.placed.index(last) + 1]
    assert asyncio.run(worker.take([record_for(placed) for placed in rest])) == []


def test_an_append_whose_rest_never_comes_holds_nothing_up_for_long(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = next(placed for placed in world.placed if placed.envelope.more)
    worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]
    assert asyncio.run(worker.take([record_for(begun)])) != []
    monkeypatch.setattr(projector, "REST_WITHIN", -1.0)
    assert asyncio.run(worker.take([])) == []
    with reading(engine) as tx:
        assert reached(tx, begun.key) == begun.position


def test_a_copy_of_what_waits_leaves_the_offset_at_the_first(
    engine: sa.Engine, world: World
) -> None:
    """Else what is committed passes the first, and whoever takes over may begin behind it."""
    worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]
    one = record_for(next(placed for placed in world.placed if placed.envelope.more))
    first, copy = (replace(one, offset=offset) for offset in (10, 12))
    assert asyncio.run(worker.take([first])) == [first]
    assert asyncio.run(worker.take([copy])) == [first]
