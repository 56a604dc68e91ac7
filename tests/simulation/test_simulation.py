"""The whole service under faults: seeds hold, and every planted bug is found."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.faults import KINDS, SOMETIMES
from tests.simulation.planted import BUGS
from tests.simulation.seeds import kept_seeds, run_seed
from tests.simulation.shown import SHOWN
from tests.simulation.world import Violation, World

SEEDS = range(1, 201)
SOON = 300  # seeds within which every planted bug must be found


@pytest.mark.parametrize("seed", [*SEEDS, *kept_seeds()])
def test_a_seed_holds(seed: int) -> None:
    assert run_seed(seed).error is None


@pytest.mark.parametrize("seed", [100_001, 100_002, 100_003])
def test_a_seed_holds_on_the_real_tables(seed: int) -> None:
    World(seed, real_tables=True).run()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """A check that no bug can fail checks nothing."""
    seeds = dict.fromkeys((*SHOWN.get(bug, ()), *range(SOON)))
    assert any(fails(seed, bug) for seed in seeds), BUGS[bug]


def fails(seed: int, bug: str) -> bool:
    try:
        World(seed, bug).run()
    except Violation:
        return True
    return False


def test_the_same_seed_is_the_same_trace_whatever_strings_hash_to() -> None:
    traces = {trace_of(7, hash_seed) for hash_seed in ("0", "1", "4711")}
    assert len(traces) == 1, traces


def trace_of(seed: int, hash_seed: str) -> str:
    program = (
        "from tests.simulation.world import World\n"
        f"world = World({seed}).run()\n"
        "print(world.steps, world.trace, sorted(world.calls.items()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
    )
    return done.stdout


def test_another_seed_is_another_trace() -> None:
    assert World(7).run().trace != World(8).run().trace


def test_what_is_counted_is_listed() -> None:
    """A fault that nobody lists could vanish without anybody noticing."""
    world = World(2).run()
    assert set(world.faults.counted) - {""} <= set(KINDS)
    assert set(world.faults.seen) <= set(SOMETIMES)
    assert Counter(KINDS + SOMETIMES).most_common(1)[0][1] == 1
