"""When a provider is asked again and after what wait: the only place where a call is repeated."""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

T = TypeVar("T")

ATTEMPTS = 3
LIMITS = 4  # rate limits in a row that one request waits for
FIRST_PAUSE = 0.5  # seconds, doubled by each failure
LONGEST_PAUSE = 8.0
LONGEST_TOLD = 3600.0  # seconds; whoever tells longer is asked once an hour


class Transient(Exception):
    """An attempt failed as another might not.

    `request` is the same for the same request. `weight` is how much speaks for the request being
    the cause: 0 where it was not even read. `seconds` is the wait that the provider asked for.
    """

    def __init__(
        self, detail: str, request: str, weight: int = 1, seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.request, self.weight, self.seconds = detail, request, weight, seconds


class Limited(Exception):
    """The provider wants fewer requests, for `seconds` where it says so."""

    def __init__(self, detail: str, seconds: float | None = None) -> None:
        super().__init__(detail)
        self.detail, self.seconds = detail, seconds


class Turns(Protocol):
    """Decides who may call, and what becomes of who has failed too often."""

    async def take(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the attempt returns, when it is its turn. Raises also ProviderHalted."""
        ...

    async def pause(self, seconds: float) -> None: ...

    def given_up(self, failure: Transient, failures: int, since: int) -> Exception | None: ...

    def halted_by_limit(self, *, at_last: bool) -> Exception | None: ...

    @property
    def answers(self) -> int: ...


async def persist(
    attempt: Callable[[], Awaitable[T]],
    turns: Turns,
    chance: Callable[[], float] = random.random,
) -> T:
    """Return the first answer of at most three attempts; a short rate limit is no failed one.

    Raises what `turns` makes of the last failure, and whatever else the attempt raises.
    """
    failures = limits = 0
    since = turns.answers
    while True:
        try:
            return await turns.take(attempt)
        except Limited:
            limits += 1
            if halted := turns.halted_by_limit(at_last=limits == LIMITS):
                raise halted from None
        except Transient as failure:
            failures += 1
            if outcome := turns.given_up(failure, failures, since):
                raise outcome from None
            if failures == 1:  # who was answered before says nothing of now
                since = turns.answers
            await turns.pause(max(pause_after(failures, chance), failure.seconds or 0.0))


def pause_after(failures: int, chance: Callable[[], float]) -> float:
    """Return half to all of 0.5, 1, 2 … 8 seconds, so that callers do not come back in step."""
    whole = min(FIRST_PAUSE * 2.0 ** (failures - 1), LONGEST_PAUSE)
    return whole * (1 + chance()) / 2


def wait_told(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of Retry-After (RFC 9110 10.2.3), or of OpenAI's retry-after-ms.

    Names are in lower case; what cannot be read tells nothing; at most an hour.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return min(seconds, LONGEST_TOLD)
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_TOLD)
