"""`septet up`: start services in order, start dead ones again, stop them in order."""

import asyncio
import fcntl
import json
import logging
import os
import re
import signal
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from services.broker import PARENT_PIPE, wait_until_open
from services.logs import printable

READY_FD = "SEPTET_READY_FD"
READY_LINE = b"READY\n"
PARENT_GONE = 70  # EX_SOFTWARE: the exit code of a child whose parent has died

FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds before a dead service is started again
LIVED_LONG = 30.0  # after this many seconds of life the wait begins at FIRST_WAIT again
READY_WITHIN = 90.0
STOP_WITHIN = 10.0
TRIES = 5  # of a service that has never been ready
WRONG_USAGE = 2  # the exit code of a service whose settings are wrong: trying again helps nobody

EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(: |$)")
LOG_SIZE = 16 * 1024 * 1024
LINE_LIMIT = 1024 * 1024


class AlreadyRunning(Exception):
    """Another supervisor holds the data folder."""


class StartFailed(Exception):
    """A service did not become ready."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is started, and `where` for people.

    It is ready when its port is open, or, where it has none, when it says so.
    """

    name: str
    command: tuple[str, ...]
    where: str = ""
    port: int | None = None


@dataclass(slots=True)
class Child:
    """A service and its present process; `took` is the seconds until that was ready."""

    service: Service
    state: Literal["starting", "up", "down", "stopped"] = "starting"
    process: asyncio.subprocess.Process | None = None
    took: float | None = None
    starts: int = 0
    last_line: str = ""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""

    @property
    def pid(self) -> int | None:
        """The process's id, none while there is no process."""
        return self.process.pid if self.process and self.process.returncode is None else None


