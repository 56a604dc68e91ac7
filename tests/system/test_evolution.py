"""Two releases side by side, as real processes: nothing is lost, whoever is upgraded first."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from events.topics import DEAD_LETTERS, RUN_EVENTS
from services.broker import command as broker_command
from tests.engines import engines
from tests.system.septet import KEYWORDS, Septet, wait_for

ROOT = Path(__file__).parents[2]
OLD = ("-m", "services.cli.main")
NEXT = ("-m", "tests.system.next_release")
STAGES = tuple(part for stage in range(1, 8) for part in ("--stage", str(stage)))


class TwoReleases:
    """Services of both releases over one store and one broker."""

    def __init__(self, folder: Path) -> None:
        self.septet = Septet(folder, PYTHONPATH=str(ROOT))
        self._folder, self._stack = folder, ExitStack()
        folder.mkdir(parents=True)

    def start(self, *command: str, release: tuple[str, ...] = OLD) -> subprocess.Popen[bytes]:
        return self._spawn([sys.executable, *release, *command], f"{release[1]}-{command[0]}")

    def start_broker(self) -> None:
        if self.septet.settings.embedded_broker:
            self._spawn(broker_command(self.septet.broker_port), "broker")

    def _spawn(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                command, env=self.septet.environment, stdout=out, stderr=out, cwd=ROOT
            )
        self._stack.callback(end, process)
        return process

    def is_ready(self) -> bool:
        try:
            return self.septet.api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def said_by(self, name: str) -> str:
        return (self._folder / f"{name}.out").read_text()

    def ask(self, *command: str, release: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *release, *command],
            env=self.septet.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def close(self) -> None:
        self._stack.close()
        if self.septet.kafka:
            engines.release(self.septet.kafka)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@contextmanager
def two_releases(folder: Path) -> Iterator[TwoReleases]:
    both = TwoReleases(folder)
    try:
        yield both
    finally:
        both.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[TwoReleases]:
    with two_releases(tmp_path / "data") as made:
        yield made


def test_a_newer_writer_beside_older_readers_loses_nothing(both: TwoReleases) -> None:
    septet = both.septet
    both.start_broker()
    assert both.ask("migrate", release=OLD).returncode == 0
    orchestrator = both.start("orchestrator")
    projector = both.start("projector")
    for service in (("scheduler",), ("api",), ("stage-worker", *STAGES)):
        both.start(*service)
    wait_for("every service answers", both.is_ready, within=120)
    septet.new_account()
    before, after = septet.new_site(), septet.new_site()
    first = septet.finished(septet.start_run(before))
    assert first["status"] == "completed"

    # the writer is upgraded first, which is the wrong way round
    end(orchestrator)
    newer = both.start("orchestrator", release=NEXT)
    second = septet.finished(septet.start_run(after))
    assert second["status"] == "completed"
    letters = septet.records(DEAD_LETTERS)
    assert {record.header("ce_type") for record in letters} == {"septet.ItemsMoved.v2"}
    assert {record.header("septet-consumer") for record in letters} == {"projector"}
    assert not reviews(septet, after)
    assert reviews(septet, before)
    assert (
        "septet.ItemsMoved.v2" in both.ask("audit", "replay", "--site", after, release=OLD).stdout
    )
    verdict = both.ask("audit", "verify", release=OLD)
    assert verdict.returncode == 1
    assert "the store has septet.ItemsMoved.v2, which a newer release wrote" in verdict.stderr

    # an older one comes back, and must not decide about what it cannot read
    end(newer)
    older = both.start("orchestrator")
    asked = septet.call("POST", "/automation/run_now", params={"site_id": after})
    assert asked.status_code == 202
    assert asked.json()["status"] == "pending"
    wait_for("the older orchestrator ends", lambda: older.poll() is not None)
    assert older.returncode == 1
    told = both.said_by("services.cli.main-orchestrator")
    assert "the store has septet.ItemsMoved.v2, which a newer release wrote: upgrade" in told
    command = asked.json()["command_id"]
    assert septet.get(f"/commands/{command}")["status"] == "pending"
    both.start("orchestrator", release=NEXT)
    outcome = wait_for("it has its outcome", lambda: outcome_of(septet, command))
    assert (outcome["status"], outcome.get("code")) == ("refused", "nothing_to_do")

    # the reader follows: what was set aside comes back by itself
    end(projector)
    both.start("projector", release=NEXT)
    wait_for("the upgraded projector has caught up", lambda: reviews(septet, after))
    verdict = both.ask("audit", "verify", "--output", "json", release=NEXT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert json.loads(verdict.stdout)["topic_compared"]

    # both versions stand as they were said, in the store and in the topic
    for source in ("store", "kafka"):
        assert versions(both, before, source) == {"septet.ItemsMoved.v1"}
        assert versions(both, after, source) == {"septet.ItemsMoved.v2"}
    names = {record.header("ce_type") for record in septet.records(RUN_EVENTS)}
    assert {"septet.ItemsMoved.v1", "septet.ItemsMoved.v2"} <= names


def reviews(septet: Septet, site_id: str) -> list[Any]:
    found: list[Any] = septet.get("/writer/content", site_id=site_id, status="review")["items"]
    return found


def outcome_of(septet: Septet, command_id: str) -> Any:
    found = septet.get(f"/commands/{command_id}")
    return None if found["status"] == "pending" else found


def versions(both: TwoReleases, site_id: str, source: str) -> set[str]:
    """Return under which names a replay shows ItemsMoved, with the body of that version."""
    done = both.ask("audit", "replay", "--site", site_id, "--from", source, release=NEXT)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    moved = [event for event in events if event["type"] == "ItemsMoved"]
    for event in moved:
        assert ("lost" in event) == event["ce_type"].endswith("v2")
        assert ("failed" in event) == event["ce_type"].endswith("v1")
    return {event["ce_type"] for event in moved}


def test_everything_works_in_the_next_release(both: TwoReleases) -> None:
    """A store of this release, taken over whole: batches in flight, drafts, credits."""
    septet = both.septet
    both.start_broker()
    assert both.ask("migrate", release=OLD).returncode == 0
    services = (("orchestrator",), ("projector",), ("api",), ("stage-worker", *STAGES))
    running = [both.start(*service) for service in services]
    scheduler = both.start("scheduler")
    wait_for("every service answers", both.is_ready, within=120)
    septet.new_account()
    site = septet.new_site(KEYWORDS, stage_2_batch_size=1, stage_4_batch_size=1)
    run_id = septet.start_run(site)
    wait_for("it is in the middle", lambda: septet.run(run_id)["current_stage"] >= 3)
    for process in (*running, scheduler):
        end(process)
    for service in (*services, ("scheduler",)):
        both.start(*service, release=NEXT)
    wait_for("every service answers again", both.is_ready, within=120)
    assert septet.finished(run_id)["status"] == "completed"
    assert versions(both, site, "store") == {"septet.ItemsMoved.v1", "septet.ItemsMoved.v2"}
    verdict = both.ask("audit", "verify", "--output", "json", release=NEXT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
