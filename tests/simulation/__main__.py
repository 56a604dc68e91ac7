"""Run many seeds over all cores: `python -m tests.simulation [--seeds N] [--first N] [--jobs N]`.

Ends with 1 when a seed fails, or when a fault or a hard case never occurred. Failing seeds are kept
in seeds.txt, from where every later run of the tests takes them. `--seed N` runs one and prints its
trace; `--bugs N` prints in how many of N seeds each planted bug is found.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.simulation.faults import KINDS, SOMETIMES
from tests.simulation.planted import BUGS
from tests.simulation.seeds import KEPT, REAL_TABLES_EVERY, Outcome, kept_seeds, run_seed
from tests.simulation.world import Violation, World

ENOUGH = 2_000  # seeds in which every fault and every hard case must have occurred


def many(seeds: range, jobs: int) -> dict[str, Any]:
    """Run the seeds and return what is told of them."""
    began, told_at = time.monotonic(), 0.0
    faults, seen = Counter[str](), Counter[str]()
    failed: dict[int, str] = {}
    steps = commands = events = done = 0
    for outcome in _outcomes(seeds, jobs):
        done += 1
        steps += outcome.steps
        commands += outcome.commands
        events += outcome.events
        faults += outcome.faults
        seen += outcome.seen
        if outcome.error is not None:
            failed[outcome.seed] = outcome.error
            _say(f"seed {outcome.seed} FAILED: {outcome.error}")
            _say(f"  again: .venv/bin/python -m tests.simulation --seed {outcome.seed}")
        took = time.monotonic() - began
        if took - told_at > 10 or done == len(seeds):
            told_at = took
            rate = done / took * 60
            _say(f"{done} of {len(seeds)} seeds, {len(failed)} failed, {rate:.0f} a minute")
    never = [name for name in KINDS if not faults[name]]
    never += [name for name in SOMETIMES if not seen[name]]
    return {
        "first": seeds.start,
        "seeds": done,
        "seconds": round(time.monotonic() - began),
        "steps": steps,
        "commands": commands,
        "events": events,
        "faults": dict(sorted(faults.items())),
        "sometimes": dict(sorted(seen.items())),
        "never": never,
        "failed": failed,
    }


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=5)


def keep(failed: dict[int, str]) -> None:
    """Enter failing seeds into the file that every later run begins with."""
    new = sorted(set(failed) - set(kept_seeds()))
    with KEPT.open("a", encoding="utf-8") as file:
        file.writelines(f"{seed}  # {failed[seed].splitlines()[0][:80]}\n" for seed in new)


def one(seed: int, bug: str | None, *, real_tables: bool) -> int:
    """Run one seed and print its trace."""
    world = World(seed, bug, real_tables=real_tables or seed % REAL_TABLES_EVERY == 0)
    world.told, error = [], None
    try:
        world.run()
    except Violation as found:
        error = str(found)
    _print("\n".join(world.told))
    _print(f"seed {seed}: {world.steps} steps, {error or 'as promised'}")
    return 1 if error else 0


def matrix(seeds: int, names: list[str]) -> None:
    """Print for each planted bug in how many seeds it is found, where soonest, and by what."""
    _print("| invariant | planted bug | failing | shortest, steps | what fired |")
    _print("| --- | --- | --- | --- | --- |")
    for bug in names:
        invariant, what = BUGS[bug]
        found: list[tuple[int, int, str]] = []
        for seed in range(seeds):
            world = World(seed, bug)
            try:
                world.run()
            except Violation as violation:
                found.append((world.steps, seed, str(violation).split(";")[0]))
        steps, seed, fired = min(found, default=(0, -1, "nothing"))
        told = f"{steps} (seed {seed})"
        _print(f"| {invariant} | `{bug}`: {what} | {len(found)} of {seeds} | {told} | {fired} |")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seed", type=int)
    parser.add_argument("--bug", choices=BUGS)
    parser.add_argument("--real-tables", action="store_true")
    parser.add_argument("--bugs", type=int)
    parser.add_argument("--summary", type=Path)
    asked = parser.parse_args()
    if asked.seed is not None:
        return one(asked.seed, asked.bug, real_tables=asked.real_tables)
    if asked.bugs is not None:
        matrix(asked.bugs, [asked.bug] if asked.bug else list(BUGS))
        return 0
    told = many(range(asked.first, asked.first + asked.seeds), asked.jobs)
    summary = json.dumps(told, indent=2)
    if asked.summary is not None:
        asked.summary.write_text(summary + "\n", encoding="utf-8")
    _print(summary)
    keep(told["failed"])
    is_thin = asked.seeds >= ENOUGH and told["never"]
    return 1 if told["failed"] or is_thin else 0


if __name__ == "__main__":
    sys.exit(main())
