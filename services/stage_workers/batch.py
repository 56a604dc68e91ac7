"""The loop that all seven stages share: every item at once, a failing one stops no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from events.content import AiCall, Fact, Halt, Outcome
from events.prices import PRICES, rates_of, used
from services.stage_workers.ai.model import (
    A,
    Call,
    ItemFailed,
    Provider,
    ProviderHalted,
    ProviderOf,
    Question,
)
from services.stage_workers.items import Batch


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch came to: an outcome for each of its items, and the facts that they made.

    Items that the provider halted at are deferred and have no outcome.
    """

    outcomes: tuple[Outcome, ...]
    made: tuple[Fact, ...]
    deferred: tuple[str, ...] = ()
    halt: Halt | None = None


class Stage(Protocol):
    """One of the seven. `calls` collects every provider call, also those of failed items."""

    @property
    def number(self) -> int: ...

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks the provider, and enters each call that it makes into the list, with its price."""

    provider: Provider
    prices: int
    calls: list[AiCall]

    @classmethod
    async def of(cls, provider_of: ProviderOf, batch: Batch, calls: list[AiCall]) -> "Ask":
        """Return what asks for this batch. Raises ProviderHalted."""
        return cls(await provider_of(batch.account_id, batch.models), batch.prices, calls)

    async def __call__(self, question: Question[A]) -> A:
        """Return the answer. Raises ItemFailed or ProviderHalted."""
        made: list[Call] = []
        try:
            return await self.provider.answer(question, made)
        finally:  # also when it is cut off: what was spent was spent
            self.calls.extend(priced(call, question.function, self.prices) for call in made)


def priced(call: Call, function: str, prices: int) -> AiCall:
    """Return the call with its whole credits: by use where there are rates, else by the call.

    A failed call costs what the provider counted for it, and where it counted nothing, nothing.
    """
    rates = rates_of(prices, call.model)
    if call.error and not call.cost_known:
        credits_used = 0
    elif rates is not None:
        credits_used = used(rates, call.tokens_in, call.tokens_out, call.images)
    else:
        credits_used = 0 if call.error else PRICES[prices].per_call[function]
    return AiCall(
        function=function,
        model=call.model,
        status="failed" if call.error else "succeeded",
        credits_used=credits_used,
        tokens_in=call.tokens_in,
        tokens_out=call.tokens_out,
        milliseconds=call.milliseconds,
        error=call.error,
        images=call.images,
        prompt=call.prompt,
        prompt_hash=call.prompt_hash,
        cost_known=call.cost_known,
    )


Item = TypeVar("Item")
# The graver ones first.
KINDS = ("key_refused", "misconfigured", "out_of_credits", "unavailable", "rate_limited")


async def each(
    items: Sequence[tuple[str, Item]],
    make: Callable[[Item], Awaitable[tuple[Fact, ...]]],
    seconds: float | None = None,
) -> Work:
    """Make all items at once, within so many seconds.

    One whose provider call fails, or takes too long, becomes a failed outcome; those that the
    provider halted at are deferred.
    """

    async def one(item_id: str, item: Item) -> Outcome | Halt | tuple[Outcome, tuple[Fact, ...]]:
        try:
            async with asyncio.timeout(seconds):
                made = await make(item)
        except ProviderHalted as stop:
            return stop.halt
        except ItemFailed as error:
            return Outcome(item=item_id, error=str(error))
        except TimeoutError:
            return Outcome(item=item_id, error=too_slow(seconds))
        return Outcome(item=item_id, made=tuple(fact.id for fact in made)), made

    results = await asyncio.gather(*(one(item_id, item) for item_id, item in items))
    outcomes: list[Outcome] = []
    made: list[Fact] = []
    deferred: list[str] = []
    halts: list[Halt] = []
    for (item_id, _), result in zip(items, results, strict=True):
        match result:
            case Halt():
                deferred.append(item_id)
                halts.append(result)
            case Outcome():
                outcomes.append(result)
            case outcome, facts:
                outcomes.append(outcome)
                made += facts
    return Work(tuple(outcomes), tuple(made), tuple(deferred), gravest(halts))


def gravest(halts: Sequence[Halt]) -> Halt | None:
    """Return the halt that a person has to act on first, or else the longest wait."""
    return min(halts, key=lambda one: (KINDS.index(one.kind), -one.wait_seconds), default=None)


def too_slow(seconds: float | None) -> str:
    """Return the error of an item that was not done in time."""
    return f"it was not done within the {seconds or 0:.0f} seconds that its batch has"
