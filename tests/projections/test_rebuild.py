"""A rebuild folds beside the live tables, compares, and replaces what differs, all at once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from events.site import RunRefused
from events.topics import Placed
from projections import accounts, parts, run_events, runs
from projections.database import (
    create_tables,
    is_current,
    metadata,
    positions,
    reading,
    shape,
    writing,
)
from projections.projector import project
from projections.rebuild import Progress, Running, differences
from tests.builders import Scene
from tests.projections.history import ALICE, BLOG, BOB, SHOP, World
from tests.projections.tables import (
    Letters,
    Told,
    again,
    dump,
    fold_all,
    folder_of,
    nothing_set_aside,
)
from tests.projections.test_projector import with_poison

Heard = Callable[[int], None]


def damage(engine: sa.Engine) -> None:
    """Change a row of one site, take one away, and add one of nobody's."""
    texts = ("id", "account_id", "type", "actor", "cause", "at")
    with writing(engine) as tx:
        tx.execute(sa.update(runs.runs).values(held_credits=-5).where(runs.runs.c.site_id == SHOP))
        tx.execute(sa.delete(accounts.site_table).where(accounts.site_table.c.site_id == BLOG))
        row = dict.fromkeys(texts, "x") | {"data": "{}", "position": 3}
        tx.execute(sa.insert(run_events.run_events), row)


