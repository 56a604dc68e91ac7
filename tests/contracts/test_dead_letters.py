"""A dead letter can always be sent and says all that is known; its run learns of it, once."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from events import documents
from events.commands import PauseRequested
from events.dead_letters import (
    ADDED,
    attempts,
    dead_letter,
    fingerprint,
    original,
    replayed,
    set_aside,
)
from events.envelope import BadMessage, Envelope
from events.kafka.reading import epoch_in
from events.message import Message
from events.reading import read
from events.receipts import MessageAccepted, MessageRefused
from events.run import MessageReplayed, MessageSetAside
from events.topics import (
    BROKER_EPOCH,
    COMMANDS,
    DEAD_LETTERS,
    STAGE_REPORTS,
    Headers,
    Record,
    command_record,
    is_published,
)

MEBIBYTE = 2**20
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def size_of(record: Record) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def command(message: Message | None = None, **whom: Any) -> Record:
    """Return the record of a command of a run, as it stood in its topic."""
    known = {"account_id": "account-a", "site_id": "site-a", "run_id": "run-a"} | whom
    message = message or PauseRequested()
    envelope = Envelope(**{"id": "cmd-1", "at": AT, "cause": "cmd-1", "message": message} | known)
    return replace(command_record(envelope), partition=3, offset=14)


def with_body(record: Record, **fields: Any) -> Record:
    return replace(record, value=to_json(from_json(record.value or b"") | fields))


def letter_of(record: Record, why: str = "why") -> Record:
    return dead_letter(record, why, "me", AT)


# --- the letter


@pytest.mark.parametrize(
    ("key", "value", "headers", "cut"),
    [
        (b"site-a", b"x" * 20_000_000, (), "body"),
        (b"k" * 2_000_000, b"{}", (), "key"),
        (b"site-a", b"{}", (("h", b"x" * 5_000_000),), "headers"),
        (b"site-a", b"{}", tuple((f"h{n}", b"x" * 1_000) for n in range(2_000)), "headers"),
        (b"k" * 2_000, b"x" * 2_000_000, (("h", b"x" * 20_000),), "body,key,headers"),
        (None, None, (), None),
    ],
)
def test_it_fits_whatever_the_original_was(
    key: bytes | None, value: bytes | None, headers: Headers, cut: str | None
):
    record = Record("septet.commands", key, value, headers, 3, 7)
    letter = dead_letter(record, "e" * 9_999, "me", AT)
    assert (letter.topic, size_of(letter) < MEBIBYTE) == (DEAD_LETTERS, True)
    assert letter.header("septet-origin") == "septet.commands/3/7"
    assert letter.header("septet-cut") == cut
    assert (letter.key, letter.value) != (None, None)


def test_a_body_that_was_cut_tells_its_size_and_its_digest():
    body = b"x" * 2_000_000
    letter = letter_of(Record("t", b"k", body, ()))
    assert letter.header("septet-size") == "2000000"
    assert letter.header("septet-sha256") == hashlib.sha256(body).hexdigest()


def test_what_fits_is_kept_as_it_was():
    original_ = Record("t", b"k", b"\xff{", (("ce_type", b"a"), ("septet-error", b"older")))
    letter = letter_of(original_, "newer")
    assert (letter.key, letter.value, letter.header("septet-cut")) == (b"k", b"\xff{", None)
    assert (letter.header("septet-size"), letter.header("septet-sha256")) == (None, None)
    assert (letter.header("ce_type"), letter.header("septet-error")) == ("a", "newer")


def test_a_letter_says_who_gave_up_when_and_how_often():
    letter = letter_of(command())
    said = {name: letter.header(name) for name in ADDED}
    assert said == {
        "septet-error": "why",
        "septet-origin": "septet.commands/3/14",
        "septet-consumer": "me",
        "septet-attempt": "1",
        "septet-at": "2026-03-02T09:00:00Z",
        "septet-cut": None,
        "septet-size": None,
        "septet-sha256": None,
    }


def test_attempts_travel_with_a_replay_and_count_on():
    record, found = command(), []
    for _ in range(3):
        letter = letter_of(record)
        found.append(attempts(letter))
        record = original(letter, COMMANDS)
    assert found == [1, 2, 3]
    assert (record.key, record.value) == (command().key, command().value)


@pytest.mark.parametrize("strange", [b"", b"-1", b"x", "٣".encode(), b"\xff", b"9" * 400])
def test_an_attempt_that_nobody_counted_is_none(strange: bytes):
    record = replace(command(), headers=(("septet-attempt", strange),))
    assert attempts(record) == 0
    assert attempts(letter_of(record)) == 1


def test_the_same_message_has_one_fingerprint_however_often_it_was_set_aside():
    first = original(letter_of(command()), COMMANDS)
    moved = replace(first, partition=1, offset=99)
    again = original(letter_of(moved, "another error"), COMMANDS)
    assert fingerprint(first) == fingerprint(again)
    others = [
        replace(first, value=b"{}"),
        replace(first, topic=STAGE_REPORTS),
        replace(first, key=b"site-b"),
        replace(first, headers=(*first.headers, ("x", b"y"))),
    ]
    assert len({fingerprint(one) for one in (first, *others)}) == 5


def test_every_header_of_a_letter_is_documented():
    described = documents.asyncapi()["components"]["schemas"]["DeadLetterHeaders"]
    assert set(described["properties"]) == set(ADDED)
    whole = letter_of(command())
    assert {name for name in ADDED if whole.header(name)} == set(described["required"])


# --- its run


def test_the_run_of_a_message_learns_who_could_not_handle_it_and_why():
    letter, report = set_aside(command(), KeyError("x"), "orchestrator", AT)
    assert (letter.topic, letter.header("septet-error")) == (DEAD_LETTERS, "KeyError: 'x'")
    assert (report.topic, report.key) == (STAGE_REPORTS, b"site-a")
    told = read(report)
    assert (told.account_id, told.site_id, told.run_id) == ("account-a", "site-a", "run-a")
    assert (told.cause, told.actor) == ("cmd-1", "system")
    assert told.message == MessageSetAside(
        consumer="orchestrator",
        message_id="cmd-1",
        message_type="PauseRequested",
        attempt=1,
        origin="septet.commands/3/14",
        error="KeyError: 'x'",
    )


def test_a_report_has_one_identity_however_often_it_is_made_and_another_next_time():
    def identity(record: Record, consumer: str = "orchestrator") -> str:
        return read(set_aside(record, KeyError(), consumer, AT)[1]).id

    moved = replace(command(), partition=0, offset=0)
    again = original(letter_of(command()), COMMANDS)
    assert identity(command()) == identity(moved)
    assert len({identity(command()), identity(again), identity(command(), "projector")}) == 3


def test_a_run_is_told_an_errors_first_line_and_no_more_than_fits():
    error = RuntimeError("the first line\nSELECT secret FROM accounts")
    letter, report = set_aside(command(), error, "projector", AT)
    assert read(report).message.error == "RuntimeError: the first line"
    assert "SELECT" in (letter.header("septet-error") or "")
    _, long = set_aside(command(), RuntimeError("x" * 5_000), "projector", AT)
    assert len(read(long).message.error) == 300


UNTRUSTED = {
    "no JSON": lambda record: replace(record, value=b"{"),
    "another account outside": lambda record: with_body(record, account_id="account-b"),
    "another site outside": lambda record: with_body(record, site_id="site-b"),
    "another id outside": lambda record: with_body(record, id="cmd-2"),
    "no run": lambda record: with_body(record, run_id=None),
    "a run that is none": lambda record: with_body(record, run_id="receipt-cmd-1"),
    "a run that no stream is named by": lambda record: with_body(record, run_id="run-../x"),
    "unknown type": lambda record: replace(record, headers=(("ce_type", b"septet.X.v1"),)),
    "no header": lambda record: replace(record, headers=()),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_no_run_is_told_of_what_cannot_be_trusted(kind: str):
    (letter,) = set_aside(UNTRUSTED[kind](command()), BadMessage("no"), "orchestrator", AT)
    assert letter.topic == DEAD_LETTERS


NOTE = {"consumer": "projector", "message_id": "m", "message_type": "X", "attempt": 1}
ENDLESS: dict[str, Message] = {
    "a report of a dead letter": MessageSetAside(**NOTE, origin="t/0/0", error="no"),
    "a report of a replay": MessageReplayed(**NOTE),
    "the refusal of such a report": MessageRefused(kind="MessageSetAside", code="x", detail="x"),
    "a receipt": MessageAccepted(kind="PauseRequested"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_nothing_is_reported_about_a_report(kind: str):
    """Else a projector that cannot project one would have another made of it, for ever."""
    record = command(ENDLESS[kind])
    assert len(set_aside(record, KeyError(), "projector", AT)) == 1
    assert replayed(original(letter_of(record), COMMANDS), "projector", AT) == []


@pytest.mark.parametrize("kind", ["MessageSetAside", "MessageReplayed"])
def test_nobody_waits_for_the_receipt_of_a_report(kind: str):
    assert not is_published(MessageAccepted(kind=kind))


def test_only_what_came_again_is_reported_as_handled():
    assert replayed(command(), "orchestrator", AT) == []
    twice = letter_of(original(letter_of(command()), COMMANDS))
    (report,) = replayed(original(twice, COMMANDS), "orchestrator", AT)
    assert read(report).message == MessageReplayed(
        consumer="orchestrator", message_id="cmd-1", message_type="PauseRequested", attempt=2
    )


# --- what is read beside messages


@pytest.mark.parametrize("strange", [None, b"", b"\xff", b"epoch-\x00", b"hello", b"epoch-" * 20])
def test_what_a_stranger_writes_is_no_name_of_the_brokers_life(strange: bytes | None):
    assert epoch_in(Record(BROKER_EPOCH, b"epoch", strange, ())) is None
    assert epoch_in(Record(BROKER_EPOCH, b"epoch", b"epoch-1", ())) == "epoch-1"
