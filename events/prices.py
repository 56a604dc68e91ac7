"""Credits per provider call, by version: a run keeps the version that it started with."""

from collections.abc import Mapping
from types import MappingProxyType

CURRENT = 1

# version -> function -> whole credits per successful call
PRICES: Mapping[int, Mapping[str, int]] = MappingProxyType(
    {
        1: MappingProxyType(
            {
                "cluster_keywords": 1,
                "generate_ideas": 1,
                "write_article": 6,
                "write_image_prompts": 1,
                "generate_image": 2,
            }
        )
    }
)

# stage -> function that it calls, and whether once a batch (stage 1) or once an item
CALLS: Mapping[int, tuple[str, bool]] = MappingProxyType(
    {
        1: ("cluster_keywords", True),
        2: ("generate_ideas", False),
        4: ("write_article", False),
        5: ("write_image_prompts", False),
        6: ("generate_image", False),
    }
)


def price_of(version: int, function: str) -> int:
    """Return the whole credits of one successful call. Raises KeyError for an unknown one."""
    return PRICES[version][function]


def cost_of(version: int, stage: int, items: int, batch_size: int) -> int:
    """Return the whole credits that a stage's calls cost when each succeeds at once.

    It is the upper bound of one batch when `items` is at most `batch_size`. Local stages cost 0.
    """
    if stage not in CALLS or items == 0:
        return 0
    function, once_a_batch = CALLS[stage]
    calls = -(-items // batch_size) if once_a_batch else items
    return calls * price_of(version, function)
