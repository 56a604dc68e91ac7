"""Asks the grammar checker in a process of its own, as nothing that it does may cost a draft.

The checker (Harper, Apache-2.0) is young and native: a crash would take the worker with it, and a
text that it never returns from could not be stopped in a thread.
"""

import importlib
import multiprocessing
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

from services.stage_workers.quality.grammar import Hint, Unchecked

SECONDS = 10.0  # with its start, which takes about two
PATIENCE = 3  # failures after which this process asks it no more
# What a reviewer wants to hear of. Not names that it takes for mistakes, and no matters of style.
KINDS = frozenset(
    {
        "Agreement",
        "BoundaryError",
        "Eggcorn",
        "Grammar",
        "Malapropism",
        "Miscellaneous",
        "Nonstandard",
        "Punctuation",
        "Repetition",
        "Typo",
        "Usage",
        "WordChoice",
    }
)

Answer = list[tuple[str, str]] | str
"""Hints as text and message, or why there are none."""


class GrammarProcess:
    """A checker that is started when it is first asked, and again after it has crashed."""

    def __init__(self, seconds: float = SECONDS, module: str = "harper") -> None:
        self._seconds, self._module = seconds, module
        self._lock = threading.Lock()
        self._pipe: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._failures = 0

    def __call__(self, text: str) -> tuple[Hint, ...]:
        """Return the hints about an English text. Raises Unchecked."""
        if not self._lock.acquire(timeout=self._seconds):
            raise Unchecked("the checker was busy")
        try:
            return self._asked(text)
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _asked(self, text: str) -> tuple[Hint, ...]:
        if self._failures >= PATIENCE:
            raise Unchecked(f"the checker has failed {PATIENCE} times")
        try:
            pipe = self._started()
            pipe.send(text)
            if not pipe.poll(self._seconds):
                self._end()
                raise Unchecked("the checker did not answer in time")
            answer: Answer = pipe.recv()
        except (OSError, EOFError) as error:
            self._end()
            raise Unchecked("the checker has crashed") from error
        if isinstance(answer, str):
            raise Unchecked(answer)
        self._failures = 0
        return tuple(Hint(*one) for one in answer)

    def _end(self) -> None:
        self._failures += 1
        self.close()

    def _started(self) -> Connection:
        if self._pipe is None:
            spawn = multiprocessing.get_context("spawn")
            ours, theirs = spawn.Pipe()
            args = (theirs, self._module)
            self._process = spawn.Process(target=_serve, args=args, daemon=True)
            self._process.start()
            theirs.close()  # else its end would not be heard
            self._pipe = ours
        return self._pipe


def _hints(linter: Any, text: str) -> Answer:
    try:
        found = linter.lint(text, language="plaintext")
    except Exception as error:  # noqa: BLE001  # whatever it is, the caller tells it
        return f"the checker has failed with {type(error).__name__}"
    return [(one.problem_text, one.message) for one in found if one.lint_kind in KINDS]


def _serve(pipe: Connection, module: str) -> None:
    """Answer until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        # Here and not above, so that only this process loads it.
        linter = importlib.import_module(module).Linter()
    except (ImportError, OSError, AttributeError):
        linter = None
    try:
        while True:
            text = pipe.recv()
            if linter is None:
                pipe.send("there is no checker")
                continue
            pipe.send(_hints(linter, text))
    except EOFError:
        return  # the parent has ended
