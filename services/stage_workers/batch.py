"""The loop that all seven stages share: every item at once, a failing one stops no other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from events.content import AiCall, Fact, Outcome
from events.prices import price_of
from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    ModelUnavailable,
    Provider,
    Question,
    Usage,
)
from services.stage_workers.items import Batch


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch came to: an outcome for each of its items, and the facts that they made."""

    outcomes: tuple[Outcome, ...]
    made: tuple[Fact, ...]


class Stage(Protocol):
    """One of the seven. `calls` collects every provider call, also those of failed items."""

    @property
    def number(self) -> int: ...

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks the provider and enters each call into the list, with its price."""

    provider: Provider
    prices: int
    calls: list[AiCall]

    async def __call__(self, question: Question[A]) -> A:
        """Return the answer. Raises ModelUnavailable or AnswerRejected; a failed call costs 0."""
        started = time.monotonic()
        try:
            answered = await self.provider.answer(question)
        except (ModelUnavailable, AnswerRejected) as error:
            self._enter(question, started, Usage(), str(error))
            raise
        self._enter(question, started, answered.usage, None)
        return answered.value

    def _enter(
        self, question: Question[A], started: float, usage: Usage, error: str | None
    ) -> None:
        self.calls.append(
            AiCall(
                function=question.function,
                model=self.provider.model,
                status="failed" if error else "succeeded",
                credits_used=0 if error else price_of(self.prices, question.function),
                tokens_in=usage.tokens_in,
                tokens_out=usage.tokens_out,
                milliseconds=round((time.monotonic() - started) * 1000),
                error=error,
            )
        )


Item = TypeVar("Item")


async def each(
    items: Sequence[tuple[str, Item]],
    make: Callable[[Item], Awaitable[tuple[Fact, ...]]],
) -> Work:
    """Make all items at once. One whose provider call fails becomes a failed outcome."""

    async def one(item_id: str, item: Item) -> tuple[Outcome, tuple[Fact, ...]]:
        try:
            made = await make(item)
        except (ModelUnavailable, AnswerRejected) as error:
            return Outcome(item=item_id, error=str(error)), ()
        return Outcome(item=item_id, made=tuple(fact.id for fact in made)), made

    results = await asyncio.gather(*(one(item_id, item) for item_id, item in items))
    return Work(
        outcomes=tuple(outcome for outcome, _ in results),
        made=tuple(fact for _, facts in results for fact in facts),
    )
