"""Two and more of every service on Kafka and PostgreSQL: the same results, also while restarted.

These are the commands of docker-compose.yml, scaled. On the embedded engines there is one of each,
so this file is for the real ones (see conftest.py).
"""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from events.ids import derive
from events.run import RunStarted
from events.topics import RUN_EVENTS
from services.orchestrator.store import Stored, open_store
from services.places import RELAY_LOCK
from tests.chaos.audit import audit
from tests.chaos.processes import Deployment
from tests.engines import engines
from tests.engines.processes import free_port
from tests.system.septet import ADMIN_TOKEN, FAST, KEYWORDS, Septet, running, wait_for

STAGES = [("--stage", str(number)) for number in range(1, 8)]
SITES = 3
STATUSES = {200, 201, 202, 400, 503}  # what a client may be told; 0: the API was being restarted


class Many(Septet):
    """Two of each service but the workers: of those a process a stage, and one for all stages."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True)
        self.ports = [self.port, free_port()]
        self.deployment = Deployment(folder)
        for number in (1, 2):
            for service in ("orchestrator", "projector", "scheduler"):
                self.deployment.add(f"{service}-{number}", [service], self.environment)
            port = {"SEPTET_PORT": str(self.ports[number - 1])}
            self.deployment.add(f"api-{number}", ["api"], self.environment | port)
        for _, number in STAGES:
            arguments = ["stage-worker", "--stage", number]
            self.deployment.add(f"stage-worker-{number}", arguments, self.environment)
        every = [word for stage in STAGES for word in stage]
        self.deployment.add("stage-worker-8", ["stage-worker", *every], self.environment)

    def start(self) -> None:
        migrate = [sys.executable, "-m", "services.cli.main", "migrate"]
        subprocess.run(migrate, env=self.environment, check=True, capture_output=True)
        self.deployment.start()
        wait_for("every process is ready", self.is_ready, within=150)

    def is_ready(self) -> bool:
        if not all(process.is_ready for process in self.deployment.processes.values()):
            return False
        return all(_answers(port) for port in self.ports)

    def restart(self, name: str) -> None:
        """SIGTERM, wait for the end, start, and wait until it does its work."""
        assert self.deployment.stop(name) == [0], f"{name} did not stop cleanly"
        self.deployment.start(name)
        process = self.deployment.processes[name]
        wait_for(f"{name} is ready again", lambda: process.is_ready, within=120)

    def close(self) -> None:
        self.deployment.close()
        engines.release(self.kafka)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def many(folder: Path) -> Iterator[Many]:
    septet = Many(folder)
    try:
        septet.start()
        yield septet
    finally:
        septet.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what one of each makes of the work; it has ended when the many start."""
    with running(tmp_path_factory.mktemp("one") / "data") as one:
        return work(one)


