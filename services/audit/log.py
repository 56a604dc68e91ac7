"""The whole log, in as many processes as there are cores: rules, chain, what copies should hold."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from services.audit.survey import Bounds, Part, Survey, survey
from services.orchestrator.chain import open_chain
from services.orchestrator.store import open_store
from services.settings import Settings

WORTH_A_PROCESS = 20_000  # events; a process takes a second to start
LOOK_EVERY = 0.5  # seconds
MOST_PARTS = 8  # every part reads all rows, so more of them gain little


@dataclass(frozen=True, slots=True)
class Log:
    """What was found in the log, and the surveys to compare the other copies with."""

    bounds: Bounds
    surveys: tuple[Survey, ...]
    log: list[str]
    chain: list[str]

    @property
    def events(self) -> int:
        return sum(part.events for part in self.surveys)


def bounds_of(settings: Settings, deadline: float = 0.0) -> Bounds:
    """Return how far the store goes now, and how far of it heads are recorded.

    Until the deadline the relay is given time to link what has just been appended. What comes
    meanwhile is not looked into. Heads go further than the store when its newest events are gone.
    """
    chain, store = open_chain(settings), open_store(settings)
    try:
        linked, until = chain.reached(), store.newest()
        while (reached := chain.reached()) < until and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        return Bounds(until, max(linked, min(reached, until)))
    finally:
        chain.close()
        store.close()


def read_log(
    settings: Settings, *, log: bool = True, parts: int | None = None, deadline: float = 0.0
) -> Log:
    """Read the whole store once and return what is in it and what is wrong with it."""
    bounds = bounds_of(settings, deadline)
    parts = parts or _parts(bounds.until)
    surveys = _surveys(settings, bounds, parts, log=log)
    chain = [line for part in surveys for line in part.chain]
    unlinked = sum(part.unlinked for part in surveys)
    if unlinked:
        chain.append(f"chain: {unlinked} events above position {bounds.linked} have no head yet")
    found = [line for part in surveys for line in part.log]
    return Log(bounds, surveys, [*found, *_foreign(surveys)], chain)


def verify_log(settings: Settings) -> list[str]:
    """Return a line for each promise of the log, and each link of a chain, that does not hold."""
    log = read_log(settings)
    return [*log.log, *log.chain]


def _surveys(settings: Settings, bounds: Bounds, parts: int, *, log: bool) -> tuple[Survey, ...]:
    if parts == 1:
        return (survey(settings, bounds, Part(), log=log),)
    with ProcessPoolExecutor(parts, mp_context=multiprocessing.get_context("spawn")) as pool:
        reading = [
            pool.submit(survey, settings, bounds, Part(number, parts), log=log, alone=True)
            for number in range(parts)
        ]
        return tuple(one.result() for one in reading)


def _parts(events: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_PARTS) if events >= WORTH_A_PROCESS else 1


def _foreign(surveys: Sequence[Survey]) -> list[str]:
    """Return the streams that events of accounts in different parts have in common."""
    if len(surveys) == 1:
        return []
    owners, found = dict[str, str](), list[str]()
    for part in surveys:
        for what, account in part.owners.items():
            owner = owners.setdefault(what, account)
            if owner != account:
                found.append(f"log: {what} belongs to {owner}, and has events of {account}")
    return found
