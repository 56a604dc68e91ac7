"""From records to outcomes: what nobody can follow is set aside, and the rest goes on."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from events.commands import CancelRequested, PauseRequested, RunRequested
from events.dead_letters import original
from events.envelope import Envelope
from events.kafka.connection import NothingSent
from events.message import KNOWN, Event, Message
from events.reading import read
from events.run import RunPaused
from events.topics import (
    COMMANDS,
    DEAD_LETTERS,
    STAGE_REPORTS,
    Record,
    command_record,
    report_record,
)
from services.invariants import violations
from services.orchestrator import handler as handler_module
from services.orchestrator.consumer import Consumer
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from tests.builders import AT, RUN, SITE, Scene, failure, names, requested


class Desk:
    """A consumer over a store in memory; what it publishes is in a list."""

    def __init__(self) -> None:
        self.scene = Scene().furnish()
        self.scene.submit("k1")
        self.published: list[Record] = []
        self.appended = asyncio.Event()
        self.consumer = Consumer(self.scene.handler, self._publish, self.appended, lambda: AT)

    async def _publish(self, record: Record) -> None:
        self.published.append(record)

    def consume(self, *records: Record) -> list[Record]:
        """Return the dead letters so far."""
        asyncio.run(self.consumer(records))
        return [record for record in self.published if record.topic == DEAD_LETTERS]

    def reports(self) -> list[Record]:
        """Return what runs were told so far, and follow it."""
        told = [record for record in self.published if record.topic == STAGE_REPORTS]
        asyncio.run(self.consumer(told))
        return told

    def command(self, message: Message, id_: str, **whom: Any) -> Record:
        return command_record(self.scene.envelope(message, id_=id_, **{"run": RUN, **whom}))


def changed(record: Record, header: str, value: bytes | None) -> Record:
    headers = dict(record.headers) | ({header: value} if value is not None else {})
    if value is None:
        headers.pop(header)
    return replace(record, headers=tuple(headers.items()))


def body_with(record: Record, **fields: Any) -> bytes:
    return to_json(from_json(record.value or b"") | fields)


def test_a_command_gets_its_outcome_and_wakes_the_relay() -> None:
    desk = Desk()
    assert desk.consume(desk.command(RunRequested(), "cmd-1")) == []
    assert desk.scene.receipt("cmd-1").TYPE == "MessageAccepted"
    assert desk.appended.is_set()


POISON = {
    "undecodable": lambda record: replace(record, value=b"\xff\x00"),
    "empty": lambda record: replace(record, value=b""),
    "no body": lambda record: replace(record, value=None),
    "null": lambda record: replace(record, value=b"null"),
    "unknown type": lambda record: changed(record, "ce_type", b"septet.Nothing.v1"),
    "unknown version": lambda record: changed(record, "ce_type", b"septet.RunRequested.v9"),
    "no type": lambda record: changed(record, "ce_type", None),
    "another id": lambda record: changed(record, "ce_id", b"cmd-x"),
    "another account": lambda record: changed(record, "ce_accountid", b"account-b"),
    "another site": lambda record: changed(record, "ce_siteid", b"site-b"),
    "an event": lambda record: changed(record, "ce_type", b"septet.RunPaused.v1"),
    "bad field": lambda record: replace(record, value=body_with(record, trigger_type="magic")),
    "a stream's id of another kind": lambda record: changed(
        replace(record, value=body_with(record, run_id="account-a")), "ce_subject", b"account-a"
    ),
    "a receipt's stream": lambda record: replace(
        record, value=body_with(record, run_id="receipt-cmd-1")
    ),
    "an impossible id": lambda record: replace(record, value=body_with(record, run_id="run-../x")),
    "too large": lambda record: replace(record, value=body_with(record, padding="x" * 600_000)),
    "an id that no store can hold": lambda record: changed(
        replace(record, value=body_with(record, id="cmd-\x00")), "ce_id", b"cmd-\x00"
    ),
    "an endless id": lambda record: replace(record, value=body_with(record, id="x" * 201)),
}


@pytest.mark.parametrize("kind", POISON)
def test_poison_becomes_a_dead_letter_and_the_rest_goes_on(kind: str) -> None:
    desk = Desk()
    bad = POISON[kind](desk.command(RunRequested(), "cmd-bad", run="run-bad"))
    first, last = desk.command(RunRequested(), "cmd-1"), desk.command(PauseRequested(), "cmd-2")
    (letter,) = desk.consume(first, bad, last)
    assert (letter.topic, letter.key, letter.value) == (DEAD_LETTERS, bad.key, bad.value)
    assert letter.header("septet-error")
    assert letter.header("septet-consumer") == "orchestrator"
    assert [desk.scene.receipt(id_).TYPE for id_ in ("cmd-1", "cmd-2")] == ["MessageAccepted"] * 2
    assert desk.scene.stream("receipt-cmd-bad") == []


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (COMMANDS, failure(requested())),
        (COMMANDS, RunPaused()),
        (STAGE_REPORTS, RunPaused()),
        (STAGE_REPORTS, RunRequested()),
    ],
)
def test_what_belongs_on_another_topic_is_set_aside(topic: str, message: Message) -> None:
    desk = Desk()
    record = replace(desk.command(message, "cmd-1"), topic=topic)
    (letter,) = desk.consume(record)
    assert "does not belong" in (letter.header("septet-error") or "")
    assert desk.scene.stream("receipt-cmd-1") == []


def test_a_report_is_followed() -> None:
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    (request,) = desk.scene.open_requests()
    said = request.reply(failure(request.message), 2, desk.scene.now)
    assert desk.consume(report_record(said)) == []
    assert "BatchFailed" in names(desk.scene.stream(RUN))


def test_poison_alone_appends_nothing() -> None:
    desk = Desk()
    before = desk.scene.last_position
    desk.consume(replace(desk.command(RunRequested(), "cmd-1"), value=b"{"))
    assert desk.scene.last_position == before
    assert not desk.appended.is_set()


def test_a_message_that_hits_a_bug_is_refused_and_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def follow(state: State, message: Message) -> list[Event]:
        if isinstance(message, PauseRequested):
            raise ZeroDivisionError
        return decide(state, message)

    monkeypatch.setattr(handler_module, "decide", follow)
    desk = Desk()
    started, paused = desk.command(RunRequested(), "cmd-1"), desk.command(PauseRequested(), "cmd-2")
    (letter,) = desk.consume(started, paused)
    assert letter.value == paused.value
    assert desk.scene.receipt("cmd-2").code == "internal_error"
    assert desk.scene.receipt("cmd-1").TYPE == "MessageAccepted"


def break_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a bug: whatever follows from a pause divides by zero."""

    def follow(state: State, message: Message) -> list[Event]:
        if isinstance(message, PauseRequested):
            raise ZeroDivisionError(message.TYPE)
        return decide(state, message)

    monkeypatch.setattr(handler_module, "decide", follow)


