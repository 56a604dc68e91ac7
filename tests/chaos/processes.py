"""Services as processes of their own, started again when they end, as containers are."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.broker import PARENT_PIPE

LOOK_EVERY = 0.1  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0  # seconds before a process that ended is started again
STOP_WITHIN = 30.0


@dataclass(slots=True)
class Process:
    """One process of a deployment. `wanted` is whether it is to be started when it is not there."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready_file: Path
    wanted: bool = False
    starts: int = 0
    wait: float = FIRST_WAIT
    began: float = 0.0
    ended: float | None = None
    codes: list[int] = field(default_factory=list)
    running: "subprocess.Popen[bytes] | None" = None

    @property
    def is_there(self) -> bool:
        return self.running is not None and self.running.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether its present process has said that it does its work."""
        return self.is_there and self.ready_file.exists()


class Deployment:
    """Processes by name, and one thread that starts again what ended. All of it ends with us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._read_end, self._our_end = os.pipe()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def add(self, name: str, arguments: Iterable[str], environment: Mapping[str, str]) -> None:
        """Name a process; `start` starts it."""
        ready = self.folder / f"{name}.ready"
        self.processes[name] = Process(
            name=name,
            command=[sys.executable, "-m", "services.cli.main", *arguments],
            environment={
                **environment,
                PARENT_PIPE: str(self._read_end),
                "SEPTET_ALIVE_FILE": str(ready),
            },
            log=self.folder / f"{name}.log",
            ready_file=ready,
        )

    def matching(self, kind: str) -> list[Process]:
        """Return the processes of a kind of service: `api` finds `api`, `api-1`, `api-2`."""
        found = [
            process
            for name, process in self.processes.items()
            if kind in (name, name.rpartition("-")[0])
        ]
        assert found, f"there is no {kind} among {sorted(self.processes)}"
        return found

    def start(self, *names: str) -> None:
        """Start these processes, or all of them."""
        with self._lock:
            for name in names or self.processes:
                process = self.processes[name]
                process.wanted, process.wait = True, FIRST_WAIT
                if not process.is_there:
                    self._begin(process)

    def signal(self, number: signal.Signals, *kinds: str) -> None:
        """Send a signal to every process of these kinds, or to all."""
        chosen = [one for kind in kinds for one in self.matching(kind)]
        for process in chosen or self.processes.values():
            if process.running is not None and process.is_there:
                process.running.send_signal(number)

    def stop(self, *names: str) -> list[int]:
        """SIGTERM these processes, or all, and return their exit codes; they stay away."""
        chosen = [self.processes[name] for name in names or self.processes]
        with self._lock:
            for process in chosen:
                process.wanted = False
        for process in chosen:
            if process.running is not None and process.is_there:
                process.running.send_signal(signal.SIGCONT)
                process.running.terminate()
        return [_ended(process.running) for process in chosen if process.running is not None]

    def remove(self, *names: str) -> None:
        """Stop these processes for good."""
        self.stop(*names)
        with self._lock:
            for name in names:
                del self.processes[name]

    def close(self) -> None:
        """Stop all of them, and the thread that keeps them."""
        self.stop()
        self._stopping.set()
        self._keeper.join(10)
        for end in (self._read_end, self._our_end):
            os.close(end)

    def said(self) -> str:
        """Return the warnings and errors of all processes, the last of each."""
        return "\n".join(
            f"--- {process.name}: {process.starts} starts, codes {process.codes}\n"
            + "\n".join(_warnings(process.log))
            for process in self.processes.values()
        )

    def _keep(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            with self._lock:
                for process in self.processes.values():
                    if process.wanted and not process.is_there:
                        self._again(process)

    def _again(self, process: Process) -> None:
        now = time.monotonic()
        if process.ended is None:
            process.ended = now
            if process.running is not None:
                process.codes.append(process.running.returncode)
            lived = now - process.began
            process.wait = FIRST_WAIT if lived > 30 else min(process.wait * 2, LONGEST_WAIT)
        elif now - process.ended >= process.wait:
            self._begin(process)

    def _begin(self, process: Process) -> None:
        process.ready_file.unlink(missing_ok=True)
        with process.log.open("ab") as out:
            process.running = subprocess.Popen(
                process.command,
                env=process.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=(self._read_end,),
                start_new_session=True,
            )
        process.starts, process.began, process.ended = process.starts + 1, time.monotonic(), None


def _ended(running: "subprocess.Popen[bytes]") -> int:
    try:
        return running.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        running.kill()
        return running.wait(10)


def _warnings(log: Path, last: int = 12) -> list[str]:
    if not log.exists():
        return []
    lines = log.read_text(errors="replace").splitlines()
    return [line[:600] for line in lines if '"level": "INFO"' not in line][-last:]
