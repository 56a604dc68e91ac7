"""Hold, settle, release: a ledger that adds up and never goes below zero."""

from dataclasses import replace

from events.account import CreditsHeld, CreditsReleased, CreditsSettled
from events.commands import (
    CancelRequested,
    CreditsRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
)
from events.content import AiCall
from events.run import RunPaused, StageBatchCompleted
from services.orchestrator.rules.state import State
from tests.builders import (
    CREATED,
    OPENED,
    READY,
    RUN,
    Scene,
    after,
    answer,
    config,
    drive,
    given,
    granted,
    in_flight,
    keywords,
    names,
    refusal,
    report,
    request_of,
    requests,
    started,
    tell,
    waiting,
)


def poor(balance: int, stage: int = 4, **changes: int) -> State:
    """A run of two items, started by an account with so many credits."""
    ready = (*OPENED[:2], granted(balance), CREATED, config(**changes), *waiting(stage, "x", "y"))
    return after(given(*ready), RunRequested())


def test_a_batch_settles_what_its_calls_cost_from_the_hold() -> None:
    _, state = started(*waiting(2, "c1", "c2"))
    held = state.account.holds[RUN]
    batch = in_flight(state)[0]
    settled = tell(state, report(batch))[2]
    assert settled == CreditsSettled(stage=2, batch_id=batch.batch_id, amount=1, from_hold=1)
    paid = after(state, report(batch))
    assert (paid.account.balance, paid.account.holds[RUN]) == (999, held - 1)
    assert paid.account.available == state.account.available


def test_the_end_releases_the_rest_of_the_hold() -> None:
    _, state = started(keywords("k1", "k2"))
    ended = drive(state)
    assert dict(ended.account.holds) == {}
    assert ended.account.available == ended.account.balance == 1000 - ended.run.credits_used


def test_a_batch_that_costs_nothing_settles_nothing() -> None:
    _, state = started(*waiting(3, "i1"))
    assert "CreditsSettled" not in names(tell(state, report(in_flight(state)[0])))


def test_a_batch_dearer_than_the_hold_takes_the_rest_from_the_balance() -> None:
    _, state = started(*waiting(2, "c1"))
    held = state.account.holds[RUN]
    settled = tell(state, report(in_flight(state)[0], cost=held + 5))[2]
    assert (settled.amount, settled.from_hold, settled.uncovered) == (held + 5, held, 0)


def test_a_batch_dearer_than_the_account_is_settled_to_zero_and_the_rest_is_uncovered() -> None:
    state = poor(34)
    recorded, _, settled, *_ = tell(state, report(in_flight(state)[0], cost=100))
    assert isinstance(recorded, StageBatchCompleted)
    assert settled == CreditsSettled(
        stage=4,
        batch_id=recorded.batch_id,
        amount=34,
        from_hold=state.account.holds[RUN],
        uncovered=66,
    )
    assert (recorded.uncovered, recorded.tally.credits_used) == (66, 34)
    assert sum(call.credits_used for call in recorded.calls) == 34
    assert after(state, report(in_flight(state)[0], cost=100)).account.balance == 0


def test_what_is_cut_is_cut_from_the_last_calls() -> None:
    state = poor(34, stage_4_batch_size=2)
    batch = in_flight(state)[0]
    calls = tuple(
        AiCall(function="write_article", model="m", status="succeeded", credits_used=cost)
        for cost in (30, 30)
    )
    recorded = tell(state, report(batch).model_copy(update={"calls": calls}))[0]
    assert [call.credits_used for call in recorded.calls] == [30, 4]


def test_what_other_runs_hold_is_not_spent() -> None:
    state = poor(100)
    others = {**state.account.holds, "run-b": 50}
    state = replace(state, account=replace(state.account, holds=others))
    settled = tell(state, report(in_flight(state)[0], cost=500))[2]
    assert (settled.amount, settled.uncovered) == (50, 450)


def test_running_out_of_credits_pauses_with_the_missing_amount() -> None:
    state = poor(34)
    events = tell(state, report(in_flight(state)[0], cost=30))
    # left are an article at 6, and for both articles prompts at 1 and two images at 2; 4 are there
    assert events[-1] == RunPaused(
        reason="insufficient_credits", missing_credits=2, missing_to_finish=12
    )
    assert requests(events) == []


def test_a_resume_that_cannot_be_paid_for_is_refused_with_the_numbers() -> None:
    state = poor(34)
    broke = after(state, report(in_flight(state)[0], cost=30))
    assert refusal(broke, ResumeRequested()) == (
        "insufficient_credits",
        {"missing_credits": 2, "missing_to_finish": 12, "available_credits": 4},
    )


def test_a_top_up_lets_the_run_resume() -> None:
    state = poor(34)
    broke = after(state, report(in_flight(state)[0], cost=30))
    topped_up = after(broke, CreditsRequested(amount=2, reason="top-up"))
    resumed, held, batch = tell(topped_up, ResumeRequested())
    assert (resumed.TYPE, held) == ("RunResumed", CreditsHeld(amount=6))
    assert batch.items == ("y",)


def test_a_hold_that_is_used_up_grows_by_what_the_next_batch_needs() -> None:
    _, state = started(*waiting(4, "x", "y"))
    held = state.account.holds[RUN]
    events = tell(state, report(in_flight(state)[0], cost=held))
    assert events[-2] == CreditsHeld(amount=6)
    assert request_of(events).items == ("y",)


def test_batches_side_by_side_are_covered_together() -> None:
    ready = (*OPENED[:2], granted(60), CREATED, config(max_parallel_batches=2))
    state = after(given(*ready, *waiting(4, "w", "x", "y", "z")), RunRequested())
    one, _ = in_flight(state)
    held = state.account.holds[RUN]
    assert held == 53
    paused = tell(state, report(one, cost=held))[-1]  # 7 are left for two articles at 6 each
    assert isinstance(paused, RunPaused)
    assert (paused.reason, paused.missing_credits) == ("insufficient_credits", 5)
    assert paused.missing_to_finish > 5


def test_a_requested_pause_names_no_missing_credits() -> None:
    _, state = started(keywords("k1"))
    assert tell(state, PauseRequested()) == [RunPaused(reason="requested", missing_credits=0)]


def test_a_top_up_grants() -> None:
    state = given(*READY)
    assert after(state, CreditsRequested(amount=5, reason="gift")).account.balance == 1005


def test_released_is_exactly_what_was_held_and_not_settled() -> None:
    scene = Scene().furnish()
    scene.submit("k1", "k2", "k3")
    scene.send(RunRequested(), run=RUN)
    ledger = [event for event in scene.stream("account-a") if event.TYPE.startswith("Credits")]
    hold = next(event.amount for event in ledger if isinstance(event, CreditsHeld))
    scene.send(PauseRequested(), run=RUN)
    scene.send(CancelRequested(), run=RUN)
    (request,) = scene.open_requests()
    events = scene.handle(answer(request, report(request.message), scene.now))
    released = next(event for event in events if isinstance(event, CreditsReleased))
    settled = next(event for event in events if isinstance(event, CreditsSettled))
    assert released.amount == hold - settled.amount
