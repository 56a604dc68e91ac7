"""What everybody passes who calls with the same credential: places, rate limit, circuit."""

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from events.content import Halt
from services.stage_workers.ai import circuit
from services.stage_workers.ai.model import ItemFailed, ModelUnavailable, ProviderHalted
from services.stage_workers.ai.retries import ATTEMPTS, LONGEST_TOLD, Limited, Transient

T = TypeVar("T")

PATIENCE = 20.0  # seconds that a rate limit is waited for here; for longer the run rests instead
DOUBTS = 9  # weight of failures after which a request is the cause, though nobody was answered
REMEMBERED = 1_000  # requests that failed


@dataclass(frozen=True, slots=True)
class Time:
    """What passes, and what decides how much of it: a test has its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class Gate:
    """Lets so many calls through at once, and none while the provider is down or wants a rest.

    It is for one event loop.
    """

    def __init__(self, calls_at_once: int, time: Time) -> None:
        self._places = asyncio.Semaphore(calls_at_once)
        self._time = time
        self._circuit = circuit.CLOSED
        self._last_detail = ""
        self._rest_until = -math.inf
        self._rests = 0
        self._doubts: OrderedDict[str, int] = OrderedDict()
        self._answers = 0

    @property
    def answers(self) -> int:
        """Return how many calls were answered, by whatever the provider said."""
        return self._answers

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt."""
        await self._time.sleep(seconds)

    async def take(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the attempt returns. Raises ProviderHalted when nobody may call now."""
        async with self._places:
            await self._rested()
            self._circuit, wait = circuit.asked(self._circuit, self._time.now())
            if wait:
                raise self._unavailable(wait)
            is_probe = self._circuit.is_probing
            try:
                answer = await attempt()
            except Transient as failure:
                self._failed(failure)
                raise
            except Limited as limit:
                self._answered()
                self._limited(limit)
                raise
            except (ItemFailed, ProviderHalted):
                self._answered()
                raise
            finally:
                if is_probe and self._circuit.is_probing:
                    self._circuit = circuit.abandoned(self._circuit)
            self._rests = 0
            self._answered()
            return answer

    def forgive(self, request: str) -> None:
        """Forget what a request failed with, as it was answered."""
        with suppress(KeyError):
            del self._doubts[request]

    def given_up(self, failure: Transient, failures: int, since: int) -> Exception | None:
        """Return what ends an ask, None while it may be repeated.

        While others are answered it is the request, so its item fails. While nobody is, it is the
        provider: no item fails, and all leave it alone. But a request that has failed by itself in
        ask after ask is to blame in the end, or its run would never come to one.
        """
        told = failure.seconds or 0.0
        is_to_blame = self._doubts.get(failure.request, 0) >= DOUBTS
        is_last = failures >= ATTEMPTS or self._circuit.is_open or told > PATIENCE
        if not is_last and not is_to_blame:
            return None
        if is_to_blame or (failures >= ATTEMPTS and self._answers > since):
            self.forgive(failure.request)
            return ModelUnavailable(f"the AI provider does not answer: {failure.detail}")
        now = self._time.now()
        if not self._circuit.is_open:
            self._circuit = circuit.opened(self._circuit, now)
        until = self._circuit.until or now
        return self._unavailable(max(until - now, told))

    def halted_by_limit(self, *, at_last: bool) -> ProviderHalted | None:
        """Return what ends an ask that is rate limited, None while the wait is a short one."""
        wait = self._rest_until - self._time.now()
        if wait <= PATIENCE and not at_last:
            return None
        return _halted(
            "rate_limited", "The AI provider takes no more requests at the moment.", max(wait, 1.0)
        )

    async def _rested(self) -> None:
        while (wait := self._rest_until - self._time.now()) > 0:
            if halted := self.halted_by_limit(at_last=False):
                raise halted
            await self._time.sleep(wait * (1 + self._time.chance() / 10))

    def _limited(self, limit: Limited) -> None:
        now = self._time.now()
        if limit.seconds is not None:
            self._rest_until = max(self._rest_until, now + limit.seconds)
        elif now >= self._rest_until:  # else who was under way at the same time says it again
            self._rest_until = now + min(2.0**self._rests, LONGEST_TOLD)
            self._rests = min(self._rests + 1, 16)

    def _failed(self, failure: Transient) -> None:
        self._last_detail = failure.detail
        # A request that was not even read fails like any other, so each of these counts.
        name = failure.request if failure.weight else f"{failure.request} {self._time.now()}"
        self._circuit = circuit.failed(self._circuit, name, self._time.now())
        self._doubts[failure.request] = self._doubts.get(failure.request, 0) + failure.weight
        self._doubts.move_to_end(failure.request)
        while len(self._doubts) > REMEMBERED:
            self._doubts.popitem(last=False)

    def _answered(self) -> None:
        self._answers += 1
        self._circuit = circuit.answered(self._circuit)

    def _unavailable(self, wait: float) -> ProviderHalted:
        return _halted(
            "unavailable", f"The AI provider does not answer: {self._last_detail}.", wait
        )


def _halted(kind: str, detail: str, wait: float) -> ProviderHalted:
    seconds = max(math.ceil(wait), 1)
    told = f"{detail} It is asked again in {seconds} seconds."
    return ProviderHalted(
        Halt.model_validate({"kind": kind, "detail": told, "wait_seconds": seconds})
    )


REAL = Time()
