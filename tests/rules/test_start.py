"""When a run starts, when it does not, and what it writes either way."""

import pytest

from events.account import CreditsHeld
from events.commands import RunRequested
from events.config import Config
from events.estimate import estimate, required_of, total_of
from events.message import Event
from events.prices import CURRENT
from events.run import RunStarted, StageBatchRequested, StageCompleted, StageStarted
from events.site import RunRefused, SiteOccupied
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import Run, State
from tests.builders import (
    CREATED,
    OPENED,
    READY,
    RUN,
    SITE,
    Scene,
    after,
    config,
    given,
    keywords,
    names,
    refusal,
    tell,
    waiting,
)


def test_a_start_occupies_the_site_holds_credits_and_asks_for_the_first_batch() -> None:
    state = given(*READY, keywords("k1", "k2"))
    occupied, started, held, stage, batch = tell(state, RunRequested())
    assert occupied == SiteOccupied()
    assert isinstance(started, RunStarted)
    assert (started.estimated_credits, started.required_credits) == (25, 30)
    assert (started.available_credits, held) == (1000, CreditsHeld(amount=30))
    assert stage == StageStarted(stage=1, items=("k1", "k2"))
    assert isinstance(batch, StageBatchRequested)
    assert (batch.items, batch.attempt, batch.last) == (("k1", "k2"), 1, True)


def test_of_two_starts_the_second_is_told_which_run_is_active() -> None:
    state = after(given(*READY, keywords("k1")), RunRequested())
    second = State(state.now, 600, Run(id="run-b"), state.site, state.account)
    assert refusal(second, RunRequested()) == ("run_already_active", {"active_run_id": RUN})


def test_a_refused_start_leaves_a_refusal_on_the_site() -> None:
    refused, receipt = decide(given(*READY), RunRequested())
    assert isinstance(refused, RunRefused)
    assert (refused.code, refused.trigger_type) == ("nothing_to_do", "manual")
    assert receipt.TYPE == "MessageRefused"


def test_insufficient_credits_are_told_with_exact_numbers() -> None:
    state = given(*OPENED[:-1], CREATED, keywords("k1", "k2"))
    numbers = {"estimated_credits": 25, "required_credits": 30, "available_credits": 0}
    assert refusal(state, RunRequested()) == ("insufficient_credits", numbers)


@pytest.mark.parametrize(("balance", "code"), [(29, "MessageRefused"), (30, "MessageAccepted")])
def test_a_start_needs_the_last_credit_of_the_buffer(balance: int, code: str) -> None:
    scene = Scene().furnish(balance)
    scene.submit("k1", "k2")
    assert code == scene.send(RunRequested(), run=RUN)[-1].TYPE


def test_what_other_runs_hold_is_not_available() -> None:
    scene = Scene().furnish(34, sites=("site-a", "site-b"))
    for site in ("site-a", "site-b"):
        scene.submit("k1", "k2", site=site)
    scene.send(RunRequested(), site="site-a", run="run-a")
    *_, receipt = scene.send(RunRequested(), site="site-b", run="run-b")
    assert receipt.numbers["available_credits"] == 4


def test_a_site_without_anything_to_do_does_not_start() -> None:
    assert refusal(given(*READY), RunRequested()) == ("nothing_to_do", {})


def test_an_unknown_site_is_not_found() -> None:
    assert refusal(given(*OPENED), RunRequested())[0] == "not_found"
    assert names(decide(given(*OPENED), RunRequested())) == ["MessageRefused"]


def test_a_foreign_site_is_refused_as_an_unknown_one_and_nothing_is_written() -> None:
    scene = Scene().furnish()
    scene.submit("k1")
    (foreign,) = scene.send(RunRequested(), account="account-b", run="run-b")
    (unknown,) = scene.send(RunRequested(), account="account-b", site="site-x", run="run-x")
    assert (foreign.code, unknown.code) == ("not_found", "not_found")
    assert names(scene.stream(SITE))[-1] == "KeywordsAdded"
    assert [scene.stream(stream) for stream in ("account-b", "site-x", "run-b", "run-x")] == [
        []
    ] * 4


def test_a_run_whose_id_is_not_given_gets_the_one_that_follows_from_its_command() -> None:
    one, other = Scene().furnish(), Scene().furnish()
    for scene in (one, other):
        scene.submit("k1")
        scene.send(RunRequested(), id_="cmd-1")
    assert [stored.stream for stored in one.log()] == [stored.stream for stored in other.log()]
    assert one.log()[-1].placed.envelope.run_id is not None


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5, 6, 7])
def test_a_run_starts_at_whatever_stage_has_something_to_do(stage: int) -> None:
    events = tell(given(*READY, *waiting(stage, "x")), RunRequested())
    empty = [event for event in events if isinstance(event, StageCompleted)]
    assert [event.stage for event in empty] == list(range(1, stage))
    assert all(not any(event.result.values()) for event in empty)
    last = events[-1]
    assert isinstance(last, StageBatchRequested)
    assert (last.stage, last.items) == (stage, ("x",))


def test_a_run_of_local_stages_only_holds_nothing() -> None:
    events: list[Event] = tell(given(*OPENED[:2], CREATED, *waiting(7, "x")), RunRequested())
    assert "CreditsHeld" not in names(events)
    assert events[1].required_credits == 0


def test_a_stage_takes_no_more_items_than_the_config_allows() -> None:
    state = given(*READY, config(max_items_per_stage=2), keywords("k1", "k2", "k3"))
    stage = tell(state, RunRequested())[3]
    assert stage == StageStarted(stage=1, items=("k1", "k2"))


@pytest.mark.parametrize(
    ("estimated", "required"),
    [(0, 0), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 8), (10, 12), (11, 14), (100, 120)],
)
def test_required_is_the_estimate_and_a_fifth_rounded_up(estimated: int, required: int) -> None:
    assert required_of(estimated) == required


def test_required_is_exact_for_every_estimate() -> None:
    for estimated in (*range(20_000), 10**12, 10**15 + 1):
        required = required_of(estimated)
        assert 5 * required >= 6 * estimated > 5 * (required - 1)


def test_the_estimate_follows_items_through_all_stages() -> None:
    stages = estimate((6, 0, 0, 0, 0, 0, 0), Config(), CURRENT)
    assert [(one.items, one.credits) for one in stages] == [
        (6, 1),  # one call a batch
        (6, 6),
        (6, 0),  # local
        (6, 36),
        (6, 6),
        (12, 24),  # two images a draft
        (6, 0),
    ]
    assert total_of(stages) == 73


def test_the_estimate_ends_at_the_most_items_of_a_stage() -> None:
    stages = estimate((90, 0, 0, 0, 0, 0, 0), Config(max_items_per_stage=15), CURRENT)
    assert [one.items for one in stages] == [15, 12, 12, 12, 12, 15, 8]
