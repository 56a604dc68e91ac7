"""The transition table: every status of a run against every message."""

import pytest

from events.commands import (
    BatchTimedOut,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.message import Message
from events.run import RunCompleted, RunFailed, RunPaused, RunResumed
from events.site import SiteReleased
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from tests.builders import (
    READY,
    after,
    drive,
    failure,
    given,
    in_flight,
    keywords,
    names,
    report,
    returned,
    stage_report,
    started,
    waiting,
)

STATUSES = ("absent", "running", "paused", "cancelled", "completed", "failed")
FLYING = "in flight"  # the message answers a batch that is in flight
STRAY = "stray"  # it answers a batch that nobody waits for


def run_that_is(status: str) -> State:
    _, running = started(keywords("k1", "k2"))
    match status:
        case "absent":
            return given(*READY, keywords("k1", "k2"))
        case "running":
            return running
        case "paused":
            return after(running, PauseRequested())
        case "cancelled":
            return after(running, CancelRequested())
        case "completed":
            return drive(running)
        case _:
            timed_out = running
            for attempt in (1, 2, 3):
                request = in_flight(timed_out)[0]
                command = BatchTimedOut(stage=1, batch_id=request.batch_id, attempt=attempt)
                timed_out = after(timed_out, command)
            return timed_out


def flying(state: State, kind: str) -> Message:
    request = (in_flight(state) or in_flight(run_that_is("running")))[0]
    messages: dict[str, Message] = {
        "StageBatchCompleted": report(request),
        "BatchFailed": failure(request),
        "BatchReturned": returned(request),
        "BatchTimedOut": BatchTimedOut(
            stage=request.stage, batch_id=request.batch_id, attempt=request.attempt
        ),
        "StageCompleted": stage_report(request),
    }
    return messages[kind]


COMMANDS: dict[str, Message] = {
    "RunRequested": RunRequested(),
    "PauseRequested": PauseRequested(),
    "ResumeRequested": ResumeRequested(),
    "CancelRequested": CancelRequested(),
    "TimerElapsed": TimerElapsed(timer_id="timer-x"),
}
REPORTS = ("StageBatchCompleted", "BatchFailed", "BatchReturned", "BatchTimedOut", "StageCompleted")

# What comes before the receipt, by status: `-` nothing, `no outcome` not even a receipt, else the
# event that leads, or the refusal.
TABLE = {
    # message: absent, running, paused, cancelled (a batch in flight), completed, failed
    "RunRequested": ("SiteOccupied", *["invalid_transition"] * 5),
    "PauseRequested": ("not_found", "RunPaused", *["invalid_transition"] * 4),
    "ResumeRequested": (
        "not_found",
        "invalid_transition",
        "RunResumed",
        *["invalid_transition"] * 3,
    ),
    "CancelRequested": (
        "not_found",
        "RunCancelled",
        "RunCancelled",
        *["invalid_transition"] * 3,
    ),
    "TimerElapsed": ("-",) * 6,
    "StageBatchCompleted": ("-", *["StageBatchCompleted"] * 3, "-", "-"),
    "BatchFailed": ("-", *["BatchFailed"] * 3, "-", "-"),
    "BatchReturned": ("-", *["BatchReturned"] * 3, "-", "-"),
    "BatchTimedOut": ("-", *["BatchExpired"] * 3, "-", "-"),
    "StageCompleted": ("-", *["no outcome"] * 3, "-", "-"),  # its batch is not recorded yet
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("kind", TABLE)
def test_the_transition_table(kind: str, status: str) -> None:
    state = run_that_is(status)
    assert state.run.status == status
    message = COMMANDS.get(kind) or flying(state, kind)
    expected = TABLE[kind][STATUSES.index(status)]
    if expected == "no outcome":
        assert decide(state, message) == []
        return
    *events, receipt = decide(state, message)
    if expected in {"not_found", "invalid_transition"}:
        assert (names(events), receipt.code) == ([], expected)
        if status != "absent":
            assert receipt.numbers == {"run_status": status}
    else:
        assert receipt.TYPE == "MessageAccepted"
        assert (names(events) or ["-"])[0] == expected


@pytest.mark.parametrize("status", ["cancelled", "completed", "failed"])
@pytest.mark.parametrize("kind", TABLE)
def test_final_is_final(kind: str, status: str) -> None:
    state = run_that_is(status)
    message = COMMANDS.get(kind) or flying(state, kind)
    later = after(state, message)
    assert later.run.status == status
    assert "StageBatchRequested" not in names(decide(state, message))
    assert "RunResumed" not in names(decide(state, message))


def test_a_pause_is_only_a_pause() -> None:
    _, running = started(keywords("k1"))
    assert decide(running, PauseRequested())[:-1] == [RunPaused()]


def test_a_resume_while_a_batch_is_in_flight_asks_for_nothing() -> None:
    _, running = started(keywords("k1"))
    assert decide(after(running, PauseRequested()), ResumeRequested())[:-1] == [RunResumed()]


def test_a_run_ends_after_its_seventh_stage_and_gives_its_site_back() -> None:
    _, running = started(keywords("k1"))
    state = drive(running, until=7)
    review = in_flight(state)[0]
    events = decide(after(state, report(review)), stage_report(review))
    completed = RunCompleted(total_credits_used=state.run.credits_used)
    assert names(events)[:1] == ["StageCompleted"]
    assert events[1:3] == [completed, SiteReleased()]
    assert names(events)[3:] == ["CreditsReleased", "MessageAccepted"]


def test_the_next_run_takes_what_the_last_one_left() -> None:
    state = drive(started(keywords("k1", "k2", "k3"), max_items_per_stage=2)[1])
    assert state.site.waiting(1) == ("k3",)
    assert state.site.active is None


def test_a_run_that_failed_says_why_to_a_person() -> None:
    state = run_that_is("running")
    for attempt in (1, 2, 3):
        batch = in_flight(state)[0].batch_id
        events = decide(state, BatchTimedOut(stage=1, batch_id=batch, attempt=attempt))
        state = after(state, BatchTimedOut(stage=1, batch_id=batch, attempt=attempt))
    failed = events[1]
    assert isinstance(failed, RunFailed)
    assert "did not answer 3 times within 600 seconds" in failed.error_message


@pytest.mark.parametrize("stage", [2, 3, 4, 5, 6, 7])
def test_every_stage_can_be_paused_and_resumed(stage: int) -> None:
    _, running = started(*waiting(stage, "x"))
    request = in_flight(running)[0]
    paused = after(running, PauseRequested(), report(request), stage_report(request))
    assert (paused.run.status, in_flight(paused)) == ("paused", [])
    ended = drive(after(paused, ResumeRequested()))
    assert ended.run.status == "completed"
