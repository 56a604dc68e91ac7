"""The supervisor over toy services: back-off, order, locks, and nothing left behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import Result

from services import supervisor as module
from services.broker import PortTaken, require_free, wait_until_open
from services.cli.environment import inherited, read_settings
from services.cli.up import require_ports
from services.supervisor import (
    AlreadyRunning,
    Service,
    StartFailed,
    Supervisor,
    locked,
    matters,
    supervised,
    told,
)

GOOD = """
import signal, sys, time
from services.supervisor import exit_with_parent, ready
exit_with_parent()
def stop(*_):
    print({name!r}, "stopped at", time.monotonic(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print({name!r}, "started at", time.monotonic(), flush=True)
ready()
while True:
    time.sleep(10)
"""


def good(name: str) -> Service:
    return toy(name, GOOD.format(name=name))


def toy(name: str, code: str) -> Service:
    return Service(name, (sys.executable, "-c", code))


def times(folder: Path, name: str, word: str) -> list[float]:
    lines = (folder / f"{name}.log").read_text().splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if f" {word} at " in line]


async def until(true: Callable[[], bool], within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)


def of(ranks: list[list[Service]], folder: Path, told: list[str] | None = None) -> Supervisor:
    heard = [] if told is None else told
    return Supervisor(ranks, folder, inherited(), heard.append)


def test_ranks_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    async def scenario() -> None:
        ranks = [[good("first")], [good("second"), good("third")]]
        async with supervised(of(ranks, tmp_path)) as running:
            assert [child.state for child in running.children] == ["up"] * 3
            assert all(child.took is not None for child in running.children)

    asyncio.run(scenario())
    starts = [times(tmp_path, name, "started")[0] for name in ("first", "second", "third")]
    stops = [times(tmp_path, name, "stopped")[0] for name in ("first", "second", "third")]
    assert starts[0] < min(starts[1:])
    assert stops[0] > max(stops[1:])


def test_a_dead_service_is_started_again_after_a_growing_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(module, "FIRST_WAIT", 0.05)

    async def scenario() -> None:
        async with supervised(of([[good("toy")]], tmp_path, heard)) as running:
            (child,) = running.children
            for starts in (2, 3):
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
                await until(lambda n=starts: child.starts == n and child.state == "up")  # type: ignore[misc]

    asyncio.run(scenario())
    assert [line for line in heard if "ended" in line] == [
        "toy was ended by SIGKILL; starting it again in 0.1 s",
        "toy was ended by SIGKILL; starting it again in 0.1 s",
    ]
    assert sum("up again" in line for line in heard) == 2


def test_the_wait_doubles_up_to_its_limit() -> None:
    assert [module.longer(wait) for wait in (0.2, 0.4, 6.4, 10.0)] == [0.4, 0.8, 10.0, 10.0]


def test_a_service_that_never_becomes_ready_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    broken = toy("broken", "import sys; print('no such table'); sys.exit(1)")
    with pytest.raises(StartFailed, match=r"broken ended with code 1; .*no such table"):
        asyncio.run(start_and_stop(of([[good("first")], [broken]], tmp_path)))
    assert len(times(tmp_path, "first", "stopped")) == 1


def test_a_wrong_setting_is_not_tried_again(tmp_path: Path) -> None:
    supervisor = of([[toy("strict", "import sys; print('error: wrong'); sys.exit(2)")]], tmp_path)
    with pytest.raises(StartFailed, match="error: wrong"):
        asyncio.run(start_and_stop(supervisor))
    assert supervisor.children[0].starts == 1


def test_who_ignores_the_signal_to_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_WITHIN", 0.2)
    heard: list[str] = []
    deaf = GOOD.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(15, signal.SIG_IGN)")
    asyncio.run(start_and_stop(of([[toy("deaf", deaf.format(name="deaf"))]], tmp_path, heard)))
    assert heard == ["deaf did not stop in 0 s and was killed"]


def test_a_warning_reaches_the_terminal_and_cannot_move_its_cursor(tmp_path: Path) -> None:
    heard: list[str] = []
    code = (
        "import logging\nfrom services.logs import configure\nconfigure('INFO', 'toy')\n"
        "logging.getLogger('x').info('quiet')\n"
        "logging.getLogger('x').warning('red \\x1b[31m\\nforged', extra={'lag': 3})\n"
    )

    async def scenario() -> None:
        async with supervised(of([[toy("toy", code + GOOD.format(name="toy"))]], tmp_path, heard)):
            await until(lambda: bool(heard))

    asyncio.run(scenario())
    assert heard == ["toy | WARNING red \\x1b[31m\\nforged lag=3"]
    assert "quiet" in (tmp_path / "toy.log").read_text()


def test_lines_of_others_are_read_as_they_are() -> None:
    assert told("a line\x1b[2J") == "a line\\x1b[2J"
    assert not matters("ERROR in plain text")
    assert not matters("{broken")


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from services.supervisor import Service, Supervisor, interruptible, locked, supervised
broker = (sys.executable, "-m", "services.broker", sys.argv[3])
ranks = [[Service("broker", broker, port=int(sys.argv[3]))],
         [Service("toy", (sys.executable, "-c", sys.argv[2]))]]
async def main():
    supervisor = Supervisor(ranks, Path(sys.argv[1]), dict(os.environ), print)
    async def work():
        async with supervised(supervisor):
            print("up", *(child.pid for child in supervisor.children), flush=True)
            await asyncio.Event().wait()
    await interruptible(work(), supervisor)
with locked(Path(sys.argv[1])):
    asyncio.run(main())
"""


@pytest.fixture
def running(tmp_path: Path, free_port: int) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path), GOOD.format(name="toy"), str(free_port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    word, *pids = process.stdout.readline().split()
    assert word == "up"
    yield process, [int(pid) for pid in pids]
    process.kill()
    process.wait()
    process.stdout.close()


def gone(pids: list[int], within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_supervisor_leaves_nothing_behind(
    running: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, pids = running
    assert len(pids) == 2
    process.kill()
    assert gone(pids, within=5)


def test_a_signal_to_stop_ends_everything_with_code_0(
    running: tuple[subprocess.Popen[str], list[int]], tmp_path: Path
) -> None:
    process, pids = running
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    assert gone(pids, within=1)
    assert len(times(tmp_path, "toy", "stopped")) == 1


def test_a_killed_broker_comes_back(
    running: tuple[subprocess.Popen[str], list[int]], free_port: int
) -> None:
    process, pids = running
    os.kill(pids[0], signal.SIGKILL)
    assert process.stdout is not None
    assert process.stdout.readline() == "broker was ended by SIGKILL; starting it again in 0.2 s\n"
    asyncio.run(wait_until_open(free_port, 5))


def test_the_data_folder_serves_one_supervisor_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(AlreadyRunning) as refusal, locked(tmp_path):
        pass
    assert str(refusal.value) == (
        f"Septet already runs in {tmp_path}, process {os.getpid()}. "
        "Stop it, or set SEPTET_DATA_DIR to another folder"
    )
    with locked(tmp_path):
        pass


def test_a_taken_port_is_named_with_what_to_set() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken) as refusal:
            require_free("127.0.0.1", port, "Set SEPTET_PORT to a free one")
    assert str(refusal.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use. Set SEPTET_PORT to a free one"
    )


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1", "a..b", "2001:db8::1"])
@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_host_that_is_not_ours_is_named_with_what_to_set(
    septet: Callable[..., Result], command: str, host: str
) -> None:
    done = septet(command, env={"SEPTET_HOST": host})
    assert done.exit_code == 1
    assert re.fullmatch(
        rf"error: cannot listen on {re.escape(host)}:8000: [A-Z][a-z ]+\. "
        "Set SEPTET_HOST to an address of this machine\n",
        done.stderr,
    )


@pytest.mark.parametrize("command", ["up", "demo"])
def test_one_port_for_api_and_broker_stops_the_start(
    septet: Callable[..., Result], free_port: int, command: str
) -> None:
    ports = dict.fromkeys(("SEPTET_PORT", "SEPTET_EMBEDDED_BROKER_PORT"), str(free_port))
    done = septet(command, env=ports)
    assert done.exit_code == 2
    assert done.stderr == (
        f"error: SEPTET_PORT and SEPTET_EMBEDDED_BROKER_PORT are both {free_port}. "
        "Set one of them to another port\n"
    )


def test_one_port_is_enough_where_kafka_is_elsewhere(free_port: int) -> None:
    kafka = {"kafka_bootstrap_servers": "kafka-1:9092"}
    require_ports(read_settings(port=free_port, embedded_broker_port=free_port, **kafka))


async def start_and_stop(supervisor: Supervisor) -> None:
    async with supervised(supervisor):
        pass
