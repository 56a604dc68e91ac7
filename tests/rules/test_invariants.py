"""The checks themselves: a log that is as promised passes, one that was tampered with does not."""

from dataclasses import replace
from functools import cache

import pytest

from events.commands import CancelRequested, CreditsRequested, RunRequested
from events.message import Message
from events.receipts import MessageAccepted
from events.run import MessageReplayed, MessageSetAside, StageBatchRequested
from services.invariants import violations
from services.orchestrator.store import Recorded, Stored
from tests.builders import RUN, Scene, answer, report, stage_report
from tests.rules.lies import TRUE, lies_in, names_of_checks, noticed_by
from tests.rules.witnesses import BY_HAND, NOT_ALONE, WITNESSES


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
def test_no_event_can_be_missing(number: int) -> None:
    assert violations(without(number)), LOG[number].placed.envelope.message.TYPE


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


# --- what is told of a run beside what happens to it

NOTE = MessageSetAside(
    consumer="projector",
    message_id="msg-9",
    message_type="RunPaused",
    attempt=1,
    origin="septet.run-events/0/0",
    error="KeyError: 'x'",
)


def noted(*notes: Message, run: str = RUN) -> list[Stored]:
    """Return the log of a whole run with these notes after its end, whatever the rules say."""
    scene = Scene()
    version = sum(one.stream == run for one in LOG)
    new = []
    for number, note in enumerate(notes, 1):
        told = scene.envelope(note, run=run, id_=f"note-{number}")
        receipt = MessageAccepted(kind=note.TYPE)
        new += [
            Recorded(run, version + number, told.reply(note, 0, scene.now)),
            Recorded(f"receipt-{told.id}", 1, told.reply(receipt, 1, scene.now)),
        ]
    scene.store.append(new)
    last = LOG[-1].placed.position
    later = [
        replace(one, placed=replace(one.placed, position=one.placed.position + last))
        for one in scene.log()
    ]
    return [*LOG, *later]


def test_a_note_may_follow_the_end_of_its_run() -> None:
    again = NOTE.model_copy(update={"attempt": 2})
    handled = MessageReplayed(**NOTE.model_dump(exclude={"origin", "error"}))
    assert violations(noted(NOTE, again, handled)) == []


@pytest.mark.parametrize(
    ("notes", "run", "what"),
    [
        ((NOTE, NOTE), RUN, "it is noted already"),
        ((NOTE.model_copy(update={"attempt": 0}),), RUN, "attempts count from 1"),
        ((NOTE,), "run-none", "the run has not begun"),
    ],
)
def test_a_note_is_told_once_of_a_run_that_began(
    notes: tuple[Message, ...], run: str, what: str
) -> None:
    assert any(what in line for line in violations(noted(*notes, run=run)))


def test_a_note_comes_with_its_receipt_alone() -> None:
    log = noted(NOTE, MessageReplayed(**NOTE.model_dump(exclude={"origin", "error"})))
    together = [*log[: len(LOG) + 1], *log[len(LOG) + 2 :]]  # without the receipt between the two
    assert any("it stands in an append with" in line for line in violations(together))


NAMES = names_of_checks()


@cache
def lies_of(name: str) -> dict[str, list[Stored]]:
    """Return those lies about one of the true logs that are witnesses."""
    wanted = set(WITNESSES.values())
    return {lie.what: lie.log() for lie in lies_in(name, TRUE[name]().log()) if lie.what in wanted}


@pytest.mark.parametrize("name", TRUE)
def test_the_logs_that_lies_are_told_about_are_as_promised(name: str) -> None:
    assert violations(TRUE[name]().log()) == []


@pytest.mark.parametrize("check", WITNESSES)
def test_a_check_notices_what_no_other_does(check: str) -> None:
    """So leaving any of them out would let something pass."""
    line, what = NAMES[check], WITNESSES[check]
    lie = lies_of(what.split(":")[0])[what]
    assert noticed_by(lie) == {line}
    assert noticed_by(lie, without=line) == set()


def test_checks_that_stand_beside_another_are_known() -> None:
    """A new check needs a lie that only it notices."""
    assert set(NAMES) - set(WITNESSES) - BY_HAND == NOT_ALONE
