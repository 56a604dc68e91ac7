"""What was broken once: each of these has failed, and stays here so that it does not again."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError
from pydantic import ValidationError

from events.commands import (
    CancelRequested,
    ConfigUpdateRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.config import Config, ConfigChanges
from events.content import AiCall, Outcome
from events.run import StageCompleted
from events.site import ConfigUpdated
from services.invariants import violations
from services.orchestrator.rules.schedule import next_run_at
from services.orchestrator.rules.state import Run
from tests.builders import (
    READY,
    RUN,
    SITE,
    Scene,
    after,
    answer,
    config,
    decide,
    given,
    in_flight,
    keywords,
    names,
    refusal,
    report,
    stage_report,
    started,
    tell,
    waiting,
)


def test_a_cluster_that_a_late_report_names_again_is_not_taken_up_again() -> None:
    """Keywords of one cluster lie in two batches; the second reports after a cancel."""
    both = {"k1": "cl", "k2": "cl"}
    state = started(keywords("k1", "k2"), stage_1_batch_size=1)[1]
    state = after(state, report(in_flight(state)[0], clusters=both))
    late = in_flight(state)[0]
    cancelled = after(state, CancelRequested())
    second = after(replace(cancelled, run=Run(id="run-b")), RunRequested())
    ideas = in_flight(second)[0]
    assert (ideas.stage, ideas.items) == (2, ("cl",))
    second = after(second, report(ideas))
    reported = after(replace(second, run=cancelled.run), report(late, clusters=both))
    assert reported.site.waiting(2) == ()  # promise 2: an item is processed once per stage


def test_a_message_that_names_a_run_and_another_site_is_refused() -> None:
    scene = Scene().furnish(sites=(SITE, "site-b"))
    for site, run in ((SITE, "run-a"), ("site-b", "run-b")):
        scene.submit("k1", site=site)
        scene.send(RunRequested(), site=site, run=run)
    *_, receipt = scene.send(CancelRequested(), site=SITE, run="run-b")
    assert receipt.code == "not_found"
    assert violations(scene.log()) == []


def test_what_is_foreign_reads_exactly_as_what_is_unknown() -> None:
    scene = Scene().furnish()
    scene.submit("k1")
    scene.send(RunRequested(), run=RUN)
    for command in (RunRequested(), PauseRequested()):
        foreign = scene.send(command, account="account-b", run=RUN)
        unknown = scene.send(command, account="account-b", site="site-x", run="run-x")
        assert foreign == unknown


def test_a_refusal_is_never_decided_on_what_another_orchestrator_has_changed() -> None:
    here = Scene().furnish(amount=0)
    there = Scene(here.store)
    here.submit("k1", "k2")
    assert here.send(RunRequested(), run=RUN, id_="cmd-1")[-1].TYPE == "MessageRefused"
    there.sent = 100
    there.grant(1000)
    here.send(RunRequested(), run="run-b", id_="cmd-2")
    assert here.receipt("cmd-2").TYPE == "MessageAccepted"


def test_a_report_is_never_dropped_for_what_another_orchestrator_has_asked_for() -> None:
    here = Scene().furnish()
    here.submit("k1")
    here.send(RunRequested(), run=RUN)  # remembered here: stage 1 in flight
    there = Scene(here.store)
    there.sent = 100
    for _ in range(2):  # the site's partition has moved: the other one goes on to stage 2
        (request,) = there.open_requests()
        there.handle(answer(request, report(request.message), there.now))
        there.handle(answer(request, stage_report(request.message), there.now))
    (request,) = here.open_requests()  # and back again
    events = here.handle(answer(request, report(request.message), here.now))
    assert names(events)[0] == "StageBatchCompleted"


def test_orchestrators_that_take_turns_bring_a_run_to_its_end() -> None:
    scene = Scene().furnish()
    scene.submit("k1", "k2")
    scene.send(RunRequested(), run=RUN)
    handlers = [scene.handler, scene.restarted(), scene.restarted()]
    for turn in range(30):
        for request in scene.open_requests():
            said = answer(request, report(request.message), scene.now)
            assert handlers[turn % 3].handle([said]) == []
            if request.message.last:
                said = answer(request, stage_report(request.message), scene.now)
                assert handlers[(turn + 1) % 3].handle([said]) == []
    assert names(scene.stream(RUN))[-1] == "RunCompleted"
    assert violations(scene.log()) == []


def test_an_append_whose_answer_was_lost_leaves_no_wrong_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One orchestrator, one lost answer: what it remembers is older than the store."""
    scene = Scene().furnish()
    scene.submit("k1")
    scene.send(RunRequested(), run=RUN)
    real = scene.store.recorder.insert_events

    def lose_the_answer(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise OSError

    message = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    with monkeypatch.context() as patch, suppress(OSError):
        patch.setattr(scene.store.recorder, "insert_events", lose_the_answer)
        scene.handler.handle([message])
    assert scene.handler.handle([message]) == []
    assert names(scene.send(ResumeRequested(), run=RUN))[0] == "RunResumed"


def test_a_store_that_is_away_for_a_moment_is_no_messages_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene().furnish()
    recorder, failures = scene.store.recorder, iter([True, True])
    real = {name: getattr(recorder, name) for name in ("insert_events", "select_events")}

    def flaky(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(failures, False):
                raise OperationalError("the store is away")
            return real[name](*args, **kwargs)

        return call

    for name in real:
        monkeypatch.setattr(recorder, name, flaky(name))
    message = scene.envelope(PauseRequested(), id_="cmd-1", run=RUN)
    for _ in range(3):
        with suppress(OSError):  # the process starts again, and the message comes again
            assert scene.handler.handle([message]) == []
    assert scene.receipt("cmd-1").code == "not_found"


@pytest.mark.parametrize(
    ("zone", "time", "at"),
    [
        ("Europe/Berlin", "02:30", "2026-10-25 01:10"),
        ("America/New_York", "01:30", "2026-11-01 06:10"),
        ("Australia/Lord_Howe", "01:45", "2026-04-04 15:10"),
    ],
)
def test_the_next_slot_lies_ahead_also_in_an_hour_that_comes_twice(
    zone: str, time: str, at: str
) -> None:
    """Else the slot's command has its receipt already, and the schedule stands still for ever."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    slot = next_run_at(Config(is_enabled=True, timezone=zone, scheduled_time=time), moment)
    assert slot is not None
    assert slot > moment


def test_a_batch_that_costs_nothing_is_counted_as_it_was_recorded() -> None:
    state = started(*waiting(3, "i1", "i2"))[1]
    request = in_flight(state)[0]
    full = report(request)
    forgetful = report(request.model_copy(update={"items": ("i1",)}))
    assert len(full.outcomes) == 2
    state = after(state, forgetful)
    completed = tell(state, stage_report(request))[0]
    assert isinstance(completed, StageCompleted)
    assert (completed.items_done, completed.items_failed, completed.partial) == (1, 1, True)


def test_an_item_that_a_report_names_twice_is_settled_once() -> None:
    state = started(*waiting(2, "c1"))[1]
    full = report(in_flight(state)[0])
    twice = (*full.outcomes, Outcome(item="c1", error="and again"))
    recorded, moved, *_ = tell(state, full.model_copy(update={"outcomes": twice}))
    assert len(recorded.outcomes) == 1
    assert len({*moved.done, *moved.failed}) == len([*moved.done, *moved.failed])


def test_a_call_never_costs_less_than_nothing() -> None:
    with pytest.raises(ValidationError):
        AiCall(function="write_article", model="m", status="succeeded", credits_used=-5)


def test_a_change_of_a_batch_size_does_not_skip_a_slot_that_is_due() -> None:
    due = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    scheduled = Config(is_enabled=True, scheduled_time="09:00")
    state = given(*READY, ConfigUpdated(config=scheduled, next_run_at=due), keywords("k1"))
    changes = ConfigChanges(stage_4_batch_size=2)
    changed = after(state, ConfigUpdateRequested(changes=changes))
    assert decide(changed, RunRequested(trigger_type="scheduled", slot=due))[-1].TYPE == (
        "MessageAccepted"
    )


def test_a_resume_that_cannot_go_on_is_refused_also_between_two_stages() -> None:
    state = given(*READY, *waiting(4, "x"), config(between_stage_delay=5))
    state = after(state, RunRequested())
    last = in_flight(state)[0]
    state = after(state, report(last, cost=1000), stage_report(last), PauseRequested())
    assert state.run.timer is not None
    state = after(state, TimerElapsed(timer_id=state.run.timer))
    assert refusal(state, ResumeRequested())[0] == "insufficient_credits"
