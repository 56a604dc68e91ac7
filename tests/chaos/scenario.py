"""One scenario from load to rest: runs go on, a fault comes and heals, all is as promised."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import httpx

from tests.chaos.audit import Audited, audit, last_position, money
from tests.chaos.clients import (
    Answer,
    Client,
    Said,
    ask,
    lost_keywords,
    open_commands,
    slowest,
    statuses,
    wrong_answers,
)
from tests.chaos.world import Kind, World
from tests.system.septet import KEYWORDS, wait_for

SITES = 3
RECOVERS_WITHIN = 90.0  # seconds after the fault has healed, on a machine that others use too
ANSWERS_WITHIN = 15.0  # seconds; the contract's five, on such a machine
BUSY = {"stage_1_batch_size": 2, "stage_2_batch_size": 1, "stage_4_batch_size": 1}
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table of faults.

    `inject` does the fault and returns when it has healed. `api_away` is whether connections to
    the API may fail meanwhile, and answers take their time. `letters` is how many dead letters the
    fault makes.
    """

    name: str
    inject: Callable[[World], None]
    expected: str
    world: Kind = "plain"
    on: Literal["both", "embedded", "real"] = "both"
    needs: tuple[Literal["root", "cc"], ...] = ()
    api_away: bool = False
    letters: int = 0


def slug(name: str) -> str:
    """Return the name as one word, by which the scenario is chosen at the command line."""
    return re.sub(r"[^a-z0-9+-]+", "-", name.lower()).strip("-")


@dataclass(slots=True)
class Result:
    """What was seen. `findings` is empty when every expectation was met.

    `recovered_seconds` is from healing until a new run has gone through all seven stages;
    `rest_seconds` until every run has ended and every copy agrees.
    """

    fault: str
    expected: str
    engines: str
    seed: int
    held_seconds: float = 0.0
    recovered_seconds: float | None = None
    rest_seconds: float | None = None
    runs: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    slowest_answer: float = 0.0
    repeated: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    findings: list[str] = field(default_factory=list)


def play(scenario: Scenario, world: World, result: Result) -> None:
    """Play the scenario and fill in the result."""
    wait_for("everything answers", world.is_ready, within=90)
    since = last_position(world)
    letters = world.letters + scenario.letters
    world.begin()
    delays = range(SITES)  # none, one and two seconds between stages: timers are under way too
    sites = [world.new_site(KEYWORDS[:4], **BUSY, between_stage_delay=delay) for delay in delays]
    probe = Probe(world, scenario.name)
    clients = [
        Client(world, site, f"{scenario.name} {number}", world.seed)
        for number, site in enumerate(sites)
    ]
    starts = _starts(world)
    for client in clients:
        client.start()
    try:
        wait_for("runs go on", lambda: any(_is_busy(world, site) for site in sites), within=60)
        began = time.monotonic()
        scenario.inject(world)
        healed = time.monotonic()
        result.held_seconds = _since(began)
        if probe.is_through(healed + RECOVERS_WITHIN):
            result.recovered_seconds = _since(healed)
        else:
            result.findings.append(f"no new run went through in {RECOVERS_WITHIN:g} s")
    finally:
        for client in clients:
            client.done.set()
        for client in clients:
            client.join(60)
    said = [*world.said, *(one for client in clients for one in client.said)]
    result.answers, result.slowest_answer = statuses(said), round(slowest(said), 1)
    result.restarts = _starts(world) - starts
    until = max(healed + RECOVERS_WITHIN, time.monotonic() + 10)
    wait_for("everything answers", world.is_ready, within=max(1, until - time.monotonic()))
    result.findings += open_commands(world, said, until)
    runs = _ended(world, world.sites, until)
    result.runs = dict.fromkeys(ENDED, 0) | _count(run["status"] for run in runs)
    audited = _at_rest(world, since, letters, max(until, time.monotonic() + 10))
    result.rest_seconds = _since(healed)
    result.repeated = asdict(audited.counts)
    world.letters = letters
    result.findings += audited.findings
    result.findings += [line for run in runs for line in (*_unexpected(run), *money(world, run))]
    result.findings += wrong_answers(world, said, audited.outcomes, away=scenario.api_away)
    result.findings += [line for client in clients for line in lost_keywords(world, client)]
    result.findings += [repr(client.error) for client in clients if client.error is not None]
    if not scenario.api_away and result.slowest_answer > ANSWERS_WITHIN:
        result.findings.append(f"an answer took {result.slowest_answer} s")


class Probe:
    """A run of one keyword, started when the fault has healed: when it is through, all work."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.site = world.new_site(KEYWORDS[:1])
        self.said = Said(f"probe {name}", "/automation/run_now", {"site_id": self.site}, None)

    def is_through(self, until: float) -> bool:
        """Tell whether it was started and completed in time."""
        run_id = ""
        with httpx.Client(base_url=self.world.api.base_url, timeout=10) as http:
            while time.monotonic() < until:
                if not run_id:
                    run_id = _run_id(ask(http, self.world.key, self.said))
                elif _status(http, self.world.key, run_id) == "completed":
                    return True
                time.sleep(0.1)
        return False


def _run_id(answer: Answer) -> str:
    return str(answer.body.get("run_id", "")) if isinstance(answer.body, dict) else ""


def _status(http: httpx.Client, key: str, run_id: str) -> str:
    try:
        answer = http.get(
            "/api/v1/automation/run",
            params={"run_id": run_id},
            headers={"Authorization": f"Bearer {key}"},
        )
    except httpx.TransportError:
        return ""
    return str(answer.json().get("status", ""))


def _is_busy(world: World, site: str) -> bool:
    run = world.get("/automation/current_run", site_id=site)["run"]
    return run is not None and sum(stage["items_done"] for stage in run["stages"]) > 0


def _ended(world: World, sites: list[str], until: float) -> list[Any]:
    """Resume what is paused, and return all runs of the sites when they have ended, or are late."""
    while True:
        runs = [run for site in sites for run in _history(world, site)]
        for run in runs:
            if run["status"] == "paused":
                world.call("POST", "/automation/resume", params={"run_id": run["run_id"]})
        at_rest = all(run["status"] in ENDED and not run["batches_in_flight"] for run in runs)
        if at_rest or time.monotonic() > until:
            return runs
        time.sleep(0.2)


def _history(world: World, site: str) -> Iterator[Any]:
    cursor: str | None = ""
    while cursor is not None:
        params = {"cursor": cursor} if cursor else {}
        page = world.get("/automation/history", site_id=site, **params)
        yield from page["runs"]
        cursor = page["next_cursor"]


def _unexpected(run: Any) -> Iterator[str]:
    """Yield why a run is not as it should be; nobody but a client cancels one."""
    if run["status"] not in ("completed", "cancelled"):
        yield f"{run['run_id']} is {run['status']} at stage {run['current_stage']}: " + str(
            run["error_message"]
        )
    if run["batches_in_flight"]:
        yield f"{run['run_id']} has {run['batches_in_flight']} batches in flight"


def _at_rest(world: World, since: int, letters: int, until: float) -> Audited:
    while True:
        found = audit(world, since, letters)
        if not found.findings or time.monotonic() > until:
            return found
        time.sleep(0.5)


def _starts(world: World) -> int:
    return sum(process.starts for process in world.deployment.processes.values())


def _count(found: Iterator[str]) -> dict[str, int]:
    counts = dict[str, int]()
    for one in found:
        counts[one] = counts.get(one, 0) + 1
    return counts


def _since(moment: float) -> float:
    return round(time.monotonic() - moment, 1)