class Supervisor:
    """Keeps services running. Ranks start one after another, and stop in reverse.

    Each child leads its own process group and holds the read end of a pipe whose only write end is
    ours: when we die, however we die, the kernel closes it and the child sees the end.
    """

    def __init__(
        self,
        ranks: Sequence[Sequence[Service]],
        logs: Path,
        environment: Mapping[str, str],
        tell: Callable[[str], None],
    ) -> None:
        self.ranks = [[Child(service) for service in rank] for rank in ranks]
        self.logs = logs
        self.environment = environment
        self.tell = tell
        self.stopping = False
        self.keepers: dict[str, asyncio.Task[None]] = {}
        self.parent_pipe, self.our_end = os.pipe()

    @property
    def children(self) -> list[Child]:
        """All children, in the order of their start."""
        return [child for rank in self.ranks for child in rank]

    async def start(self) -> None:
        """Return when every service is ready. Raises StartFailed."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for rank in self.ranks:
            for child in rank:
                name = child.service.name
                self.keepers[name] = asyncio.create_task(self._keep(child), name=name)
            await asyncio.gather(*(self._until_ready(child) for child in rank))

    async def stop(self) -> None:
        """Stop every service, last rank first: SIGTERM, and SIGKILL after ten seconds."""
        self.stopping = True
        for rank in reversed(self.ranks):
            await asyncio.gather(*(self._stop(child) for child in rank))
        for end in (self.parent_pipe, self.our_end):
            with suppress(OSError):
                os.close(end)

    def kill(self) -> None:
        """End every service at once. That is safe: what was in hand is done again after a start."""
        self.stopping = True
        for child in self.children:
            _signal(child, signal.SIGKILL)

    async def _until_ready(self, child: Child) -> None:
        name = child.service.name
        ready = asyncio.create_task(child.ready.wait())
        keeper = self.keepers[name]
        await asyncio.wait(
            {ready, keeper}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED
        )
        ready.cancel()
        if child.ready.is_set():
            return
        why = child.ended or f"was not ready within {READY_WITHIN:.0f} seconds"
        said = f" It last said: {child.last_line}" if child.last_line else ""
        raise StartFailed(f"{name} {why}; see {self.logs / name}.log.{said}")

    async def _keep(self, child: Child) -> None:
        """Start the service as often as it ends, until we stop or it can never become ready."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT
        while not self.stopping:
            began = loop.time()
            code = await self._run(child)
            child.state = "stopped" if self.stopping else "down"
            if self.stopping:
                return
            child.ended = _ending(code)
            if not child.ready.is_set() and (code == WRONG_USAGE or child.starts >= TRIES):
                return
            if loop.time() - began >= LIVED_LONG:
                wait = FIRST_WAIT
            self.tell(f"{child.service.name} {child.ended}; starting it again in {wait:.1f} s")
            await asyncio.sleep(wait)
            wait = longer(wait)

    async def _run(self, child: Child) -> int:
        """Start one process and see it to its end. Returns its exit code, negative for a signal."""
        child.state, child.starts = "starting", child.starts + 1
        read_end, write_end = os.pipe()
        fds = {READY_FD: write_end, PARENT_PIPE: self.parent_pipe}
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.service.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**self.environment, **{name: str(fd) for name, fd in fds.items()}},
                pass_fds=tuple(fds.values()),
                start_new_session=True,
                limit=LINE_LIMIT,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        began = asyncio.get_running_loop().time()
        readiness = asyncio.create_task(self._see_ready(child, read_end, began))
        try:
            await self._see_lines(child, child.process)
            return await child.process.wait()
        finally:
            readiness.cancel()
            _signal(child, signal.SIGKILL)

    async def _see_ready(self, child: Child, read_end: int, began: float) -> None:
        loop = asyncio.get_running_loop()
        if child.service.port is not None:
            os.close(read_end)
            with suppress(TimeoutError):
                await wait_until_open(child.service.port, READY_WITHIN)
        else:
            lines = asyncio.StreamReader()
            pipe = os.fdopen(read_end, "rb", buffering=0)
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(lines), pipe
            )
            try:
                if await lines.readline() != READY_LINE:
                    return
            finally:
                transport.close()
        child.state, child.took = "up", loop.time() - began
        again = child.ready.is_set()
        child.ready.set()
        if again:
            self.tell(f"{child.service.name} is up again, process {child.pid}")

    async def _see_lines(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Write the child's lines to its log file, and those that matter to the terminal."""
        assert process.stdout is not None
        path = self.logs / f"{child.service.name}.log"
        log = RotatingFileHandler(path, maxBytes=LOG_SIZE, backupCount=1, encoding="utf-8")
        try:
            while True:
                try:
                    line = await process.stdout.readline()
                except ValueError:
                    continue  # longer than LINE_LIMIT
                if not line:
                    return
                text = line.decode(errors="replace").rstrip()
                log.emit(logging.makeLogRecord({"msg": printable(text)}))
                child.last_line = told(text) or child.last_line
                if matters(text):
                    self.tell(f"{child.service.name} | {told(text)}")
        finally:
            log.close()

    async def _stop(self, child: Child) -> None:
        keeper = self.keepers.get(child.service.name)
        child.state = "stopped"
        if keeper is None:
            return
        if child.pid is None:
            keeper.cancel()  # it waits before it starts the service again
        else:
            _signal(child, signal.SIGTERM)
        _, late = await asyncio.wait({keeper}, timeout=STOP_WITHIN)
        if late:
            self.tell(f"{child.service.name} did not stop in {STOP_WITHIN:.0f} s and was killed")
            _signal(child, signal.SIGKILL)
            await asyncio.wait({keeper})


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    """Have every service running inside; stop them all at the end, however it comes."""
    try:
        await supervisor.start()
        yield supervisor
    finally:
        await supervisor.stop()


def longer(wait: float) -> float:
    """Return the wait after this one, in seconds."""
    return min(wait * 2, LONGEST_WAIT)


async def interruptible(work: Coroutine[Any, Any, None], supervisor: Supervisor) -> bool:
    """Run the work. The first signal to stop cancels it, the second kills every service at once.

    Returns whether the work came to its own end.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked:
            supervisor.kill()
        else:
            asked = True
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    return not asked


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data folder, for one supervisor only. Raises AlreadyRunning.

    The kernel gives the lock back when its holder dies, so a crash leaves nothing to clean up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "supervisor.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"Septet already runs in {folder}, process {holder}. "
                "Stop it, or set SEPTET_DATA_DIR to another folder"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@cache
def ready() -> None:
    """Tell the supervisor that this process does its work from now on, over the pipe that it gave.

    Without a supervisor there is nobody to tell.
    """
    inherited = os.getenv(READY_FD)
    if inherited is not None:
        with suppress(OSError), os.fdopen(int(inherited), "wb") as pipe:
            pipe.write(READY_LINE)


def exit_with_parent() -> None:
    """End this process at once when its supervisor dies, even by SIGKILL. Alone: do nothing.

    Ending without a goodbye is safe: what was in hand is done again.
    """
    inherited = os.getenv(PARENT_PIPE)
    if inherited is None:
        return
    pipe = int(inherited)

    def watch() -> None:
        while os.read(pipe, 1):
            continue
        os._exit(PARENT_GONE)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def told(line: str) -> str:
    """Return a log line as a person reads it: level, message, and what it was about."""
    fields = _fields(line)
    if fields is None:
        return printable(line)
    left_out = {"at", "level", "service", "logger", "message", "error"}
    about = " ".join(f"{name}={value}" for name, value in fields.items() if name not in left_out)
    error = _raised(str(fields.get("error", "")))
    parts = (str(fields.get("level", "")), str(fields.get("message", "")), about, error)
    return printable(" ".join(part for part in parts if part))


def matters(line: str) -> bool:
    """Tell whether a log line is a warning or worse."""
    fields = _fields(line)
    return fields is not None and fields.get("level") in {
        "WARNING",
        "ERROR",
        "CRITICAL",
    }


def _fields(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _raised(traceback: str) -> str:
    """Return the line of a traceback that names the exception, the last one of a chain."""
    named = [line for line in traceback.splitlines() if EXCEPTION.match(line)]
    return named[-1] if named else ""


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _signal(child: Child, number: signal.Signals) -> None:
    """Send the signal to the child's process group, if it is still there."""
    if child.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
