"""Batches that fail, come back, time out, report late or twice: done once, charged once."""

import pytest

from events.account import CreditsSettled
from events.commands import BatchTimedOut, CancelRequested, PauseRequested, ResumeRequested
from events.message import Message
from events.run import (
    BatchExpired,
    BatchGivenUp,
    StageBatchRequested,
    StageCompleted,
)
from events.site import ItemsMoved
from services.orchestrator.rules.state import State
from tests.builders import (
    after,
    decide,
    do,
    drive,
    failure,
    in_flight,
    names,
    report,
    request_of,
    requests,
    returned,
    stage_report,
    started,
    tell,
    waiting,
)


def timeout_of(request: StageBatchRequested) -> BatchTimedOut:
    return BatchTimedOut(stage=request.stage, batch_id=request.batch_id, attempt=request.attempt)


def two_ideas(**changes: int) -> State:
    return started(*waiting(2, "c1", "c2"), **changes)[1]


def test_a_failed_batch_is_asked_for_again_with_the_next_attempt() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    failed, again = tell(state, failure(first))
    assert failed == failure(first)
    assert isinstance(again, StageBatchRequested)
    assert (again.batch_id, again.items, again.attempt) == (first.batch_id, first.items, 2)


def test_a_batch_that_fails_three_times_is_given_up_and_the_stage_goes_on() -> None:
    state = two_ideas()
    for _ in range(2):
        state = after(state, failure(in_flight(state)[0]))
    third = in_flight(state)[0]
    _, given_up, moved, other = tell(state, failure(third))
    assert given_up == BatchGivenUp(
        stage=2, batch_id=third.batch_id, items=("c1",), error="KeyError: 'x'"
    )
    assert moved == ItemsMoved(stage=2, done=(), failed=("c1",), made=())
    assert isinstance(other, StageBatchRequested)
    assert (other.items, other.last) == (("c2",), True)
    ended = drive(after(state, failure(third)))
    assert ended.run.status == "completed"


def test_a_stage_whose_last_batch_is_given_up_completes_partial() -> None:
    state = two_ideas()
    state = do(state, in_flight(state)[0])
    for _ in range(2):
        state = after(state, failure(in_flight(state)[0]))
    events = tell(state, failure(in_flight(state)[0]))
    completed = next(event for event in events if isinstance(event, StageCompleted))
    assert (completed.items_done, completed.items_failed, completed.partial) == (1, 1, True)
    assert request_of(events).stage == 3


def test_a_stage_whose_only_batch_is_given_up_fails_the_run() -> None:
    _, state = started(*waiting(2, "c1"))
    for _ in range(3):
        state = after(state, failure(in_flight(state)[0]))
    assert (state.run.status, state.site.active, dict(state.account.holds)) == ("failed", None, {})


def test_a_failed_batch_that_cost_something_is_charged() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    _, settled, _ = tell(state, failure(first, cost=1))
    assert settled == CreditsSettled(stage=2, batch_id=first.batch_id, amount=1, from_hold=1)
    assert after(state, failure(first, cost=1)).run.tally.credits_used == 1


def test_a_batch_that_nobody_answers_is_asked_for_again() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    expired, again = tell(state, timeout_of(first))
    assert expired == BatchExpired(stage=2, batch_id=first.batch_id, attempt=1)
    assert (again.batch_id, again.attempt) == (first.batch_id, 2)


def test_three_timeouts_fail_the_run_and_its_items_are_free() -> None:
    state = two_ideas()
    for _ in range(3):
        state = after(state, timeout_of(in_flight(state)[0]))
    assert (state.run.status, state.site.active) == ("failed", None)
    assert state.site.waiting(2) == ("c1", "c2")
    assert dict(state.account.holds) == {}


def test_the_hold_of_a_failed_run_lasts_until_its_other_batches_have_reported() -> None:
    state = started(*waiting(2, "c1", "c2", "c3"), max_parallel_batches=2)[1]
    one, other = in_flight(state)
    for attempt in (1, 2, 3):
        late = BatchTimedOut(stage=2, batch_id=one.batch_id, attempt=attempt)
        state = after(state, late)
    assert state.run.status == "failed"
    assert (state.site.taken, state.account.holds["run-a"] > 0) == (set(other.items), True)
    state = after(state, report(other))
    assert (state.site.taken, dict(state.account.holds)) == (set(), {})
    assert state.run.credits_used == 1


def test_a_returned_batch_is_asked_for_again_and_counts_as_no_failure() -> None:
    state = two_ideas()
    for _ in range(5):
        state = after(state, returned(in_flight(state)[0]))
    assert in_flight(state)[0].attempt == 6
    assert drive(state).run.status == "completed"


def test_a_batch_returned_while_paused_is_asked_for_again_by_resume() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    paused = after(state, PauseRequested())
    assert names(tell(paused, returned(first))) == ["BatchReturned"]
    paused = after(paused, returned(first))
    _, again = tell(paused, ResumeRequested())
    assert (again.items, again.attempt) == (first.items, 2)


def test_a_time_out_while_paused_asks_for_nothing_until_resumed() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    paused = after(state, PauseRequested())
    assert names(tell(paused, timeout_of(first))) == ["BatchExpired"]
    assert request_of(tell(after(paused, timeout_of(first)), ResumeRequested())).attempt == 2


def repeated(state: State) -> list[Message]:
    """Everything that may be said again of a batch that is recorded."""
    first = in_flight(state)[0]
    return [report(first), failure(first, cost=5), returned(first), timeout_of(first)]


@pytest.mark.parametrize("number", range(4))
def test_what_is_said_of_a_recorded_batch_changes_nothing(number: int) -> None:
    state = two_ideas()
    late = repeated(state)[number]
    recorded = do(state, in_flight(state)[0])
    assert tell(recorded, late) == []
    assert after(recorded, late) == recorded