def test_a_bugs_dead_letter_that_could_not_be_sent_is_sent_when_the_message_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_pauses(monkeypatch)
    desk = Desk()
    record = desk.command(PauseRequested(), "cmd-1")

    async def away(_: Record) -> None:
        raise NothingSent("the broker is away")

    desk.consumer = Consumer(desk.scene.handler, away, desk.appended, lambda: AT)
    with pytest.raises(NothingSent):
        desk.consume(record)
    assert desk.scene.stream("receipt-cmd-1") == []  # no outcome before the letter is safe
    desk.consumer = Consumer(desk.scene.handler, desk._publish, desk.appended, lambda: AT)
    (letter,) = desk.consume(record)
    assert letter.value == record.value
    assert desk.scene.receipt("cmd-1").code == "internal_error"


def test_a_message_that_says_again_what_hit_a_bug_makes_one_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timer says what is due every ten seconds, and its row stays due while the bug is there."""
    break_pauses(monkeypatch)
    desk = Desk()
    record = desk.command(PauseRequested(), "cmd-1")
    desk.consume(record, record)
    for _ in range(5):
        letters = desk.consume(record)
    assert len(letters) == 1
    assert len(desk.scene.stream("receipt-cmd-1")) == 1


def test_what_an_operator_sends_again_and_fails_again_is_a_letter_with_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_pauses(monkeypatch)
    desk = Desk()
    (first,) = desk.consume(desk.command(PauseRequested(), "cmd-1"))
    _, second = desk.consume(original(first, COMMANDS))
    assert [one.header("septet-attempt") for one in (first, second)] == ["1", "2"]
    assert len(desk.consume(original(first, COMMANDS))) == 2  # the same replay, said twice
    *_, third = desk.consume(original(second, COMMANDS))
    assert third.header("septet-attempt") == "3"
    assert violations(desk.scene.log()) == []


def test_what_hit_a_bug_is_followed_when_an_operator_sends_it_again_after_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was told `internal_error` keeps that outcome; the second try has one of its own."""
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    with monkeypatch.context() as broken:
        break_pauses(broken)
        (letter,) = desk.consume(desk.command(PauseRequested(), "cmd-2"))
    again = original(letter, COMMANDS)
    assert desk.consume(desk.command(PauseRequested(), "cmd-2")) == [letter]  # by itself: nothing
    assert names(desk.scene.stream(RUN)).count("RunPaused") == 0
    assert desk.consume(again, again) == desk.consume(again) == [letter]
    desk.reports()
    assert names(desk.scene.stream(RUN)).count("RunPaused") == 1
    assert names(desk.scene.stream(RUN))[-2:] == ["MessageSetAside", "MessageReplayed"]
    assert desk.scene.receipt("cmd-2").code == "internal_error"
    assert violations(desk.scene.log()) == []


