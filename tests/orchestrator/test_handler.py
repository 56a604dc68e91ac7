"""One message, one append, one outcome: whatever is redelivered, raced, failing or buggy."""

from collections.abc import Sequence
from typing import Any

import pytest

from events.commands import CancelRequested, PauseRequested, ResumeRequested, RunRequested
from events.envelope import Envelope
from events.message import Event, Message
from events.receipts import MessageAccepted, MessageRefused
from events.run import StageBatchRequested
from events.trace import trace_of
from services.invariants import violations
from services.orchestrator import handler as module
from services.orchestrator.handler import Handler
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from services.orchestrator.store import Recorded, StaleWriter
from tests.builders import ACCOUNT, RUN, SITE, Scene, answer, names, report, stage_report


def ready() -> Scene:
    scene = Scene().furnish()
    scene.submit("k1", "k2", "k3")
    return scene


def running() -> Scene:
    scene = ready()
    scene.send(RunRequested(), run=RUN)
    return scene


def everything(scene: Scene) -> list[tuple[str, int, Message]]:
    return [(one.stream, one.version, one.placed.envelope.message) for one in scene.log()]


def commands(scene: Scene) -> list[Envelope]:
    """Commands of a run, each with its own id, that mostly follow from each other."""
    scene.sent = 1000
    kinds = [RunRequested, PauseRequested, PauseRequested, ResumeRequested, CancelRequested]
    return [scene.envelope(kind(), run=RUN) for kind in kinds]


# --- duplicates


def test_a_message_that_comes_again_has_the_same_one_outcome() -> None:
    scene = running()
    message = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    assert names(scene.handle(message)) == ["RunPaused", "MessageAccepted"]
    for _ in range(3):
        assert scene.handle(message) == []
    scene.handler = scene.restarted()
    assert scene.handle(message) == []
    assert scene.receipt("cmd-1").TYPE == "MessageAccepted"


def test_a_refusal_is_an_outcome_too_also_when_it_would_be_accepted_later() -> None:
    scene = running()
    message = scene.envelope(ResumeRequested(), run=RUN, id_="cmd-1")
    scene.handle(message)
    scene.send(PauseRequested(), run=RUN)
    assert scene.handle(message) == []
    assert scene.receipt("cmd-1").TYPE == "MessageRefused"


def test_duplicates_in_one_group_have_one_outcome() -> None:
    scene = running()
    message = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    assert scene.handler.handle([message, message, message]) == []
    assert names(scene.stream(RUN)).count("RunPaused") == 1


def test_a_group_with_one_known_message_handles_the_others() -> None:
    scene = running()
    known = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    scene.handle(known)
    fresh = scene.envelope(ResumeRequested(), run=RUN, id_="cmd-2")
    assert scene.handler.handle([known, fresh, known]) == []
    assert names(scene.stream(RUN))[-2:] == ["RunPaused", "RunResumed"]
    assert violations(scene.log()) == []


# --- reports that a broker without its data gets in another order


@pytest.mark.parametrize("polls", ["one", "several"])
def test_a_stage_report_that_is_early_counts_when_it_comes_again(polls: str) -> None:
    scene = running()
    [request] = scene.open_requests()
    assert isinstance(request.message, StageBatchRequested)
    of_batch = answer(request, report(request.message), scene.now)
    of_stage = answer(request, stage_report(request.message), scene.now)
    came = [of_stage, of_batch, of_stage, of_stage]
    for poll in [came] if polls == "one" else [[one] for one in came]:
        assert scene.handler.handle(poll) == []
    said = names(scene.stream(RUN))
    assert said.count("StageCompleted") == 1
    assert said[-2:] == ["StageStarted", "StageBatchRequested"]
    assert violations(scene.log()) == []


# --- groups


def test_a_group_has_the_outcome_of_its_messages_one_by_one() -> None:
    together, alone = ready(), ready()
    together.handler.handle(commands(together))
    for command in commands(alone):
        alone.handler.handle([command])
    assert everything(together) == everything(alone)
    assert violations(together.log()) == []


def test_a_group_is_one_append() -> None:
    scene = ready()
    appends = list[int]()
    real = scene.store.append

    def count(recorded: Sequence[Recorded]) -> None:
        appends.append(len(recorded))
        real(recorded)

    scene.store.append = count
    scene.handler.handle(commands(scene))
    assert len(appends) == 1


def test_an_empty_group_is_nothing() -> None:
    scene = ready()
    assert scene.handler.handle([]) == []


# --- bugs of ours


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(state: State, message: Message) -> list[Event]:
        if isinstance(message, PauseRequested):
            raise KeyError("a bug")
        return decide(state, message)

    monkeypatch.setattr(module, "decide", follow)


