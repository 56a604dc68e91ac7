"""One seed: what became of it. Processes of a pool can import this module, not `__main__`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.world import Violation, World

KEPT = Path(__file__).with_name("seeds.txt")
REAL_TABLES_EVERY = 50  # seeds; the projections on SQLite take about ten times as long


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    steps: int
    faults: Counter[str]
    seen: Counter[str]
    commands: int
    events: int
    error: str | None


def kept_seeds() -> list[int]:
    """Return the seeds that have failed once."""
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def run_seed(seed: int) -> Outcome:
    """Run one seed; some run on the real projections."""
    world = World(seed, real_tables=seed % REAL_TABLES_EVERY == 0)
    error = None
    try:
        world.run()
    except Violation as found:
        error = str(found)
    except Exception as found:  # noqa: BLE001  # also the simulation's own errors name their seed
        error = f"{type(found).__name__}: {found}"
    faults, seen = world.faults.counted, world.faults.seen
    issued = len(world.issued)
    return Outcome(seed, world.steps, faults, seen, issued, world.position, error)