def test_tables_that_are_right_are_left_alone(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    before = dump(engine)
    found = again(engine, Told(world.placed))
    assert (found.events, found.differs, found.switched) == (len(world.placed), False, False)
    assert dump(engine) == before


def test_empty_tables_are_filled(engine: sa.Engine, world: World) -> None:
    found = again(engine, Told(world.placed))
    assert (found.live, found.switched) == ("empty", True)
    assert not differences(engine, world.placed)


def test_what_differs_is_told_and_replaced(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    right = dump(engine)
    damage(engine)
    wrong = dump(engine)
    looked = again(engine, Told(world.placed), compare_only=True)
    assert (looked.differs, looked.switched, dump(engine)) == (True, False, wrong)
    found = again(engine, Told(world.placed))
    assert dict(found.rows) == {"run_events": 1, "runs": 2, "sites": 1} == dict(looked.rows)
    assert f"sites {BLOG}: the row is missing" in found.examples
    assert "run_events 3: the row should not be there" in found.examples
    assert found.switched
    assert dump(engine) == right


def test_forged_positions_make_all_tables_again(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    right = dump(engine)
    with writing(engine) as tx:
        tx.execute(sa.text("UPDATE positions SET position = position + 3"))
    assert again(engine, Told(world.placed)).switched
    assert dump(engine) == right


@pytest.mark.parametrize("state", ["empty", "right", "damaged"])
def test_while_it_goes_on_the_projector_does_too_and_readers_see_whole_tables(
    engine: sa.Engine, world: World, state: str
) -> None:
    """Every 50 events of the log the projector takes the next batch, and a reader looks.

    The store is always a batch ahead of the projector: that is no difference.
    """
    half = len(world.placed) // 2
    if state != "empty":
        fold_all(engine, world.placed[:half])
    if state == "damaged":
        damage(engine)
    log = Told(world.placed[: half + 23])
    coming = [world.placed[start : start + 23] for start in range(half, len(world.placed), 23)]
    sizes, doing = [rows_of(engine)], list[str]()

    def meanwhile(number: int) -> None:
        waits = "switching" in doing or state == "empty"
        if number % 50 == 49 and coming and not waits:
            some = coming.pop(0)
            log.placed = [*log.placed, *coming[0]] if coming else log.placed
            project(engine, some, nothing_set_aside)
        if number % 50 == 25:
            sizes.append(rows_of(engine))

    log.heard = meanwhile
    found = again(engine, log, told=lambda progress: doing.append(progress.doing))
    assert found.switched == (state != "right")
    assert len(sizes) > 5
    assert all(before <= after + 1 for before, after in pairwise(sizes))  # but for the row forged
    for some in coming:
        project(engine, some, nothing_set_aside)
    assert not differences(engine, world.placed)


def rows_of(engine: sa.Engine) -> int:
    """Return how many events and sites a reader sees."""
    with reading(engine) as tx:
        tables = (run_events.run_events, accounts.site_table)
        return sum(tx.scalar(sa.select(sa.func.count()).select_from(one)) or 0 for one in tables)


# One row: of several, a projector might wait for the first while this waits for its second.
DAMAGED = sa.text(
    "UPDATE accounts SET held_credits = held_credits - 1 "
    "WHERE account_id = (SELECT min(account_id) FROM accounts)"
)


def test_a_projector_and_a_rebuild_of_damaged_tables_at_the_same_time(
    engine: sa.Engine, world: World
) -> None:
    """In threads: nothing is lost or applied twice, and no reader sees an empty table."""
    begin = len(world.placed) // 3
    fold_all(engine, world.placed[:begin])
    log, stop, seen = Told(world.placed[:begin]), threading.Event(), list[int]()
    wrong = list[BaseException]()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # a thread's error is the test's
                wrong.append(error)

        return run

    def projecting() -> None:
        for start in range(begin, len(world.placed), 11):
            some = world.placed[start : start + 11]
            log.placed = [*log.placed, *some]
            project(engine, some, nothing_set_aside)

    def looking() -> None:
        while not stop.is_set():
            seen.append(rows_of(engine))

    projector, reader = (threading.Thread(target=guarded(one)) for one in (projecting, looking))
    projector.start()
    reader.start()
    rounds = 0
    while projector.is_alive() or rounds < 2:
        with writing(engine) as tx:
            tx.execute(DAMAGED)
        assert again(engine, log).switched
        rounds += 1
    projector.join()
    stop.set()
    reader.join()
    assert wrong == []
    assert min(seen) >= begin
    assert not differences(engine, world.placed)


def test_a_rebuild_that_breaks_off_changes_nothing_and_the_next_one_cleans_up(
    engine: sa.Engine, world: World
) -> None:
    fold_all(engine, world.placed)
    damage(engine)
    before = dump(engine)

    def away(number: int) -> None:
        if number == 300:
            raise ConnectionError("the store is away")

    with pytest.raises(ConnectionError):
        again(engine, Told(world.placed, away))
    assert dump(engine) == before
    left = folder_of(engine) / "part-7.db"
    left.parent.mkdir(parents=True)
    left.write_text("of a rebuild that was killed")
    if engine.dialect.name == "postgresql":
        with engine.begin() as tx:
            tx.execute(sa.text("CREATE SCHEMA septet_rebuild"))
            tx.execute(sa.text("CREATE TABLE septet_rebuild.runs (left_over integer)"))
    again(engine, Told(world.placed))
    assert not differences(engine, world.placed)
    assert not folder_of(engine).exists()
    assert not sa.inspect(engine).has_table("runs", schema="septet_rebuild")


KILLED = """
import os, signal, sys
from pathlib import Path
from projections.database import open_engine
from projections import rebuild
from tests.projections.history import make_history
from tests.projections.tables import Told, folder_of, nothing_set_aside

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

engine = open_engine(sys.argv[1])
moment = sys.argv[2]
if moment == "switching":
    rebuild.track = die  # the last statement of the switch
else:
    rebuild._compared = die
rebuild.rebuild(engine, Told(make_history().placed), folder_of(engine), nothing_set_aside)
"""


@pytest.mark.parametrize("moment", ["comparing", "switching"])
def test_a_rebuild_that_is_killed_leaves_the_live_tables_as_they_were(
    engine: sa.Engine, url: str, world: World, moment: str
) -> None:
    fold_all(engine, world.placed)
    damage(engine)
    before = dump(engine)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, moment], cwd=root, check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL
    assert dump(engine) == before
    assert again(engine, Told(world.placed)).switched
    assert not differences(engine, world.placed)
    assert not folder_of(engine).exists()


def test_two_rebuilds_at_once_are_one_too_many(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    refused = []

    def another(number: int) -> None:
        if number == 10:
            with pytest.raises(Running):
                again(engine, Told(world.placed))
            refused.append(number)

    again(engine, Told(world.placed, another))
    assert refused
    again(engine, Told(world.placed))


def test_a_new_shape_is_built_beside_the_old_one(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    right = dump(engine)
    with writing(engine) as tx:
        tx.execute(sa.text("ALTER TABLE runs DROP COLUMN quiet_at"))
        tx.execute(sa.text("DROP TABLE refusals"))
        tx.execute(sa.update(shape).values(number=0))
    create_tables(engine)
    seen = []

    def look(number: int) -> None:
        if number % 100 == 0:
            seen.append(rows_of(engine))

    found = again(engine, Told(world.placed, look), compare_only=True)
    assert (found.live, found.differs, found.switched) == ("other shape", True, False)
    assert again(engine, Told(world.placed, look)).switched
    assert set(seen) == {len(world.placed) + 4}
    assert dump(engine) == right
    with reading(engine) as tx:
        assert is_current(tx)
        made = sa.inspect(tx)
        expected = {index.name for table in metadata.sorted_tables for index in table.indexes}
        found_ = {one["name"] for name in metadata.tables for one in made.get_indexes(name)}
        assert expected <= found_


def test_without_a_new_shape_tables_are_made_once(engine: sa.Engine, world: World) -> None:
    fold_all(engine, world.placed)
    before = dump(engine)
    create_tables(engine)
    assert dump(engine) == before


@pytest.mark.parametrize("state", ["right", "damaged", "other shape"])
def test_what_was_set_aside_is_not_set_aside_again(
    engine: sa.Engine, world: World, state: str
) -> None:
    events, bad = with_poison(world)
    fold_ = Letters()
    for start in range(0, len(events), 50):
        project(engine, events[start : start + 50], fold_)
    assert fold_.events == [bad]
    if state == "damaged":
        damage(engine)
    if state == "other shape":
        with writing(engine) as tx:
            tx.execute(sa.update(shape).values(number=0))
    assert again(engine, Told(events)).switched == (state != "right")
    assert not differences(engine, events)


def test_what_is_set_aside_first_by_a_rebuild_is_told(engine: sa.Engine, world: World) -> None:
    events, bad = with_poison(world)
    letters, reasons = Letters(), list[str]()

    def set_aside(placed: Placed, reason: str) -> None:
        letters(placed, reason)
        reasons.append(reason)

    again(engine, Told(events), set_aside)
    assert (letters.events, reasons) == ([bad], ["IndexError: 9"])
    assert not differences(engine, events)


def test_several_processes_make_the_same_rows_as_one(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SPREAD_FROM", 0)
    monkeypatch.setattr(parts, "AT_ONCE", 37)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    files = list[set[str]]()
    advance = parts.Parts.advance

    def watched(self: parts.Parts, *given: Any) -> int:
        done = advance(self, *given)
        for path in self.paths:
            with parts.opened(path) as tx:
                files.append(set(tx.scalars(sa.select(accounts.accounts.c.account_id))))
        return done

    monkeypatch.setattr(parts.Parts, "advance", watched)
    again(engine, Told(world.placed))
    assert len(files) == 2
    assert files[0].isdisjoint(files[1])
    assert files[0] | files[1] == {ALICE, "account-bob"}
    fold_all(engine, world.placed)  # changes nothing: all is there
    assert not differences(engine, world.placed)


def test_a_process_that_cannot_go_on_ends_the_rebuild(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SPREAD_FROM", 0)
    log = Told(world.placed)
    good = log.written
    strange = replace(log)

    def with_damage(after: int = 0) -> Any:
        for one in good(after):
            yield one._replace(name="septet.RunStarted.v1") if one.position > 900 else one

    strange.written = with_damage  # type: ignore[method-assign]
    with pytest.raises(parts.FoldFailed, match="BadMessage"):
        again(engine, strange)
    assert not any(dump(engine).values())


def test_progress_is_told_up_to_the_end(engine: sa.Engine, world: World) -> None:
    heard = list[Progress]()
    again(engine, Told(world.placed), told=heard.append)
    assert [one.doing for one in heard][-1] == "switching"
    folding = [one for one in heard if one.doing == "folding"]
    assert folding[-1].events == len(world.placed)
    assert folding[-1].position == folding[-1].newest == world.placed[-1].position


@pytest.mark.parametrize("spread", [False, True])
def test_a_strangers_refusal_about_a_site_is_rebuilt_with_it(
    engine: sa.Engine, world: World, monkeypatch: pytest.MonkeyPatch, *, spread: bool
) -> None:
    """A command may name another account's site; the site's position is one for both."""
    monkeypatch.setattr(parts, "SPREAD_FROM", 0 if spread else len(world.placed) * 2)
    last = world.placed[-1].position
    refused = RunRefused(
        code="not_found", detail="It is not there.", numbers={}, trigger_type="manual", slot=None
    )
    stranger = [
        Placed(
            last + number, Scene().envelope(refused, site=SHOP, account=BOB, id_=f"msg-{number}")
        )
        for number in (1, 2)
    ]
    log = [*world.placed, *stranger]
    assert again(engine, Told(log)).live == "empty"
    assert not differences(engine, log)
    with writing(engine) as tx:
        mine = run_events.run_events.c.position == stranger[0].position
        tx.execute(sa.delete(run_events.run_events).where(mine))
        tx.execute(sa.update(positions).values(position=last).where(positions.c.key == SHOP))
    assert again(engine, Told(log)).switched
    project(engine, stranger, nothing_set_aside)
    assert not differences(engine, log)
