"""Watching a run while the API is killed under whoever watches: every event and line, once."""

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest

from services.cli.live import FINAL, Sent, ended, sent
from tests.system.septet import Septet, wait_for

SLOW = {"stage_1_batch_size": 2, "stage_2_batch_size": 1, "within_stage_delay": 2}


class Listener:
    """An SSE client as browsers have it: it comes again with the last id that it has received."""

    def __init__(self, septet: Septet, run_id: str) -> None:
        self.septet = septet
        self.run_id = run_id
        self.events: list[Sent] = []
        self.progress: list[Sent] = []
        self.last_id: str | None = None
        self.connections = 0
        self.stopped = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def positions(self) -> list[int]:
        return [json.loads(event.data)["position"] for event in self.events]

    def _listen(self) -> None:
        while not self.stopped.is_set():
            try:
                self._connected()
            except httpx.TransportError:
                self.stopped.wait(0.1)

    def _connected(self) -> None:
        headers = {"Authorization": f"Bearer {self.septet.key}"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        url, query = "/api/v1/automation/stream", {"run_id": self.run_id}
        with self.septet.api.stream("GET", url, params=query, headers=headers) as answer:
            assert answer.status_code == 200
            self.connections += 1
            for one in sent(answer.iter_raw()):
                if one.id is not None:
                    self.last_id = one.id
                if one.event == "progress":
                    self.progress.append(one)
                elif one.data:
                    self.events.append(one)


class Follower:
    """A command that follows a run, in a process of its own."""

    def __init__(self, septet: Septet, *arguments: str) -> None:
        environment = {
            **septet.environment,
            "SEPTET_API_KEY": septet.key,
            "SEPTET_API_URL": f"http://127.0.0.1:{septet.port}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def end(self) -> tuple[int, list[Any], str]:
        """Return exit code, objects printed and what stderr says, when it has ended by itself."""
        try:
            code = self.process.wait(60)
        finally:
            self.process.kill()
        self.reader.join(10)
        assert self.process.stderr is not None
        return code, [json.loads(line) for line in self.lines], self.process.stderr.read()


# Twice killed; on a busy machine it may be away for a moment besides. It tries each second.
ONCE_A_TIME_AWAY = range(1, 5)


def all_lines(septet: Septet, run_id: str) -> list[Any]:
    return list(septet.get("/automation/logs", run_id=run_id, lines=1000)["lines"])


def kill_api(septet: Septet) -> None:
    """SIGKILL the API; the supervisor brings another one up."""
    septet.kill("api")
    wait_for("the API answers again", septet.is_ready)


def test_whoever_watches_a_run_misses_and_repeats_nothing_when_the_api_is_killed(septet: Septet):
    run_id = septet.start_run(septet.new_site(**SLOW))
    listener = Listener(septet, run_id)
    log = Follower(septet, "run", "logs", run_id, "--follow", "--output", "json")
    watch = Follower(septet, "run", "watch", run_id, "--output", "json")
    wait_for("all have begun", lambda: listener.events and log.lines and watch.lines)

    for kills in (1, 2):
        heard = len(listener.events), len(watch.lines), len(log.lines)
        kill_api(septet)
        wait_for("the client is there again", lambda at=kills: listener.connections > at)
        wait_for(
            "all have heard more",
            lambda was=heard: (
                len(listener.events) > was[0]
                and len(watch.lines) > was[1]
                and len(log.lines) > was[2]
            ),
        )
    assert septet.run(run_id)["status"] not in FINAL, "the run was too quick to be killed under"

    run = wait_for("the run is over", lambda: ended(septet.run(run_id)) and septet.run(run_id))
    assert run["status"] == "completed"
    history = septet.events(run_id)
    positions = [event["position"] for event in history]
    wait_for("the client has heard the end", lambda: len(listener.events) >= len(positions))
    listener.stopped.set()
    assert listener.positions() == positions
    assert [event.id for event in listener.events] == [str(position) for position in positions]
    assert [json.loads(event.data) for event in listener.events] == history

    code, told, said = watch.end()
    assert (code, told) == (0, history)
    assert said.count("the API does not answer; trying again") in ONCE_A_TIME_AWAY, said

    code, lines, said = log.end()
    assert (code, lines) == (0, all_lines(septet, run_id))
    assert "Traceback" not in said

    assert listener.progress, "progress was told"
    assert {one.id for one in listener.progress} == {None}


@pytest.mark.parametrize("follow", [("logs", "--follow"), ("watch",)])
def test_ctrl_c_leaves_a_command_that_follows_with_130_and_no_complaint(
    septet: Septet, follow: tuple[str, ...]
):
    run_id = septet.start_run(septet.new_site(**SLOW))
    verb, *options = follow
    following = Follower(septet, "run", verb, run_id, *options, "--output", "json")
    wait_for("it has begun", lambda: following.lines)
    following.process.send_signal(signal.SIGINT)
    code, _, said = following.end()
    assert (code, said.strip()) == (130, "")
    septet.post("/automation/cancel", run_id=run_id)
