"""What a run would cost: pure, so that the API's answer and the rules' decision are one sum."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from events.config import Config
from events.message import Value
from events.pipeline import CLUSTERS, CONTENT, IMAGES, LAST, PROMPTS, STAGES
from events.prices import LOCAL, Models, cost_of

# How many items one item becomes in the next stage, as (numerator, denominator); a draft gets two
# images. What keywords become depends on how many there are: `clusters_of`.
FAN_OUT = {2: (1, 1), 3: (1, 1), 4: (1, 1), 5: (2, 1)}
UNLIKE = 10  # keywords, which may all be unlike each other
IN_CLUSTER = 3  # keywords of a mixed list; of the labelled ones about four make a cluster
ENOUGH = 10  # items of a stage that a site must have done before its own past counts
WINDOW = 200  # done items after which sums are halved, so that old ones count less and less


class Past(Value):
    """What a site's stage has done: items, what they made, and credits beside the price list's."""

    items: int = 0
    made: int = 0
    credits_used: int = 0
    listed_credits: int = 0


History = Mapping[int, Past]
NO_HISTORY: History = MappingProxyType({})


def learn(past: Past, items: int, made: int, credits_used: int, listed_credits: int) -> Past:
    """Return the past with one more batch's items that were done.

    Sums are halved, rounding down, before they would pass WINDOW: about the last 100 to 200 items
    count, and the figures are whole numbers wherever they are folded.
    """
    if past.items + items > WINDOW:
        past = Past(
            items=past.items // 2,
            made=past.made // 2,
            credits_used=past.credits_used // 2,
            listed_credits=past.listed_credits // 2,
        )
    return Past(
        items=past.items + items,
        made=past.made + made,
        credits_used=past.credits_used + credits_used,
        listed_credits=past.listed_credits + listed_credits,
    )


class StageEstimate(Value):
    """What one stage would do and cost, in whole credits, and what that assumes.

    `seen` are the site's own items that it was learned from, 0 when the defaults were taken. Of
    each `down` items `up` are expected to come for the next stage.
    """

    stage: int
    items: int
    credits: int
    seen: int
    up: int
    down: int


def estimate(
    pending: Sequence[int],
    config: Config,
    prices: int,
    history: History = NO_HISTORY,
    revisions: int = 0,
    models: Models = LOCAL,
) -> tuple[StageEstimate, ...]:
    """Return for each of the seven stages how many items it would do and what they cost.

    `pending` are the items that wait now, stage 1 first; what earlier stages will make is added,
    rounded up, as the site's own past has it or else by our defaults. Each stage does at most the
    config's `max_items_per_stage`, and nothing is expected to fail. `revisions` of the tasks that
    wait are for articles that have their images: those go from stage 4 to review.
    """
    estimates = []
    coming = revised = 0
    for stage, waiting in zip(STAGES, pending, strict=True):
        number = stage.number
        expected = waiting + coming + (revised if number == LAST else 0)
        items = min(expected, config.max_items_per_stage)
        past, (up, down) = history.get(number, Past()), fan_out(number, items, history)
        listed = cost_of(prices, number, items, config.batch_size(number), models)
        estimates.append(
            StageEstimate(
                stage=number,
                items=items,
                credits=_as_before(past, listed),
                seen=past.items if is_enough(past) else 0,
                up=up,
                down=down,
            )
        )
        if number == CONTENT:
            revised = min(revisions, items)
            items -= revised
        coming = -(-items * up // down)
    return tuple(estimates)


def is_enough(past: Past) -> bool:
    """Tell whether the site has done enough of the stage for its own past to be believed."""
    return past.items >= ENOUGH


def fan_out(stage: int, items: int, history: History) -> tuple[int, int]:
    """Return (up, down): of each `down` of the stage's items `up` come for the next one."""
    if stage == IMAGES:  # a draft is finished with the last of its images
        up, down = fan_out(PROMPTS, items, history)
        return (down, up) if up else (0, 1)
    past = history.get(stage, Past())
    if (stage == CLUSTERS or stage in FAN_OUT) and is_enough(past):
        return past.made, past.items
    if stage == CLUSTERS and items:
        return clusters_of(items), items
    return FAN_OUT.get(stage, (0, 1))


def clusters_of(keywords: int) -> int:
    """Return how many clusters are expected of a site's keywords as long as it has no past.

    The first ten count as clusters of their own, each three more as one: a run of few keywords has
    no others to make up for those that are unlike all the rest, and must not run out of credits.
    """
    alone = min(keywords, UNLIKE)
    return alone + -(-(keywords - alone) // IN_CLUSTER)


def _as_before(past: Past, listed: int) -> int:
    """Return the list price times what the site's calls have cost of it, retries and all."""
    if not is_enough(past) or not past.listed_credits:
        return listed
    return -(-listed * past.credits_used // past.listed_credits)


def total_of(estimates: Sequence[StageEstimate]) -> int:
    """Return the sum in whole credits."""
    return sum(one.credits for one in estimates)


def required_of(estimated: int) -> int:
    """Return ceil(1.2 x credits) in exact integers: the contract's 20 % buffer."""
    return (6 * estimated + 4) // 5
