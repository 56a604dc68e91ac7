"""Delays are timers: between batches, between stages, and while a run is paused."""

from datetime import timedelta

from events.commands import CancelRequested, PauseRequested, ResumeRequested, TimerElapsed
from events.run import TimerSet
from services.orchestrator.rules.state import State
from tests.builders import (
    AT,
    after,
    in_flight,
    later,
    names,
    report,
    request_of,
    stage_report,
    started,
    tell,
    waiting,
)

DELAYS = {"within_stage_delay": 3, "between_stage_delay": 5}


def between_batches() -> tuple[State, TimerSet]:
    state = started(*waiting(2, "c1", "c2"), **DELAYS)[1]
    events = tell(state, report(in_flight(state)[0]))
    assert isinstance(events[-1], TimerSet)
    return after(state, report(in_flight(state)[0])), events[-1]


def elapsed(timer: TimerSet) -> TimerElapsed:
    return TimerElapsed(timer_id=timer.timer_id)


def test_the_first_batch_waits_for_nothing() -> None:
    events, _ = started(*waiting(2, "c1"), **DELAYS)
    assert "TimerSet" not in names(events)


def test_between_batches_a_run_waits_as_long_as_its_config_says() -> None:
    _, timer = between_batches()
    assert (timer.purpose, timer.due_at) == ("within_stage", AT + timedelta(seconds=3))


def test_when_the_delay_is_over_the_next_batch_is_asked_for() -> None:
    state, timer = between_batches()
    fired, batch = tell(later(state, 3), elapsed(timer))
    assert (fired.TYPE, batch.items) == ("TimerFired", ("c2",))


def test_between_stages_a_run_waits_as_long_as_its_config_says() -> None:
    state = started(*waiting(2, "c1"), **DELAYS)[1]
    last = in_flight(state)[0]
    completed, timer = tell(after(state, report(last)), stage_report(last))
    assert completed.TYPE == "StageCompleted"
    assert (timer.purpose, timer.due_at) == ("between_stages", AT + timedelta(seconds=5))
    state = after(state, report(last), stage_report(last), elapsed(timer))
    assert in_flight(state)[0].stage == 3


def test_a_stage_with_nothing_to_do_is_followed_without_a_delay() -> None:
    events, _ = started(*waiting(5, "d1"), **DELAYS)
    assert request_of(events).stage == 5


def test_the_last_stage_is_followed_by_the_end_without_a_delay() -> None:
    state = started(*waiting(7, "d1"), **DELAYS)[1]
    last = in_flight(state)[0]
    assert "RunCompleted" in names(tell(after(state, report(last)), stage_report(last)))


def test_a_timer_that_elapses_twice_or_is_unknown_changes_nothing() -> None:
    state, timer = between_batches()
    assert tell(state, TimerElapsed(timer_id="timer-x")) == []
    assert tell(after(state, elapsed(timer)), elapsed(timer)) == []


def test_timers_of_one_run_have_different_ids() -> None:
    state, first = between_batches()
    state = after(state, elapsed(first))
    last = in_flight(state)[0]
    second = tell(after(state, report(last)), stage_report(last))[-1]
    assert second.TYPE == "TimerSet"
    assert second.timer_id != first.timer_id


def test_a_timer_that_elapses_while_paused_asks_for_nothing() -> None:
    state, timer = between_batches()
    paused = after(state, PauseRequested())
    assert names(tell(paused, elapsed(timer))) == ["TimerFired"]
    paused = after(paused, elapsed(timer))
    assert request_of(tell(paused, ResumeRequested())).items == ("c2",)


def test_a_run_resumed_before_its_timer_waits_for_it() -> None:
    state, timer = between_batches()
    resumed = after(state, PauseRequested(), ResumeRequested())
    assert in_flight(resumed) == []
    assert request_of(tell(resumed, elapsed(timer))).items == ("c2",)


def test_a_batch_recorded_while_paused_needs_no_delay_after_resume() -> None:
    state = started(*waiting(2, "c1", "c2"), **DELAYS)[1]
    paused = after(state, PauseRequested(), report(in_flight(state)[0]))
    assert names(tell(paused, ResumeRequested())) == ["RunResumed", "StageBatchRequested"]


def test_a_timer_of_a_run_that_has_ended_changes_nothing() -> None:
    state, timer = between_batches()
    assert tell(after(state, CancelRequested()), elapsed(timer)) == []


def test_batches_side_by_side_start_at_once_and_then_wait() -> None:
    state = started(*waiting(2, "c1", "c2", "c3", "c4"), max_parallel_batches=2, **DELAYS)[1]
    assert len(in_flight(state)) == 2
    events = tell(state, report(in_flight(state)[0]))
    assert names(events)[-1] == "TimerSet"
