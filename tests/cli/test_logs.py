"""One record is one line, whatever was logged."""

import json
import logging

import pytest

from services.logs import KafkaClient, OneLine, bound, printable

NASTY = "a\r\nb\x1b[31mc\u2028d\x9b2Je\x7f"


KEY = "sk_0123456789abcdefghij-_ABCDEFGHIJklmnopqrst"
TOKEN = 'a token of "mine"'


def line(message: str, *, error: BaseException | None = None, **extra: object) -> str:
    record = logging.getLogger("test").makeRecord(
        "test", logging.WARNING, "file", 1, message, (), None, extra=extra
    )
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return OneLine("api", [TOKEN, "at"]).format(record)


def test_no_text_can_forge_a_record_or_move_a_cursor() -> None:
    text = line(NASTY, error=ValueError(NASTY), title=NASTY)
    assert text.isascii()
    assert text.isprintable()
    fields = json.loads(text)
    assert fields["message"] == fields["title"] == NASTY
    assert "ValueError" in fields["error"]


def test_bound_ids_are_on_every_record_inside() -> None:
    with bound(account="account-1", site="site-1"), bound(run="run-1", stage=4):
        inside = json.loads(line("batch done", items=5))
    outside = json.loads(line("idle"))
    assert {name: inside[name] for name in ("account", "site", "run", "stage", "items")} == {
        "account": "account-1",
        "site": "site-1",
        "run": "run-1",
        "stage": 4,
        "items": 5,
    }
    assert not {"account", "site", "run", "stage"} & set(outside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"the key {KEY}.", "the key [secret]."),
        (f"{{'authorization': 'Bearer {KEY}'}}", "{'authorization': 'Bearer [secret]'}"),
        ("[(b'authorization', b'bearer wrong/key=')]", "[(b'authorization', b'bearer [secret]')]"),
        ("postgresql://user:pass@host/db", "postgresql://[secret]@host/db"),
        ("key sk-proj-0123456789abcdef, given", "key [secret], given"),
        (f"token={TOKEN}", "token=[secret]"),
        ("task_of sk_1 at http://host/a@b", "task_of sk_1 at http://host/a@b"),
    ],
)
def test_secrets_are_blotted_out_wherever_they_stand(text: str, expected: str) -> None:
    fields = json.loads(line(text, error=ValueError(text), header=text, parts=[text]))
    assert fields["message"] == fields["header"] == expected
    assert fields["parts"] == [expected]
    assert fields["error"].endswith(f"ValueError: {expected}")
    assert set(fields) >= {"at", "level", "service", "logger"}


def test_a_record_says_when_how_bad_and_who() -> None:
    fields = json.loads(line("hello"))
    assert fields["at"].endswith("Z")
    assert (fields["level"], fields["service"], fields["logger"]) == ("WARNING", "api", "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain é", "plain é"), ("a\nb", "a\\nb"), ("\x1b[0m", "\\x1b[0m"), ("\u202e", "\\u202e")],
)
def test_printable_spells_control_characters_out(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_the_kafka_client_repeats_itself_once_in_a_while_and_alarms_nobody(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)

    def said(at: float, name: str = "aiokafka.fetcher", text: str = "node %s is away") -> str:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, (at,), None)
        record.created = at
        return record.levelname if kept.filter(record) else "-"

    kept = KafkaClient()
    assert [said(at) for at in (0.0, 0.1, 9.9, 10.0, 10.1)] == ["INFO", "-", "-", "INFO", "-"]
    assert said(10.1, text="another thing") == "INFO"
    assert [said(10.1, "septet") for _ in range(3)] == ["ERROR"] * 3
