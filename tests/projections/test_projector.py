"""Each event counts once, in whatever way it is delivered; bad ones stop no other."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.run import StageStarted
from events.topics import Placed
from projections import overview, run_events, runs
from projections.database import create_tables, open_engine, reached, writing
from projections.fold import Overtaken
from projections.projector import project, project_or_refold
from projections.rebuild import differences
from tests.projections.history import ALICE, SHOP, World
from tests.projections.tables import (
    Letters,
    Told,
    again,
    ask,
    beside,
    dump,
    fold_all,
    interleaved,
    nothing_set_aside,
    refolding,
)

POISON = StageStarted(stage=9, items=("x",))


def a_bad_event(world: World) -> Placed:
    """An event of a running run that no projection can make sense of: there is no stage 9."""
    started = [p for p in world.placed if p.envelope.message.TYPE == "StageStarted"]
    return beside(started[1], POISON)


def with_poison(world: World) -> tuple[list[Placed], Placed]:
    bad = a_bad_event(world)
    return sorted([*world.placed, bad], key=lambda placed: placed.position), bad


def test_duplicates_change_nothing(engine: sa.Engine, world: World) -> None:
    for start in range(0, len(world.placed), 10):
        batch = world.placed[start : start + 10]
        project(engine, [*batch, *batch[3:], batch[0]], nothing_set_aside)
        project(engine, batch, nothing_set_aside)
    assert not differences(engine, world.placed)


def test_everything_published_again_from_the_start_changes_nothing(
    engine: sa.Engine, world: World
) -> None:
    fold_all(engine, world.placed)
    before = dump(engine)
    fold_all(engine, world.placed, size=11)
    assert dump(engine) == before


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_size_of_a_transaction_changes_nothing(
    engine: sa.Engine, world: World, size: int
) -> None:
    fold_all(engine, world.placed, size)
    assert not differences(engine, world.placed)


@pytest.mark.parametrize("seed", range(5))
def test_the_sites_order_among_themselves_changes_nothing(
    engine: sa.Engine, world: World, seed: int
) -> None:
    fold_all(engine, interleaved(world.placed, seed), size=seed * 8 + 1)
    live = dump(engine)
    assert not differences(engine, world.placed)
    again(engine, Told(interleaved(world.placed, seed + 100)))
    assert dump(engine) == live


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(), cuts=st.lists(st.integers(5, 60), min_size=2, max_size=20))
def test_any_delivery_gives_the_same_rows(
    tmp_path: Path, world: World, seed: int, cuts: list[int]
) -> None:
    delivered = deliveries(interleaved(world.placed, seed), cuts, random.Random(seed))
    live = open_engine(f"sqlite:///{tmp_path / f'{seed}-{len(cuts)}-{sum(cuts)}.db'}")
    create_tables(live)
    for batch in delivered:
        project_or_refold(live, batch, nothing_set_aside, refolding(live, world.placed))
    assert not differences(live, world.placed)
    live.dispose()


def deliveries(
    placed: list[Placed], cuts: list[int], chance: random.Random
) -> Iterator[list[Placed]]:
    """Deliver at least once, in order per key: now and then what was delivered comes again."""
    start = 0
    while start < len(placed):
        for cut in cuts:
            again = chance.randint(0, min(start, 40))
            yield placed[start - again : start + cut]
            start += cut


def test_an_event_that_was_overtaken_is_noticed_and_nothing_is_applied(
    engine: sa.Engine, world: World
) -> None:
    of_site = [placed for placed in world.placed if placed.key == SHOP]
    early, late, newer = of_site[:20], of_site[20], of_site[21:60]
    project(engine, early, nothing_set_aside)
    project(engine, newer[:20], nothing_set_aside)
    before = dump(engine)
    with pytest.raises(Overtaken) as overtaken:
        project(engine, [late, *newer[20:]], nothing_set_aside)
    assert overtaken.value.events == (late,)
    assert dump(engine) == before


def test_an_event_that_was_overtaken_makes_the_tables_as_if_it_had_not_been(
    engine: sa.Engine, world: World
) -> None:
    disordered = [*world.placed[:100], *world.placed[140:], *world.placed[100:140]]
    for start in range(0, len(disordered), 37):
        batch = disordered[start : start + 37]
        project_or_refold(engine, batch, nothing_set_aside, refolding(engine, world.placed))
    assert not differences(engine, world.placed)


def test_an_overtaken_event_that_is_not_in_the_store_is_set_aside(
    engine: sa.Engine, world: World
) -> None:
    fold_all(engine, world.placed)
    before = dump(engine)
    letters = Letters()
    forged = beside(world.placed[50], world.placed[50].envelope.message)
    project_or_refold(engine, [forged], letters, refolding(engine, world.placed))
    assert letters.events == [forged]
    assert dump(engine) == before


def test_projectors_that_take_the_same_events_at_once_do_no_harm(
    engine: sa.Engine, world: World
) -> None:
    """As after a rebalance, when one has lost its partitions and does not know it yet."""

    refold = refolding(engine, world.placed)

    def deliver(seed: int) -> None:
        events = interleaved(world.placed, seed)
        for start in range(0, len(events), 23):
            batch = events[start : start + 23]
            while True:
                try:
                    project_or_refold(engine, batch, nothing_set_aside, refold)
                    break
                except sa.exc.OperationalError:
                    continue  # two accounts' rows in the other order: one of the two tries again

    with ThreadPoolExecutor() as pool:
        list(pool.map(deliver, range(3)))
    assert not differences(engine, world.placed)


def test_a_disorder_within_one_delivery_needs_no_refold(engine: sa.Engine, world: World) -> None:
    project(engine, world.placed[::-1], nothing_set_aside)
    assert not differences(engine, world.placed)


def test_a_bad_event_stops_no_other_and_is_set_aside_once(engine: sa.Engine, world: World) -> None:
    events, bad = with_poison(world)
    letters = Letters()
    for start in range(0, len(events), 50):
        project(engine, events[start : start + 50], letters)
    project(engine, events, letters)
    again(engine, Told(events), letters)
    assert letters.events == [bad]
    rows = dump(engine)
    assert len(rows.pop("set_aside_events")) == 1
    again(engine, Told(world.placed))
    clean = dump(engine)
    clean.pop("set_aside_events")
    seen = [row for row in rows["run_events"] if row[0] != bad.position]
    assert rows | {"run_events": seen} == clean


def test_nothing_of_a_bad_event_stays(engine: sa.Engine, world: World) -> None:
    events, bad = with_poison(world)
    for start in range(0, len(events), 50):
        project(engine, events[start : start + 50], Letters())
    assert bad.envelope.run_id is not None
    assert ask(engine, runs.stage_items, ALICE, bad.envelope.run_id, 9) == ()
    assert ask(engine, run_events.applied, [bad.position]) == {bad.position}


def test_a_transaction_that_is_lost_is_done_again(engine: sa.Engine, world: World) -> None:
    events, bad = with_poison(world)
    place = events.index(bad)
    letters = Letters()
    project(engine, events[: place - 10], letters)
    before = dump(engine)
    letters.broken = True
    with pytest.raises(TimeoutError):
        project(engine, events[place - 10 : place + 10], letters)
    assert dump(engine) == before
    letters.broken = False
    project(engine, events[place - 10 :], letters)
    assert not differences(engine, events)


def test_a_database_that_is_busy_is_no_events_fault(engine: sa.Engine, world: World) -> None:
    if engine.dialect.name == "postgresql":
        return  # there writers work side by side, and wait for as long as it takes
    letters = Letters()
    with engine.connect() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout=10")
    other = open_engine(engine.url.render_as_string())
    with writing(other), pytest.raises(sa.exc.OperationalError):
        project(engine, world.placed[:50], letters)
    other.dispose()
    assert letters.events == []
    fold_all(engine, world.placed)
    assert not differences(engine, world.placed)


def test_differences_name_the_row_and_the_column(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    with writing(engine) as tx:
        site = overview.items.c.site_id == SHOP
        tx.execute(sa.delete(overview.items).where(site, overview.items.c.stage == 1))
        tx.execute(sa.update(runs.runs).values(held_credits=-5).where(runs.runs.c.site_id == SHOP))
        tx.execute(sa.insert(run_events.run_events), {**a_row(), "position": 3})
    found = differences(engine, world.placed)
    assert sum(line.startswith("items ") and line.endswith("is missing") for line in found) == 7
    assert sum("held_credits is -5, should be 0" in line for line in found) == 2
    assert "run_events 3: the row should not be there" in found
    assert len(found) == 10


def a_row() -> dict[str, str]:
    texts = ("id", "account_id", "type", "actor", "cause", "at")
    return dict.fromkeys(texts, "x") | {"data": "{}"}


def test_positions_are_kept_per_key(engine: sa.Engine, world: World) -> None:
    assert ask(engine, reached, SHOP) == 0
    fold_all(engine, world.placed)
    last = max(placed.position for placed in world.placed if placed.key == SHOP)
    assert ask(engine, reached, SHOP) == last
