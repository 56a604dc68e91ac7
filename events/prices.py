"""Credits per provider call, by version: a run keeps the version that it started with."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from events.message import Value

CURRENT = 2
MILLION = 1_000_000


class Rates(Value):
    """What a model's use costs, in whole credits for a million tokens and for one image.

    `models` is a pattern as of a shell, in lower case; the first that fits counts.
    """

    models: str
    tokens_in: int
    tokens_out: int
    image: int = 0


class PriceList(Value):
    """One version. `per_call` is what a successful call costs where there are no rates for it."""

    per_call: Mapping[str, int]
    rates: tuple[Rates, ...] = ()


class Models(Value):
    """The models that a run asks, by what it asks of them; they are recorded when it begins.

    `own` ones are asked at the account's own provider, others at the installation's.
    """

    text: str = "local-1"
    image: str = "local-1"
    embedding: str = "local-1"
    own: bool = False

    def of(self, function: str) -> str:
        """Return the model that answers a function."""
        return self.image if function == "generate_image" else self.text


LOCAL = Models()
PER_CALL = frozenset({"local-1", "instant"})  # models of ours, which no rates are for

_FIRST = MappingProxyType(
    {
        "cluster_keywords": 1,
        "generate_ideas": 1,
        "write_article": 6,
        "write_image_prompts": 1,
        "generate_image": 2,
    }
)

# Version 2: a credit is a tenth of a US cent of OpenAI's prices for these models as they were
# quoted in the spring of 2026; "*" is one of the middle, for whatever else answers there.
_RATES = (
    Rates(models="text-embedding-3-large*", tokens_in=130, tokens_out=0),
    Rates(models="*embed*", tokens_in=20, tokens_out=0),
    Rates(models="gpt-image*", tokens_in=5_000, tokens_out=0, image=50),
    Rates(models="dall-e*", tokens_in=0, tokens_out=0, image=40),
    Rates(models="gpt-5-pro*", tokens_in=15_000, tokens_out=120_000),
    Rates(models="gpt-5.4*", tokens_in=2_500, tokens_out=15_000),
    Rates(models="gpt-5-nano*", tokens_in=50, tokens_out=400),
    Rates(models="gpt-5-mini*", tokens_in=250, tokens_out=2_000),
    Rates(models="gpt-5*", tokens_in=1_250, tokens_out=10_000),
    Rates(models="gpt-4.1-nano*", tokens_in=100, tokens_out=400),
    Rates(models="gpt-4.1-mini*", tokens_in=400, tokens_out=1_600),
    Rates(models="gpt-4.1*", tokens_in=2_000, tokens_out=8_000),
    Rates(models="gpt-4o-mini*", tokens_in=150, tokens_out=600),
    Rates(models="gpt-4o*", tokens_in=2_500, tokens_out=10_000),
    Rates(models="o1*", tokens_in=15_000, tokens_out=60_000),
    Rates(models="o3-mini*", tokens_in=1_100, tokens_out=4_400),
    Rates(models="o4-mini*", tokens_in=1_100, tokens_out=4_400),
    Rates(models="o3*", tokens_in=2_000, tokens_out=8_000),
    Rates(models="*", tokens_in=500, tokens_out=2_000, image=40),
)

PRICES: Mapping[int, PriceList] = MappingProxyType(
    {1: PriceList(per_call=_FIRST), 2: PriceList(per_call=_FIRST, rates=_RATES)}
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


class Typical(Value):
    """What a function takes of a model of rates: so many calls of so many tokens, or images."""

    calls: int
    tokens_in: int
    tokens_out: int
    images: int = 0


# What is assumed until a site has a past of its own: a batch of 20 keywords named in one call, an
# article in seven calls of a section each.
TYPICAL: Mapping[str, Typical] = MappingProxyType(
    {
        "cluster_keywords": Typical(calls=1, tokens_in=700, tokens_out=150),
        "generate_ideas": Typical(calls=1, tokens_in=800, tokens_out=500),
        "write_article": Typical(calls=7, tokens_in=1_200, tokens_out=450),
        "write_image_prompts": Typical(calls=1, tokens_in=2_500, tokens_out=300),
        "generate_image": Typical(calls=1, tokens_in=100, tokens_out=0, images=1),
    }
)


def rates_of(version: int, model: str) -> Rates | None:
    """Return what a model's use costs, none where calls have a price. Raises KeyError."""
    if model in PER_CALL:
        return None
    name = model.lower()
    return next((one for one in PRICES[version].rates if fnmatchcase(name, one.models)), None)


def used(rates: Rates, tokens_in: int, tokens_out: int, images: int) -> int:
    """Return the whole credits of one call, rounded up, in exact integers."""
    parts = tokens_in * rates.tokens_in + tokens_out * rates.tokens_out
    return -(-parts // MILLION) + images * rates.image


def list_price(version: int, function: str, models: Models = LOCAL) -> int:
    """Return the whole credits that an answer is expected to cost. Raises KeyError."""
    rates, usual = rates_of(version, models.of(function)), TYPICAL.get(function)
    if rates is None or usual is None:
        return PRICES[version].per_call[function]
    one = used(rates, usual.tokens_in, usual.tokens_out, usual.images)
    return usual.calls * one


def cost_of(version: int, stage: int, items: int, batch_size: int, models: Models = LOCAL) -> int:
    """Return the whole credits that a stage's calls are expected to cost when each succeeds.

    Where calls have a price it is the upper bound of one batch, when `items` is at most
    `batch_size`. Local stages cost 0.
    """
    if stage not in CALLS or items == 0:
        return 0
    function, once_a_batch = CALLS[stage]
    asked = -(-items // batch_size) if once_a_batch else items
    return asked * list_price(version, function, models)
