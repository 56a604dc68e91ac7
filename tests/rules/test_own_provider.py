"""An account may have its runs ask a provider of its own: which models that makes theirs."""

import json

import pytest

from events.account import AiProviderChosen, AiProviderDropped
from events.commands import AiProviderDropRequested, AiProviderRequested, RunRequested
from events.estimate import estimate, required_of, total_of
from events.message import KNOWN, Command, Event, Message
from events.prices import CURRENT, LOCAL, Models
from events.run import RunStarted, StageBatchRequested
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.state import State
from tests.builders import (
    OPENED,
    READY,
    after,
    config,
    given,
    keywords,
    next_run,
    refusal,
    report,
    tell,
)

URL = "https://api.openai.com/v1"
ASKED = Models(text="gpt-5", image="gpt-image-1", embedding="text-embedding-3-small")
THEIRS = ASKED.model_copy(update={"own": True})
CHOOSE = AiProviderRequested(base_url=URL, models=ASKED, secret_id="secret-1")
CHOSEN = AiProviderChosen(base_url=URL, models=THEIRS, secret_id="secret-1")
OF_THE_INSTALLATION = Models(text="gpt-5-nano", image="local-1", embedding="local-1")


def begun(state: State) -> tuple[RunStarted, StageBatchRequested]:
    events = tell(state, RunRequested())
    started = next(one for one in events if isinstance(one, RunStarted))
    return started, next(one for one in events if isinstance(one, StageBatchRequested))


def installed(state: State) -> State:
    return State(state.now, 600, state.run, state.site, state.account, models=OF_THE_INSTALLATION)


def test_a_choice_is_recorded_as_the_accounts_own() -> None:
    assert tell(given(*OPENED), CHOOSE) == [CHOSEN]
    forged = CHOOSE.model_copy(update={"models": THEIRS})
    assert tell(given(*OPENED), forged) == [CHOSEN]


def test_a_choice_is_dropped_once() -> None:
    state = after(given(*OPENED), CHOOSE)
    assert tell(state, AiProviderDropRequested()) == [AiProviderDropped()]
    dropped = after(state, AiProviderDropRequested())
    assert tell(dropped, AiProviderDropRequested()) == []
    assert tell(given(*OPENED), AiProviderDropRequested()) == []


@pytest.mark.parametrize("message", [CHOOSE, AiProviderDropRequested()])
def test_without_an_account_there_is_nothing_to_choose(message: Message) -> None:
    assert refusal(given(), message) == ("not_found", {})


@pytest.mark.parametrize(
    ("happened", "models"),
    [
        ((), OF_THE_INSTALLATION),
        ((CHOSEN,), THEIRS),
        ((CHOSEN, AiProviderDropped()), OF_THE_INSTALLATION),
        ((AiProviderDropped(), CHOSEN), THEIRS),
    ],
    ids=["none", "chosen", "dropped", "chosen again"],
)
def test_a_run_asks_and_is_priced_for_the_models_of_its_account(
    happened: tuple[Event, ...], models: Models
) -> None:
    state = installed(given(*READY, keywords("k1", "k2"), *happened))
    started, batch = begun(state)
    assert (started.models, batch.models) == (models, models)
    pending = (2, 0, 0, 0, 0, 0, 0)
    priced = estimate(pending, state.site.config, CURRENT, {}, 0, models)
    assert started.estimate == priced
    assert started.required_credits == required_of(total_of(priced))


def test_prices_differ_or_the_test_above_would_show_nothing() -> None:
    totals = {
        total_of(estimate((2, 0, 0, 0, 0, 0, 0), given().site.config, CURRENT, {}, 0, models))
        for models in (LOCAL, OF_THE_INSTALLATION, THEIRS)
    }
    assert len(totals) == 3


OTHERS = CHOOSE.model_copy(update={"models": LOCAL})


@pytest.mark.parametrize("later", [OTHERS, AiProviderDropRequested()])
def test_a_run_keeps_its_models_when_the_account_changes_its_mind(later: Message) -> None:
    state = given(*READY, config(stage_1_batch_size=1), keywords("k1", "k2"), CHOSEN)
    _, first = begun(state)
    changed = after(state, RunRequested(), later)
    second = [
        event for event in tell(changed, report(first)) if isinstance(event, StageBatchRequested)
    ]
    assert [one.models for one in second] == [THEIRS]
    assert next_run(changed).models_now != THEIRS


def test_an_account_without_a_choice_is_as_it_was_before_there_were_any() -> None:
    assert evolve(given(*OPENED), AiProviderDropped()).account == given(*OPENED).account


def test_no_message_has_a_place_for_a_key() -> None:
    """What names a key has a digest or an id of it: a field for a secret would be noticed here."""
    names = set()
    for kind in KNOWN.values():
        names |= set(json.dumps(kind.model_json_schema()["properties"]).split('"'))
        if issubclass(kind, Command):
            assert not {"api_key", "secret", "password", "token"} & set(kind.model_fields)
    assert "secret_id" in names
    assert not {"api_key", "secret", "password", "token", "credential"} & names
