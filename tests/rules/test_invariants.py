"""The checks themselves: a log that is as promised passes, one that was tampered with does not."""

from dataclasses import replace

import pytest

from events.commands import CancelRequested, CreditsRequested, RunRequested
from events.message import Message
from events.run import StageBatchRequested
from services.invariants import violations
from services.orchestrator.store import Stored
from tests.builders import RUN, Scene, answer, report, stage_report

# An event that says nothing of runs, items or credits may be missing without a contradiction.
INDIFFERENT = {"AccountOpened", "KeyIssued", "SiteCreated", "ConfigUpdated", "KeywordsAdded"}


def whole_run() -> list[Stored]:
    scene = Scene().furnish()
    scene.submit("k1", "k2")
    scene.send(RunRequested(), run=RUN)
    while requests := list(scene.open_requests()):
        asked = requests[0].message
        assert isinstance(asked, StageBatchRequested)
        together = dict.fromkeys(asked.items, "cl") if asked.stage == 1 else None
        said = report(asked, clusters=together, prompts=2)
        scene.handle(answer(requests[0], said, scene.now))
        if asked.last:
            scene.handle(answer(requests[0], stage_report(asked), scene.now))
    return scene.log()


LOG = whole_run()


def changed(number: int, **fields: object) -> list[Stored]:
    """Return the log with another message in one event."""
    one = LOG[number]
    message: Message = one.placed.envelope.message.model_copy(update=fields)
    envelope = one.placed.envelope.model_copy(update={"message": message})
    other = replace(one, placed=replace(one.placed, envelope=envelope))
    return [*LOG[:number], other, *LOG[number + 1 :]]


def without(number: int) -> list[Stored]:
    """Return the log as if one event had never been written: versions close up."""
    gone = LOG[number]
    return [
        replace(one, version=one.version - 1)
        if one.stream == gone.stream and one.version > gone.version
        else one
        for one in LOG
        if one is not gone
    ]


def first(name: str) -> int:
    return next(n for n, one in enumerate(LOG) if name == one.placed.envelope.message.TYPE)


def test_a_log_as_promised_has_no_violations() -> None:
    assert violations(LOG) == []
    assert violations([]) == []


@pytest.mark.parametrize("number", range(len(LOG)))
def test_no_event_that_matters_can_be_missing(number: int) -> None:
    kind = LOG[number].placed.envelope.message.TYPE
    found = violations(without(number))
    assert bool(found) == (kind not in INDIFFERENT), kind


@pytest.mark.parametrize("number", range(len(LOG)))
def test_a_version_that_is_missing_is_noticed(number: int) -> None:
    later = any(one.stream == LOG[number].stream for one in LOG[number + 1 :])
    if later:
        assert violations([*LOG[:number], *LOG[number + 1 :]])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("CreditsSettled", {"amount": 2}),
        ("CreditsHeld", {"amount": 100_000}),
        ("CreditsReleased", {"amount": 1}),
        ("RunStarted", {"required_credits": 1}),
        ("RunStarted", {"available_credits": 1}),
        ("StageBatchRequested", {"attempt": 2}),
        ("StageBatchRequested", {"items": ()}),
        ("StageBatchRequested", {"last": False}),
        ("StageBatchCompleted", {"outcomes": ()}),
        ("StageBatchCompleted", {"batch_id": "batch-x"}),
        ("StageCompleted", {"credits_used": 9}),
        ("StageCompleted", {"items_done": 9}),
        ("StageCompleted", {"partial": True}),
        ("RunCompleted", {"total_credits_used": 9}),
        ("ItemsMoved", {"done": ()}),
        ("SiteReleased", {"taken": ("k1",)}),
    ],
)
def test_a_number_that_does_not_add_up_is_noticed(name: str, fields: dict[str, object]) -> None:
    assert violations(changed(first(name), **fields))


def test_an_event_of_another_tenant_is_noticed() -> None:
    one = LOG[first("RunStarted")]
    envelope = one.placed.envelope.model_copy(update={"account_id": "account-b"})
    other = replace(one, placed=replace(one.placed, envelope=envelope))
    assert violations([other if each is one else each for each in LOG])


def test_events_in_another_order_are_noticed() -> None:
    number = first("StageBatchCompleted")
    assert violations([*LOG[:number], LOG[number + 1], LOG[number], *LOG[number + 2 :]])


def test_an_append_that_was_torn_is_noticed() -> None:
    assert violations(LOG[:-1])


def test_runs_that_were_cancelled_and_topped_up_pass() -> None:
    scene = Scene().furnish()
    scene.submit("k1")
    scene.send(RunRequested(), run=RUN)
    scene.send(CancelRequested(), run=RUN)
    scene.send(CreditsRequested(amount=5, reason="x"), site=None)
    assert violations(scene.log()) == []
