"""A provider that answers nobody: the run waits or pauses, and no item is to blame."""

from datetime import timedelta

import pytest

from events.commands import CancelRequested, PauseRequested, ResumeRequested, TimerElapsed
from events.content import Halt
from events.run import RunPaused, StageBatchCompleted, TimerSet
from services.orchestrator.rules.state import State
from tests.builders import (
    AT,
    after,
    drive,
    in_flight,
    later,
    names,
    report,
    request_of,
    requests,
    started,
    tell,
    waiting,
)

BUSY = Halt(kind="rate_limited", detail="too many requests", wait_seconds=30)
DOWN = Halt(kind="unavailable", detail="nobody answers", wait_seconds=300)
BROKE = Halt(kind="out_of_credits", detail="The provider's account is empty. Top it up, resume.")
LOCKED = Halt(kind="key_refused", detail="The provider refuses the key. Correct it, then resume.")
LOST = Halt(kind="misconfigured", detail="The provider has no such model. Set one that it has.")


def under_way(*items: str, size: int = 4, parallel: int = 1) -> State:
    """A run in stage 2 with one batch of so many clusters in flight."""
    how = {"stage_2_batch_size": size, "max_parallel_batches": parallel}
    return started(*waiting(2, *items), **how)[1]


@pytest.mark.parametrize("halt", [BUSY, DOWN])
def test_the_run_waits_as_long_as_the_provider_says_and_then_asks_for_the_rest(halt: Halt) -> None:
    state = under_way("c1", "c2", "c3")
    said = report(in_flight(state)[0], deferred=("c2", "c3"), halt=halt)
    events = tell(state, said)
    timer = events[-1]
    assert isinstance(timer, TimerSet)
    until = AT + timedelta(seconds=halt.wait_seconds)
    assert (timer.purpose, timer.due_at) == ("provider", until)
    state = after(state, said)
    assert (state.run.status, state.run.tally.items_done, state.run.tally.items_failed) == (
        "running",
        1,
        0,
    )
    again = request_of(tell(later(state, 30), TimerElapsed(timer_id=timer.timer_id)))
    assert (again.items, again.attempt, again.last) == (("c2", "c3"), 1, True)
    assert again.batch_id != said.batch_id


@pytest.mark.parametrize(
    ("halt", "reason"),
    [
        (BROKE, "provider_out_of_credits"),
        (LOCKED, "provider_key_refused"),
        (LOST, "provider_misconfigured"),
    ],
)
def test_the_run_pauses_until_a_person_has_acted(halt: Halt, reason: str) -> None:
    state = under_way("c1", "c2")
    said = report(in_flight(state)[0], deferred=("c1", "c2"), halt=halt)
    paused = tell(state, said)[-1]
    assert isinstance(paused, RunPaused)
    assert (paused.reason, paused.note) == (reason, halt.detail)
    resumed = after(later(after(state, said), 60), ResumeRequested())
    assert [one.items for one in in_flight(resumed)] == [("c1", "c2")]
    done = drive(resumed)
    assert (done.run.status, done.run.credits_used) == ("completed", 1000 - done.account.balance)


def test_a_stage_whose_last_batch_was_halted_is_not_over() -> None:
    state = under_way("c1", "c2")
    last = in_flight(state)[0]
    assert last.last
    state = after(state, report(last, deferred=("c2",), halt=BUSY))
    assert (state.run.is_open, state.run.reported, state.run.settled) == (True, None, {"c1"})
    (timer,) = (state.run.timer,)
    state = after(later(state, 30), TimerElapsed(timer_id=timer or ""))
    assert drive(state).run.status == "completed"


def test_batches_side_by_side_that_are_halted_wait_once() -> None:
    state = under_way("c1", "c2", "c3", size=1, parallel=2)
    one, other = in_flight(state)
    first = tell(state, report(one, deferred=one.items, halt=BUSY))
    state = after(state, report(one, deferred=one.items, halt=BUSY))
    second = tell(state, report(other, deferred=other.items, halt=DOWN))
    assert names([*first, *second]).count("TimerSet") == 1
    assert not requests(second)


def test_a_run_that_is_paused_or_over_is_not_paused_by_its_provider() -> None:
    state = under_way("c1")
    said = report(in_flight(state)[0], deferred=("c1",), halt=LOCKED)
    for command in (PauseRequested(), CancelRequested()):
        assert "RunPaused" not in names(tell(after(state, command), said))


def test_what_a_halt_defers_of_a_cancelled_run_waits_for_the_next() -> None:
    state = after(under_way("c1", "c2"), CancelRequested())
    said = report(in_flight(under_way("c1", "c2"))[0], deferred=("c2",), halt=BUSY)
    state = after(state, said)
    assert state.site.waiting(2) == ("c2",)
    assert not state.account.holds


def test_only_a_halt_defers_and_only_what_was_asked_for() -> None:
    state = under_way("c1", "c2")
    asked = in_flight(state)[0]
    unfounded = report(asked, deferred=("c2",))
    recorded = tell(state, unfounded)[0]
    assert isinstance(recorded, StageBatchCompleted)
    assert (recorded.deferred, [one.error for one in recorded.outcomes][1]) == (
        (),
        "the worker reported nothing for this item",
    )
    foreign = report(asked, deferred=("c2",), halt=BUSY).model_copy(
        update={"deferred": ("c2", "c9", "c1")}
    )
    recorded = tell(state, foreign)[0]
    assert isinstance(recorded, StageBatchCompleted)
    assert (recorded.deferred, [one.item for one in recorded.outcomes]) == (("c2",), ["c1"])


def test_calls_of_deferred_items_are_paid() -> None:
    state = under_way("c1", "c2")
    before = state.account.balance
    said = report(in_flight(state)[0], deferred=("c2",), halt=BUSY)
    assert after(state, said).account.balance == before - 1
