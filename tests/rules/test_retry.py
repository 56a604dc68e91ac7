"""A retry takes exactly what failed in one run, and what comes of that."""

from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from events.commands import CancelRequested, RunRequested
from events.message import Event
from events.run import RunStarted, StageBatchRequested, StageItems, StageStarted
from events.site import ItemsRequeued, RunRefused
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.state import State
from tests.builders import (
    READY,
    RUN,
    after,
    config,
    do,
    drive,
    given,
    in_flight,
    next_run,
    refusal,
    started,
    tell,
    waiting,
)

RETRY = RunRequested(retry_of=RUN)


def ended(*events: Event, failing: tuple[str, ...], **changes: Any) -> State:
    """Return the state after a run in which these items failed."""
    state = drive(started(*events, **changes)[1], failing=failing)
    assert state.run.status == "completed", state.run
    return state


def test_a_retry_asks_for_exactly_what_failed() -> None:
    state = ended(*waiting(2, "c1", "c2", "c3"), failing=("c1", "c3"))
    events = tell(next_run(state), RETRY)
    (requeued,) = [one for one in events if isinstance(one, ItemsRequeued)]
    (begun,) = [one for one in events if isinstance(one, RunStarted)]
    assert requeued == ItemsRequeued(stage=2, items=("c1", "c3"))
    assert (begun.retry_of, begun.retried) == (RUN, (StageItems(stage=2, items=("c1", "c3")),))
    stages = {one.stage: one.items for one in events if isinstance(one, StageStarted)}
    assert stages == {1: (), 2: ("c1", "c3")}


def test_what_waits_beside_it_is_left_for_the_next_run() -> None:
    state = ended(*waiting(2, "c1", "c2"), failing=("c1",))
    state = given_more(state, *waiting(2, "c9"), *waiting(4, "t9"))
    again = drive(after(next_run(state), RETRY))
    assert (again.run.status, again.site.waiting(2), again.site.waiting(4)) == (
        "completed",
        ("c9",),
        ("t9",),
    )
    assert "c1/2/3/4" in again.site.contents  # what came of it went on to the end
    assert again.site.contents["c1/2/3/4"] == "review"


def given_more(state: State, *events: Event) -> State:
    return reduce(evolve, events, state)


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5, 6])
def test_what_failed_in_any_stage_can_be_tried_again(stage: int) -> None:
    items = waiting(stage, "a", "b")
    state = ended(*items, failing=("a",), stage_1_batch_size=1)
    assert state.site.failed_in(RUN) == (StageItems(stage=stage, items=("a",)),)
    again = drive(after(next_run(state), RETRY))
    assert again.run.status == "completed"
    assert again.site.failed_in(RUN) == again.site.failed_in("run-b") == ()
    assert not any(again.site.waiting(number) for number in range(1, 8))


def test_what_fails_again_belongs_to_the_retry() -> None:
    state = ended(*waiting(2, "c1", "c2"), failing=("c1",))
    again = drive(after(next_run(state), RETRY), failing=("c1",))
    assert again.run.status == "failed"
    assert again.site.failed_in(RUN) == ()
    assert again.site.failed_in("run-b") == (StageItems(stage=2, items=("c1",)),)


def test_nothing_failed_is_nothing_to_do() -> None:
    state = ended(*waiting(2, "c1"), failing=())
    assert refusal(next_run(state), RETRY) == ("nothing_to_do", {"retry_of": RUN})


def test_what_was_tried_again_is_not_tried_twice() -> None:
    state = ended(*waiting(2, "c1", "c2"), failing=("c1",))
    again = drive(after(next_run(state), RETRY))
    refused, receipt = decide(next_run(again, "run-c"), RETRY)
    assert isinstance(refused, RunRefused)
    assert (refused.code, receipt.TYPE) == ("nothing_to_do", "MessageRefused")


def test_a_retry_is_priced_by_what_failed_and_what_comes_of_it() -> None:
    state = ended(*waiting(4, "t1", "t2"), failing=("t1",))
    (begun,) = [one for one in tell(next_run(state), RETRY) if isinstance(one, RunStarted)]
    # one article at 6, its prompts at 1, two images at 2
    assert [one.credits for one in begun.estimate] == [0, 0, 0, 6, 1, 4, 0]
    assert (begun.estimated_credits, begun.required_credits) == (11, 14)


def test_a_retry_without_credits_is_refused_with_the_numbers() -> None:
    state = ended(*waiting(4, "t1", "t2"), failing=("t1",))
    poor = given_less(state)
    code, numbers = refusal(next_run(poor), RETRY)
    assert (code, numbers["estimated_credits"], numbers["required_credits"]) == (
        "insufficient_credits",
        11,
        14,
    )
    assert poor.site.failed_in(RUN)  # and nothing has moved


def given_less(state: State) -> State:
    return replace(state, account=replace(state.account, balance=13, holds={}))


def test_a_cancelled_retry_leaves_the_rest_waiting_for_any_run() -> None:
    state = ended(*waiting(2, "c1", "c2", "c3"), failing=("c1", "c3"))
    begun = after(next_run(state), RETRY)
    (request,) = in_flight(begun)
    cancelled = do(after(begun, CancelRequested()), request)
    assert cancelled.site.failed_in(RUN) == ()
    assert cancelled.site.waiting(2) == ("c3",)


def test_a_retry_takes_at_most_the_items_of_a_stage() -> None:
    state = ended(*waiting(2, "c1", "c2", "c3"), failing=("c1", "c3"))
    state = given_more(state, config(max_items_per_stage=1))
    again = drive(after(next_run(state), RETRY))
    assert (again.run.status, again.site.waiting(2)) == ("completed", ("c3",))


def test_a_run_of_nobody_retries_nothing() -> None:
    state = given(*READY, *waiting(2, "c1"))
    nobody = RunRequested(retry_of="run-of-nobody")
    assert refusal(state, nobody) == ("nothing_to_do", {"retry_of": "run-of-nobody"})


def test_an_image_that_failed_comes_to_its_article_without_another_review() -> None:
    state = ended(*waiting(6, "p1", "p2"), failing=("p1",))
    assert state.site.contents == {"draft-of-p1": "review", "draft-of-p2": "review"}
    again = drive(after(next_run(state), RETRY))
    requests = [one for one in tell(next_run(state), RETRY) if isinstance(one, StageBatchRequested)]
    assert [one.items for one in requests] == [("p1",)]
    assert (again.run.status, again.site.waiting(7)) == ("completed", ())
