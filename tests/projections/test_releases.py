"""An older projector meets newer events, and is upgraded: nothing is lost, nobody has to know."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from events.message import KNOWN, wire_name
from events.topics import DEAD_LETTERS, Record
from projections import projector
from projections.database import writing
from projections.fold import SetAside
from projections.projector import Worker
from projections.rebuild import differences
from projections.releases import forget, is_folded_by_this, readable_now, remember, sign
from tests.builders import AT
from tests.projections.history import World
from tests.projections.tables import Told, again, refolding
from tests.projections.test_worker import Sent, record_for, take

NEWER = "septet.ItemsMoved.v1"


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This release, without a message that the next one will know; undone by an upgrade."""
    with monkeypatch.context() as patched:
        patched.delitem(KNOWN, NEWER)
        yield patched


def begin(engine: sa.Engine, world: World, sent: Any = None) -> int:
    """Start a projector; return how often it refolded."""
    folds = 0

    refold_all = refolding(engine, world.placed)

    def refold(set_aside: SetAside) -> None:
        nonlocal folds
        folds += 1
        refold_all(set_aside)

    async def run() -> None:
        worker = Worker(engine, sent or Sent(), refold, lambda: AT)
        await asyncio.to_thread(worker.begin, asyncio.get_running_loop())

    asyncio.run(run())
    return folds


def records(world: World) -> list[Record]:
    return [record_for(placed) for placed in world.placed]


def letters(sent: Sent) -> list[Record]:
    return [record for record in sent.records if record.topic == DEAD_LETTERS]


def some(world: World) -> int:
    return sum(wire_name(one.envelope.message) == NEWER for one in world.placed)


def test_what_an_older_projector_set_aside_is_folded_after_its_upgrade(
    engine: sa.Engine, world: World, older: pytest.MonkeyPatch
) -> None:
    sent = Sent()
    begin(engine, World())
    take(engine, sent, world, records(world))
    assert len(letters(sent)) == some(world) > 0
    assert {letter.header("ce_type") for letter in letters(sent)} == {NEWER}
    assert begin(engine, world) == 0, "an older projector that starts again has nothing new"
    older.undo()
    assert differences(engine, world.placed)
    assert begin(engine, world) == 1
    assert not differences(engine, world.placed)
    assert begin(engine, world) == 0, "once is enough"


def test_an_older_projector_can_fill_new_tables_from_a_newer_store(
    engine: sa.Engine, world: World, older: pytest.MonkeyPatch
) -> None:
    sent = Sent()
    assert begin(engine, world, sent) == 1
    assert sent.records == [], "their letters are written when they come from the topic"
    older.undo()
    assert set(readable_now(engine)) == {NEWER}
    assert begin(engine, world) == 1
    assert not differences(engine, world.placed)
    assert not readable_now(engine)


def test_a_projector_that_runs_beside_an_older_one_looks_again_and_again(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(engine, Told(world.placed))
    with monkeypatch.context() as older:
        older.delitem(KNOWN, NEWER)
        take(engine, Sent(), world, [record_for(p) for p in world.placed])
        with writing(engine) as tx:  # as the one of two that had the partition leaves the tables
            tx.execute(sa.text("DELETE FROM items"))
    monkeypatch.setattr(projector, "LOOK_EVERY", 0.01)
    worker = Worker(engine, Sent(), refolding(engine, world.placed), lambda: AT)  # type: ignore[arg-type]

    async def look() -> None:
        stop = asyncio.Event()
        looking = asyncio.create_task(worker.keep_looking(stop))
        async with asyncio.timeout(20):
            while await asyncio.to_thread(readable_now, engine):
                await asyncio.sleep(0.01)
        stop.set()
        await looking

    asyncio.run(look())
    assert not differences(engine, world.placed)


def test_a_strange_type_is_never_a_reason_to_refold(engine: sa.Engine, world: World) -> None:
    begin(engine, world)
    take(engine, Sent(), world, strange(record_for(world.placed[0])))
    assert begin(engine, world) == 0
    assert not differences(engine, world.placed)


def strange(record: Record) -> Sequence[Record]:
    names = ("septet.NeverHeardOf.v1", "septet.RunPaused.v99", "other.Thing.v1", "x\x00", "")
    kept = tuple(pair for pair in record.headers if pair[0] != "ce_type")
    return [
        Record(
            record.topic, record.key, record.value, (*kept, ("ce_type", name.encode())), 0, number
        )
        for number, name in enumerate(names)
    ]


def test_what_is_met_again_during_a_refold_is_not_forgotten(engine: sa.Engine) -> None:
    def meet() -> None:
        with writing(engine) as tx:
            remember(tx, [NEWER])

    meet()
    folded = readable_now(engine)
    meet()
    forget(engine, folded)
    assert set(readable_now(engine)) == {NEWER}
    forget(engine, readable_now(engine))
    assert not readable_now(engine)


def test_a_release_with_other_messages_folds_once_more(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows hold what messages say: with a field more in a message, old rows would differ."""
    begin(engine, world)
    assert is_folded_by_this(engine)
    with monkeypatch.context() as another:
        another.setattr("projections.releases.digest", lambda: "another")
        assert not is_folded_by_this(engine)
        assert [begin(engine, world) for _ in range(2)] == [1, 0]
    assert [begin(engine, world) for _ in range(2)] == [1, 0]
    with writing(engine) as tx:
        sign(tx)
    assert is_folded_by_this(engine)
