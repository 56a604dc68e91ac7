"""What a run would cost: pure, so that the API's answer and the rules' decision are one sum."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.config import Config
from events.pipeline import STAGES
from events.prices import cost_of

# How many items one item becomes in the next stage, as (numerator, denominator): of the labelled
# keywords about four make a cluster, three for small and mixed lists; a draft gets two images.
FAN_OUT = {1: (1, 3), 2: (1, 1), 3: (1, 1), 4: (1, 1), 5: (2, 1)}


@dataclass(frozen=True, slots=True)
class StageEstimate:
    stage: int
    items: int
    credits: int


def estimate(pending: Sequence[int], config: Config, prices: int) -> tuple[StageEstimate, ...]:
    """Return for each of the seven stages how many items it would do and what they cost.

    `pending` are the items that wait now, stage 1 first; what earlier stages will make is added by
    FAN_OUT, rounded up, and each stage does at most the config's `max_items_per_stage`.
    """
    estimates = []
    coming = 0
    for stage, waiting in zip(STAGES, pending, strict=True):
        items = min(waiting + coming, config.max_items_per_stage)
        cost = cost_of(prices, stage.number, items, config.batch_size(stage.number))
        estimates.append(StageEstimate(stage.number, items, cost))
        up, down = FAN_OUT.get(stage.number, (1, 2))  # two images finish one draft
        coming = -(-items * up // down)
    return tuple(estimates)


def total_of(estimates: Sequence[StageEstimate]) -> int:
    """Return the sum in whole credits."""
    return sum(one.credits for one in estimates)


def required_of(estimated: int) -> int:
    """Return ceil(1.2 x credits) in exact integers: the contract's 20 % buffer."""
    return (6 * estimated + 4) // 5
