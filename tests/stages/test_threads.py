"""Work in a thread ends for whoever waits for it, however it ends."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from services.stage_workers.threads import in_one_of, in_thread


def answers() -> int:
    return 7


def has_none_left() -> int:
    return next(iter(()))


def run(work: Callable[[], int], threads: ThreadPoolExecutor | None) -> int:
    async def waited() -> int:
        async with asyncio.timeout(10):
            return await (in_thread(work) if threads is None else in_one_of(threads, work))

    return asyncio.run(waited())


@pytest.fixture(params=["of the loop", "of our own"])
def threads(request: pytest.FixtureRequest):
    if request.param == "of the loop":
        yield None
    else:
        with ThreadPoolExecutor(1) as own:
            yield own


def test_it_returns_what_the_work_returns(threads):
    assert run(answers, threads) == 7


def test_it_raises_what_the_work_raises(threads):
    with pytest.raises(ZeroDivisionError):
        run(partial(divmod, 1, 0), threads)


def test_nobody_waits_for_ever_for_a_stop_iteration(threads):
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(has_none_left, threads)