@pytest.fixture(scope="module")
def septet(alone: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    assert alone
    with many(tmp_path_factory.mktemp("many") / "data") as started:
        yield started


# --- the same input under the same keys: as ids follow from their parts, the same ids


def work(septet: Septet) -> dict[str, Any]:
    """Run two sites of one account at once, every command under its key; return what came out."""

    def post(path: str, body: Any = None, key: str | None = None, **params: str) -> Any:
        named = derive("key", path, json.dumps(body), json.dumps(params))
        answer = septet.call(
            "POST",
            path,
            key=key,
            params=params,
            headers={"Idempotency-Key": named},
            **({} if body is None else {"json": body}),
        )
        assert answer.is_success, answer.text
        return answer.json()

    opened = post("/admin/accounts", {"name": "Same", "credits": 100_000}, key=ADMIN_TOKEN)
    septet.key = opened["api_key"]
    runs = dict[str, str]()
    for name in ("One", "Two"):
        body = {"name": name, "domain": "example.org", "timezone": "UTC"}
        site = post("/sites", body)["site_id"]
        params = {"site_id": site}
        septet.call("PUT", "/automation/update_config", params=params, json=FAST)
        rows = [{"keyword": keyword} for keyword in KEYWORDS]
        post("/planner/keywords", {"keywords": rows}, site_id=site)
        runs[site] = post("/automation/run_now", site_id=site)["run_id"]
    ended = {site: septet.finished(run_id, within=120) for site, run_id in runs.items()}
    return {
        "account": septet.get("/account"),
        "runs": {site: _timeless(run) for site, run in ended.items()},
        "events": {
            site: [_said(one) for one in septet.events(runs[site]) if one["type"] in FACTS]
            for site in runs
        },
        "lists": {
            f"{path} {site}": sorted(
                (_timeless(one) for one in septet.get(path, site_id=site, limit=200)["items"]),
                key=lambda one: str(one["id"]),
            )
            for site in runs
            for path in LISTS
        },
    }


# What was done and what it cost. A busy machine may ask for a batch again: that changes no fact.
FACTS = ("RunStarted", "StageStarted", "StageBatchCompleted", "StageCompleted", "RunCompleted")
TIMED = (
    "at",
    "milliseconds",
    "attempt",
    "available_credits",
)  # the last: of two runs at once, either is first
LISTS = (
    "/planner/keywords",
    "/planner/clusters",
    "/planner/ideas",
    "/writer/tasks",
    "/writer/content",
    "/writer/images",
)


def _said(event: Any) -> tuple[str, Any]:
    return event["type"], _timeless(event["data"])


def _timeless(value: Any) -> Any:
    """Return the value without the times in it: all else is to be the same."""
    match value:
        case dict():
            return {
                name: _in_order(_timeless(one)) if name == "calls" else _timeless(one)
                for name, one in value.items()
                if not name.endswith(("_at", "_by")) and name not in TIMED
            }
        case list():
            return [_timeless(one) for one in value]
        case _:
            return value


def test_many_of_each_make_of_the_same_input_the_same_as_one_of_each(
    septet: Many, alone: dict[str, Any]
):
    differing = list(_differing(work(septet), alone))
    assert not differing, differing[:20]
    _agree(septet)


def _in_order(calls: list[Any]) -> list[Any]:
    """Return calls in an order of their own, as those of one batch go out at the same time."""
    return sorted(calls, key=lambda call: json.dumps(call, sort_keys=True))


def _differing(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield where two results differ."""
    match one, other:
        case dict(), dict():
            for name in sorted(one.keys() | other.keys()):
                yield from _differing(one.get(name), other.get(name), f"{where}/{name}")
        case (list(), list()) | (tuple(), tuple()) if len(one) == len(other):
            for number, pair in enumerate(zip(one, other, strict=True)):
                yield from _differing(*pair, f"{where}/{number}")
        case _ if one != other:
            yield f"{where}: {one!r:.120}, alone {other!r:.120}"


def test_of_several_relays_one_relays(septet: Many):
    """One session has the lock, and no event has been published twice."""
    query = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND objid = %s AND granted"
    )
    with psycopg.connect(septet.environment["SEPTET_DATABASE_URL"]) as connection:
        assert connection.execute(query, (RELAY_LOCK,)).fetchone() == (1,)
    ids = [record.header("ce_id") for record in septet.records(RUN_EVENTS)]
    assert len(ids) == len(set(ids)) > 0


# --- one process after another is restarted while clients work


class Retrying(threading.Thread):
    """A client before two APIs in turn, which sends again what was answered 503 or not at all."""

    def __init__(self, septet: Many, site: str) -> None:
        super().__init__(daemon=True)
        self.septet, self.site = septet, site
        self.done = threading.Event()
        self.told = Counter[int]()
        self.failed: list[str] = []
        self.runs: list[str] = []
        self._apis = itertools.cycle(
            httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20)
            for port in septet.ports
        )

    def run(self) -> None:
        for number in itertools.count():
            if self.done.wait(0.3):
                return
            words = [{"keyword": f"rolling {self.site[-6:]} {number} {one}"} for one in ("a", "b")]
            self.say(f"import {number}", "/planner/keywords", {"keywords": words})
            answer = self.say(f"run {number}", "/automation/run_now", None)
            if answer is not None and "run_id" in answer:
                self.runs.append(answer["run_id"])

    def say(self, key: str, path: str, body: Any) -> Any:
        """Return the answer of the first API that gives one."""
        headers = {"Idempotency-Key": f"{self.site} {key}"}
        headers["Authorization"] = f"Bearer {self.septet.key}"
        for _ in range(20):
            try:
                answer = next(self._apis).post(
                    path, params={"site_id": self.site}, headers=headers, json=body
                )
            except httpx.TransportError:
                self.told[0] += 1
                time.sleep(0.1)
                continue
            self.told[answer.status_code] += 1
            if answer.status_code not in STATUSES:
                self.failed.append(f"{key}: {answer.status_code} {answer.text}")
            if answer.status_code != 503:
                return answer.json()
            time.sleep(0.2)
        self.failed.append(f"{key}: no API answered")
        return None


def _scheduled(septet: Many, number: int) -> tuple[list[str], datetime]:
    """Return sites that are due at the same whole minute, at least 20 s from now, and when."""
    due = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    chosen = {"is_enabled": True, "scheduled_time": f"{due:%H:%M}", "timezone": "UTC"}
    return [septet.new_site(KEYWORDS[:2], **chosen) for _ in range(number)], due


def test_every_process_is_restarted_in_turn_and_no_client_sees_a_failure(septet: Many):
    septet.new_account()
    timed, slot = _scheduled(septet, SITES)
    clients = [Retrying(septet, septet.new_site(KEYWORDS[:4])) for _ in range(SITES)]
    last = _last(septet)
    for client in clients:
        client.start()
    try:
        for name in septet.deployment.processes:
            septet.restart(name)
    finally:
        for client in clients:
            client.done.set()
        for client in clients:
            client.join(60)
    wait_for("every process is ready", septet.is_ready, within=90)
    assert [client.failed for client in clients] == [[]] * SITES
    assert all(client.runs for client in clients)
    everywhere = [*timed, *(client.site for client in clients)]
    wait_for("every slot has its run", lambda: _slots(septet) >= Counter(timed), within=150)
    wait_for("every run has ended", lambda: _all_ended(septet, everywhere), within=120)
    for run_id in (run_id for client in clients for run_id in client.runs):
        assert septet.run(run_id)["status"] == "completed"
    _agree(septet)
    assert _slots(septet) == Counter(timed), "a slot started twice"
    assert {one.slot for one in _started(septet) if one.slot} == {slot}
    counts = audit(septet, last, letters=0).counts
    assert counts.charged_twice == 0
    assert counts.asked_again <= len(septet.deployment.processes)
    print(counts, [dict(client.told) for client in clients])  # noqa: T201  # with pytest -s


def _agree(septet: Septet) -> None:
    """Return when log, tables and topic agree and keep every rule."""
    found = audit(septet, since=0, letters=0).findings
    until = time.monotonic() + 60
    while found and time.monotonic() < until:
        time.sleep(0.5)
        found = audit(septet, since=0, letters=0).findings
    assert found == []


def _stored(septet: Septet) -> list[Stored]:
    store = open_store(septet.settings)
    try:
        return list(store.stored())
    finally:
        store.close()


def _last(septet: Septet) -> int:
    return _stored(septet)[-1].placed.position


def _started(septet: Septet) -> list[RunStarted]:
    messages = [one.placed.envelope.message for one in _stored(septet)]
    return [message for message in messages if isinstance(message, RunStarted)]


def _slots(septet: Septet) -> Counter[str]:
    """Return how many scheduled runs each site has had."""
    envelopes = [one.placed.envelope for one in _stored(septet)]
    return Counter(
        envelope.site_id or ""
        for envelope in envelopes
        if isinstance(envelope.message, RunStarted) and envelope.message.slot
    )


def _all_ended(septet: Septet, sites: list[str]) -> bool:
    runs = [
        run
        for site in sites
        for run in septet.get("/automation/history", site_id=site, limit=100)["runs"]
    ]
    return all(run["status"] not in ("running", "paused") for run in runs)
