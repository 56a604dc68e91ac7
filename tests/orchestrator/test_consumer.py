"""From records to outcomes: what nobody can follow is set aside, and the rest goes on."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from events.commands import PauseRequested, RunRequested
from events.envelope import Envelope
from events.message import Event, Message
from events.run import RunPaused
from events.topics import (
    COMMANDS,
    DEAD_LETTERS,
    STAGE_REPORTS,
    Record,
    command_record,
    report_record,
)
from services.orchestrator import handler as handler_module
from services.orchestrator.consumer import Consumer
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from tests.builders import RUN, SITE, Scene, failure, names, requested


class Desk:
    """A consumer over a store in memory; what it publishes is in a list."""

    def __init__(self) -> None:
        self.scene = Scene().furnish()
        self.scene.submit("k1")
        self.published: list[Record] = []
        self.appended = asyncio.Event()
        self.consumer = Consumer(self.scene.handler, self._publish, self.appended)

    async def _publish(self, record: Record) -> None:
        self.published.append(record)

    def consume(self, *records: Record) -> list[Record]:
        asyncio.run(self.consumer(records))
        return self.published

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