@pytest.mark.parametrize("say", [failure, returned, timeout_of])
def test_what_is_said_of_an_earlier_attempt_changes_nothing(say: object) -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    again = after(state, timeout_of(first))
    assert tell(again, say(first)) == []


def test_a_report_of_an_earlier_attempt_is_taken_and_the_later_one_changes_nothing() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    state = after(state, timeout_of(first))
    second = in_flight(state)[0]
    recorded = after(state, report(first))
    assert recorded.run.settled == {"c1"}
    assert tell(recorded, report(second)) == []
    assert recorded.run.credits_used == 1


def test_a_report_of_an_expired_batch_that_is_not_asked_for_again_changes_nothing() -> None:
    state = two_ideas()
    first = in_flight(state)[0]
    state = after(state, PauseRequested(), timeout_of(first))
    assert tell(state, report(first)) == []


def test_a_report_of_an_unknown_batch_changes_nothing() -> None:
    state = two_ideas()
    stranger = in_flight(state)[0].model_copy(update={"batch_id": "batch-x"})
    for message in (report(stranger), failure(stranger), returned(stranger), timeout_of(stranger)):
        assert tell(state, message) == []


def test_a_stage_report_before_its_batch_has_no_outcome_so_its_repetition_counts() -> None:
    state = started(*waiting(2, "c1"))[1]
    last = in_flight(state)[0]
    assert decide(state, stage_report(last)) == []
    reported = after(state, stage_report(last), report(last))
    assert names(tell(reported, stage_report(last)))[0] == "StageCompleted"


def test_a_stage_report_of_another_stage_changes_nothing() -> None:
    state = started(*waiting(2, "c1"))[1]
    last = in_flight(state)[0]
    reported = after(state, report(last))
    other = stage_report(last).model_copy(update={"stage": 3})
    assert tell(reported, other) == []


def test_a_stage_report_that_was_lost_is_made_up_for_by_the_watchdog() -> None:
    state = started(*waiting(2, "c1"))[1]
    last = in_flight(state)[0]
    waiting_run = after(state, report(last))
    events = tell(waiting_run, timeout_of(last))
    completed = events[0]
    assert isinstance(completed, StageCompleted)
    assert (completed.items_done, completed.credits_used) == (1, 1)
    assert request_of(events).stage == 3
    assert tell(after(waiting_run, timeout_of(last)), stage_report(last)) == []


def test_a_stage_report_that_comes_twice_counts_once() -> None:
    state = started(*waiting(2, "c1"))[1]
    last = in_flight(state)[0]
    done = do(state, last)
    assert tell(done, stage_report(last)) == []


# --- a run cancelled with a batch in flight


def cancelled() -> State:
    return after(two_ideas(), CancelRequested())


def test_a_cancel_ends_the_run_and_keeps_what_is_in_flight_taken() -> None:
    state = two_ideas()
    hold = state.account.holds["run-a"]
    events = tell(state, CancelRequested())
    assert names(events) == ["RunCancelled", "SiteReleased"]
    assert events[1].taken == ("c1",)
    after_it = cancelled()
    assert (after_it.site.active, after_it.account.holds["run-a"]) == (None, hold)
    assert after_it.site.waiting(2) == ("c2",)


def test_a_cancel_with_nothing_in_flight_releases_the_hold_at_once() -> None:
    state = two_ideas()
    paused = after(state, PauseRequested(), returned(in_flight(state)[0]))
    events = tell(paused, CancelRequested())
    assert names(events) == ["RunCancelled", "SiteReleased", "CreditsReleased"]
    assert after(paused, CancelRequested()).site.waiting(2) == ("c1", "c2")


def test_a_batch_in_flight_at_a_cancel_is_recorded_and_charged_and_then_the_hold_goes() -> None:
    state = cancelled()
    events = tell(state, report(in_flight(state)[0]))
    assert names(events) == [
        "StageBatchCompleted",
        "ItemsMoved",
        "CreditsSettled",
        "CreditsReleased",
    ]
    ended = after(state, report(in_flight(state)[0]))
    assert (ended.run.status, ended.account.balance) == ("cancelled", 999)
    assert (dict(ended.account.holds), ended.site.taken) == ({}, set())
    assert (ended.site.waiting(2), ended.site.waiting(3)) == (("c2",), ("c1/2",))


@pytest.mark.parametrize(("say", "what"), [(failure, "BatchFailed"), (returned, "BatchReturned")])
def test_a_batch_that_is_not_done_after_a_cancel_frees_its_items(say: object, what: str) -> None:
    state = cancelled()
    message = say(in_flight(state)[0])
    assert names(tell(state, message)) == [what, "ItemsFreed", "CreditsReleased"]
    assert after(state, message).site.waiting(2) == ("c1", "c2")


def test_a_batch_that_nobody_answers_after_a_cancel_frees_its_items_and_the_hold() -> None:
    state = cancelled()
    late = timeout_of(in_flight(state)[0])
    assert names(tell(state, late)) == ["BatchExpired", "ItemsFreed", "CreditsReleased"]
    freed = after(state, late)
    assert freed.site.waiting(2) == ("c1", "c2")
    assert tell(freed, report(in_flight(state)[0])) == []


def test_a_stage_report_after_a_cancel_changes_nothing() -> None:
    state = started(*waiting(2, "c1"))[1]
    last = in_flight(state)[0]
    ended = after(state, CancelRequested(), report(last))
    assert decide(ended, stage_report(last))[:-1] == []
    assert requests(decide(ended, stage_report(last))) == []