def test_a_message_that_cannot_even_be_refused_does_not_come_again_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_pauses(monkeypatch)
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    real = desk.scene.store.append

    def append(recorded: Any) -> None:
        if any(one.originator_id == "receipt-cmd-2" for one in recorded):
            raise ValueError("the database refuses this text")
        real(recorded)

    monkeypatch.setattr(desk.scene.store, "append", append)
    bad, good = desk.command(PauseRequested(), "cmd-2"), desk.command(CancelRequested(), "cmd-3")
    assert len(desk.consume(bad, good)) == 1
    assert desk.scene.receipt("cmd-3").TYPE == "MessageAccepted"


# --- what a run is told


def test_a_run_says_what_was_set_aside_and_goes_on_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_pauses(monkeypatch)
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    before = names(desk.scene.stream(RUN))
    desk.consume(desk.command(PauseRequested(), "cmd-2"))
    desk.reports()
    desk.reports()  # at least once
    assert names(desk.scene.stream(RUN)) == [*before, "MessageSetAside"]
    told = desk.scene.stream(RUN)[-1]
    assert (told.message_id, told.consumer, told.attempt) == ("cmd-2", "orchestrator", 1)
    assert violations(desk.scene.log()) == []


def test_an_ended_run_says_so_too() -> None:
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"), desk.command(CancelRequested(), "cmd-2"))
    desk.consume(changed(desk.command(RunRequested(), "x"), "ce_type", b"septet.RunPaused.v1"))
    assert len(desk.reports()) == 1
    assert names(desk.scene.stream(RUN))[-1] == "MessageSetAside"
    assert violations(desk.scene.log()) == []


@pytest.mark.parametrize(
    "whom", [{"run": "run-none"}, {"account": "account-b", "site": SITE, "run": RUN}]
)
def test_a_run_that_is_unknown_or_anothers_is_told_nothing(whom: dict[str, str]) -> None:
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    before = names(desk.scene.stream(RUN))
    desk.consume(
        changed(desk.command(RunRequested(), "x", **whom), "ce_type", b"septet.RunPaused.v1")
    )
    (told,) = desk.reports()
    assert desk.scene.receipt(read(told).id).code == "not_found"
    assert names(desk.scene.stream(RUN)) == before
    assert desk.scene.stream("run-none") == []


def test_a_report_that_hits_a_bug_is_a_letter_and_never_reported_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def follow(_: State, message: Message) -> list[Event]:
        raise ZeroDivisionError(message.TYPE)

    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    monkeypatch.setattr(handler_module, "decide", follow)
    desk.consume(desk.command(PauseRequested(), "cmd-2"))
    (told,) = desk.reports()
    assert len(desk.reports()) == 1
    _, of_report = desk.consume()
    assert (of_report.value, of_report.header("ce_id")) == (told.value, read(told).id)


def test_a_run_says_when_what_was_set_aside_has_been_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.consume(desk.command(RunRequested(), "cmd-1"))
    strange = changed(desk.command(PauseRequested(), "cmd-2"), "ce_position", b"1")
    with monkeypatch.context() as older:  # a release that does not know the message yet
        older.delitem(KNOWN, "septet.PauseRequested.v1")
        (letter,) = desk.consume(strange)
    assert desk.consume(original(letter, COMMANDS)) == [letter]
    desk.reports()
    assert names(desk.scene.stream(RUN))[-2:] == ["RunPaused", "MessageReplayed"]
    assert violations(desk.scene.log()) == []


def test_a_command_in_the_words_of_the_documents_is_followed() -> None:
    """Only the message's own fields and whom it concerns; the rest stands in the headers."""
    desk = Desk()
    record = desk.command(RunRequested(), "cmd-1")
    own = {"account_id": "account-a", "site_id": SITE, "run_id": RUN, "at": "2026-03-02T09:00:00Z"}
    assert desk.consume(replace(record, value=to_json(own | {"trigger_type": "manual"}))) == []
    assert desk.scene.receipt("cmd-1").TYPE == "MessageAccepted"
    (begun, *_) = desk.scene.store.read(RUN)
    assert begun.envelope.cause == "cmd-1"


def test_a_foreign_command_is_refused_and_not_set_aside() -> None:
    desk = Desk()
    record = desk.command(RunRequested(), "cmd-1", account="account-b", site=SITE, run="run-b")
    assert desk.consume(record) == []
    assert desk.scene.receipt("cmd-1").code == "not_found"


def test_what_was_sent_twice_is_followed_once() -> None:
    desk = Desk()
    record = desk.command(RunRequested(), "cmd-1")
    desk.consume(record, record)
    desk.consume(record)
    assert names(desk.scene.stream(RUN)).count("RunStarted") == 1
    assert isinstance(desk.scene.store.read(RUN)[0].envelope, Envelope)
