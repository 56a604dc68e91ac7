"""Tells whether a consumer still hears what its stage is asked, so that a deaf one can be ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

LEAST, MOST = 10.0, 60.0  # seconds of patience


def patience_of(batch_timeout: float) -> float:
    """Return after how many seconds of silence a consumer is taken for deaf.

    That is half of what a batch is given, so that a fresh process still answers in time.
    """
    return max(LEAST, min(MOST, batch_timeout / 2))


@dataclass(slots=True)
class Hearing:
    """One consumer's. Times are seconds of a clock that only rises.

    A request that was waiting when the process began proves nothing: its report may be on its way,
    and a process that ended itself for it would do so again and again.
    """

    patience: float
    _in_hand: dict[int, int] = field(default_factory=dict)
    _heard: dict[int, float] = field(default_factory=dict)
    _waits: dict[str, float] | None = None

    def begin(self, partition: int) -> None:
        """A request of the partition is taken up."""
        self._in_hand[partition] = self._in_hand.get(partition, 0) + 1

    def end(self, partition: int, now: float) -> None:
        """It is answered."""
        self._in_hand[partition] -= 1
        self._heard[partition] = now

    def unheard(self, waiting: Mapping[str, int], now: float) -> str | None:
        """Return a request that has waited too long though nothing was in the way, if there is one.

        `waiting` has the partition of every request that nobody has answered and this consumer
        should hear.
        """
        before = dict.fromkeys(waiting, inf) if self._waits is None else self._waits
        self._waits = {request: before.get(request, now) for request in waiting}
        for request, partition in waiting.items():
            if self._in_hand.get(partition):
                self._heard[partition] = now
            since = max(self._waits[request], self._heard.get(partition, 0.0))
            if now - since > self.patience:
                return request
        return None
