"""One way to start a server for the tests, to wait until it answers, and to end it."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
TAIL = 40  # lines of a log that an error shows


class EngineFailed(Exception):
    """A server did not start, or ended by itself."""


class Server:
    """A process of ours with a log file. The kernel ends it when we die without a goodbye."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=environment,
                user=user,
                group=user and group_of(user),
                extra_groups=None if user is None else [],
                start_new_session=True,  # Ctrl-C is for the tests, which need their servers to end
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509  # we have one thread
            )

    def wait(self, answers: Callable[[], bool], within: float) -> None:
        """Return as soon as it answers. Raises EngineFailed, with the end of the log."""
        until = time.monotonic() + within
        while not answers():
            if self.process.poll() is not None:
                raise EngineFailed(
                    f"{self.name} ended with code {self.process.returncode}\n{self.tail()}"
                )
            if time.monotonic() > until:
                raise EngineFailed(f"{self.name}: no answer in {within:g} s\n{self.tail()}")
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGKILL, within: float = 10) -> None:
        """Send the signal and wait; SIGKILL it after so many seconds."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join(f"  {line}" for line in lines)


def end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it becomes its command, so that our death sends `number`."""
    parent = os.getpid()

    def before() -> None:
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, int(number))
            if os.getppid() != parent:  # gone before it could be watched
                os._exit(os.EX_SOFTWARE)

    return before


def group_of(user: str) -> int:
    """Return the user's own group."""
    import pwd  # noqa: PLC0415  # not on every system

    return pwd.getpwnam(user).pw_gid


def free_port() -> int:
    """Return a port that nobody listens on and that the kernel gives to no outgoing connection.

    A server that is killed and started again finds its port free only so: clients that look for it
    meanwhile would else be given that very port and connect to themselves.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
