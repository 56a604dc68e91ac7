"""The one place where an actor may be interrupted, and coroutines that run without an event loop.

The services' own coroutines run here as they are. What they await ends in `pause()`, which gives
the turn back to the world: the next actor may move, or this one may never wake again. A crash is
`close()`. No event loop, no threads, no real time: a seed is a trace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from types import coroutine
from typing import Any
from unittest import mock


@coroutine
def pause() -> Generator[None, None, None]:
    """Let others move; a crash may come here."""
    yield


async def in_this_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Stand in for asyncio.to_thread: others may move before the caller learns the result."""
    result = function(*arguments)
    await pause()
    return result


async def a_moment(_seconds: float) -> None:
    """Stand in for asyncio.sleep."""
    await pause()


class Done:
    """Stands in for the future of a coroutine that another thread waits for."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        steps = awaitable.__await__()
        try:
            while True:
                next(steps)
        except StopIteration:
            return

    def result(self, _within: float) -> None:
        return


@contextmanager
def without_a_loop() -> Iterator[None]:
    """Have the services' coroutines run step by step."""
    stand_ins = {
        "to_thread": in_this_thread,
        "sleep": a_moment,
        "get_running_loop": lambda: None,
        "run_coroutine_threadsafe": lambda one, _: Done(one),
    }
    with ExitStack() as patches:
        for name, stand_in in stand_ins.items():
            patches.enter_context(mock.patch.object(asyncio, name, stand_in))
        yield