@pytest.mark.usefixtures("buggy")
def test_a_bug_is_refused_as_internal_error_and_stops_nothing_else() -> None:
    scene = ready()
    group = [
        scene.envelope(RunRequested(), run=RUN, id_="cmd-1"),
        scene.envelope(PauseRequested(), run=RUN, id_="cmd-2"),
        scene.envelope(CancelRequested(), run=RUN, id_="cmd-3"),
    ]
    ((envelope, error),) = scene.handler.handle(group)
    assert (envelope.id, type(error)) == ("cmd-2", KeyError)
    assert scene.stream("receipt-cmd-2") == []  # until its dead letter is safe
    scene.handler.give_up(envelope)
    scene.handler.give_up(envelope)
    refused = scene.receipt("cmd-2")
    assert isinstance(refused, MessageRefused)
    assert refused.code == "internal_error"
    assert "KeyError" not in refused.detail
    assert [scene.receipt(id_).TYPE for id_ in ("cmd-1", "cmd-3")] == ["MessageAccepted"] * 2
    assert violations(scene.log()) == []


@pytest.mark.usefixtures("buggy")
def test_a_message_that_hit_a_bug_is_not_tried_again() -> None:
    scene = running()
    message = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    assert len(scene.handler.handle([message, message])) == 1
    scene.handler.give_up(message)
    before = scene.last_position
    ((again, error),) = scene.handler.handle([message])
    assert (again.id, type(error)) == ("cmd-1", module.KnownBug)
    assert (scene.last_position, len(scene.stream("receipt-cmd-1"))) == (before, 1)


# --- several orchestrators


def test_a_writer_whose_memory_is_old_decides_again() -> None:
    here = running()
    there = here.restarted()
    cancel = here.envelope(CancelRequested(), run=RUN)
    assert there.handle([here.envelope(PauseRequested(), run=RUN)]) == []
    assert here.handler.handle([cancel]) == []  # it remembers the run as running
    assert isinstance(here.receipt(cancel.id), MessageAccepted)
    assert names(here.stream(RUN))[-2:] == ["RunPaused", "RunCancelled"]
    assert violations(here.log()) == []


def test_two_handlers_start_one_run_whatever_each_remembers() -> None:
    here = ready()
    there = here.restarted()
    here.send(RunRequested(), run="run-a", id_="cmd-a")
    second = here.envelope(RunRequested(), run="run-b", id_="cmd-b")
    there.handle([second])
    here.handler.handle([second])
    assert here.receipt("cmd-b").code == "run_already_active"
    assert violations(here.log()) == []


# --- a store that fails


class Away(OSError):
    """The store cannot be reached."""


def test_a_failing_append_is_raised_and_leaves_no_wrong_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = running()
    message = scene.envelope(PauseRequested(), run=RUN, id_="cmd-1")
    with monkeypatch.context() as patch:
        patch.setattr(scene.store.recorder, "insert_events", away)
        with pytest.raises(Away):
            scene.handler.handle([message])
    assert scene.handler.handle([message]) == []
    assert names(scene.stream(RUN)).count("RunPaused") == 1
    assert names(scene.send(ResumeRequested(), run=RUN))[0] == "RunResumed"
    assert violations(scene.log()) == []


def away(*_: Any, **__: Any) -> Any:
    raise Away


def test_a_writer_that_keeps_losing_gives_up_with_nothing_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = running()
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    before = scene.last_position

    def lose(recorded: Sequence[Recorded]) -> None:
        raise StaleWriter(recorded[-1].originator_id)

    monkeypatch.setattr(scene.store, "append", lose)
    with pytest.raises(TimeoutError):
        scene.handler.handle([scene.envelope(PauseRequested(), run=RUN)])
    assert scene.last_position == before


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    scene = ready()
    scene.send(RunRequested(), run=RUN)
    assert len(scene.handler._seen) == 2
    assert names(scene.send(PauseRequested(), run=RUN))[0] == "RunPaused"


def test_replies_say_what_they_follow_from_and_keep_whom_they_concern() -> None:
    scene = ready()
    message = scene.envelope(RunRequested(), run=RUN, id_="cmd-1").model_copy(
        update={"actor": "key-7", "traceparent": trace_of("mine")}
    )
    scene.handle(message)
    replies = [one.placed.envelope for one in scene.log() if one.placed.envelope.cause == "cmd-1"]
    assert {(one.actor, one.traceparent) for one in replies} == {("key-7", trace_of("mine"))}
    whom = {(one.account_id, one.site_id, one.run_id) for one in replies}
    assert whom == {(ACCOUNT, SITE, RUN)}
    assert len({one.id for one in replies}) == len(replies)


def test_the_same_messages_leave_the_same_bytes() -> None:
    logs = []
    for _ in range(2):
        scene = ready()
        scene.handler.handle(commands(scene))
        logs.append([one.body for one in scene.log()])
    assert logs[0] == logs[1]


def test_a_handler_needs_no_memory() -> None:
    remembering, forgetful = ready(), ready()
    for scene in (remembering, forgetful):
        for command in commands(scene):
            scene.handler.handle([command])
            if scene is forgetful:
                scene.handler = Handler(scene.store, lambda: scene.now, scene.timeout)  # noqa: B023
    assert everything(remembering) == everything(forgetful)
