"""Runs what blocks, or computes for long, beside the event loop."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the work returns, from a thread; raise what it raises."""
    return await in_one_of(None, partial(work, *args, **kwargs))


async def in_one_of(threads: Executor | None, work: Callable[[], T]) -> T:
    """Return what the work returns, from one of these threads or of the loop's own."""
    context = contextvars.copy_context()  # so log lines name the run
    return await asyncio.get_running_loop().run_in_executor(threads, context.run, _heard, work)


def _heard(work: Callable[[], T]) -> T:
    """Do the work. A StopIteration becomes a RuntimeError, as in a generator.

    Futures cannot hold one: before Python 3.12 whoever waits for it waits for ever.
    """
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("a StopIteration left the work") from error
