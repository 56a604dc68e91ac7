"""Prices have versions: a run keeps the one that it started with."""

from dataclasses import replace

import pytest

from events import prices
from events.commands import RunRequested
from events.estimate import total_of
from events.run import RunStarted
from services.orchestrator.rules import start
from tests.builders import (
    READY,
    drive,
    given,
    in_flight,
    keywords,
    report,
    requests,
    started,
    tell,
    waiting,
)


@pytest.fixture
def dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more version, in which an article costs ten credits instead of six."""
    first = prices.PRICES[1]
    dear = prices.PriceList(per_call={**first.per_call, "write_article": 10})
    monkeypatch.setattr(prices, "PRICES", {1: first, 2: first, 3: dear})


@pytest.mark.usefixtures("dearer")
def test_a_run_keeps_its_prices_while_the_list_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    state = started(*waiting(4, "t1", "t2"))[1]
    monkeypatch.setattr(start, "CURRENT", 3)
    assert [request.prices for request in in_flight(state)] == [2]
    done = drive(state, until=5)
    assert (done.run.prices, done.run.credits_used) == (2, 12)


@pytest.mark.usefixtures("dearer")
def test_the_next_run_is_priced_by_the_new_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "CURRENT", 3)
    events, state = started(*waiting(4, "t1"))
    (run,) = [one for one in events if isinstance(one, RunStarted)]
    assert (run.prices, run.estimate[3].credits) == (3, 10)
    assert drive(state).run.credits_used == 10 + 1 + 2


def test_no_version_that_was_ever_used_is_gone_or_changed() -> None:
    assert prices.PRICES[1].per_call == {
        "cluster_keywords": 1,
        "generate_ideas": 1,
        "write_article": 6,
        "write_image_prompts": 1,
        "generate_image": 2,
    }
    assert prices.CURRENT in prices.PRICES


# --- models that are paid by use


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini*"),
        ("GPT-4o", "gpt-4o*"),
        ("gpt-5-nano", "gpt-5-nano*"),
        ("gpt-5.4", "gpt-5.4*"),
        ("gpt-5.1", "gpt-5*"),
        ("o3-mini", "o3-mini*"),
        ("text-embedding-3-large", "text-embedding-3-large*"),
        ("nomic-embed-text", "*embed*"),
        ("smollm2", "*"),
        ("", "*"),
    ],
)
def test_the_first_pattern_that_fits_a_model_counts(model: str, pattern: str) -> None:
    found = prices.rates_of(2, model)
    assert found is not None
    assert found.models == pattern


@pytest.mark.parametrize(("version", "model"), [(1, "gpt-4o"), (2, "local-1"), (2, "instant")])
def test_where_there_are_no_rates_calls_have_a_price(version: int, model: str) -> None:
    assert prices.rates_of(version, model) is None


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "images", "cost"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 1),  # rounded up, each call
        (10_000, 0, 0, 1),
        (10_001, 0, 0, 2),
        (10_000, 1, 0, 2),
        (1_000_000, 1_000_000, 0, 300),
        (1, 0, 2, 9),
        (2**40, 2**40, 0, -(-(2**40) * 300 // 1_000_000)),
    ],
)
def test_a_call_costs_what_it_used_rounded_up(
    tokens_in: int, tokens_out: int, images: int, cost: int
) -> None:
    rates = prices.Rates(models="*", tokens_in=100, tokens_out=200, image=4)
    assert prices.used(rates, tokens_in, tokens_out, images) == cost


def test_a_run_is_priced_for_the_models_that_it_asks() -> None:
    dear = prices.Models(text="gpt-5", image="gpt-image-1")
    cheap = prices.Models(text="gpt-5-nano", image="local-1")
    costs = [prices.cost_of(2, stage, 4, 2, dear) for stage in range(1, 8)]
    small = [prices.cost_of(2, stage, 4, 2, cheap) for stage in range(1, 8)]
    assert costs[2] == costs[6] == small[2] == small[6] == 0
    assert all(one >= other for one, other in zip(costs, small, strict=True))
    assert sum(costs) > 2 * sum(small)
    assert small[5] == prices.cost_of(1, 6, 4, 2)  # cards that are drawn here cost as they did
    state = replace(given(*READY, keywords("k1", "k2")), models=dear)
    (run,) = [one for one in tell(state, RunRequested()) if isinstance(one, RunStarted)]
    assert run.models == dear
    assert run.estimated_credits == total_of(run.estimate) > 0
    assert all(one.models == dear for one in requests(tell(state, RunRequested())))


def test_a_run_keeps_its_models_while_the_installations_change() -> None:
    state = started(*waiting(4, "t1", "t2"))[1]
    changed = replace(state, models=prices.Models(text="gpt-5", image="gpt-5"))
    (first, *_) = in_flight(changed)
    assert [one.models for one in requests(tell(changed, report(first)))] == [prices.LOCAL]
