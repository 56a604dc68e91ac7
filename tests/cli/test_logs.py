"""One record is one line, whatever was logged."""

import json
import logging

import pytest

from services.logs import OneLine, bound, printable

NASTY = "a\r\nb\x1b[31mc\u2028d\x9b2Je\x7f"


def line(message: str, *, error: BaseException | None = None, **extra: object) -> str:
    record = logging.getLogger("test").makeRecord(
        "test", logging.WARNING, "file", 1, message, (), None, extra=extra
    )
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return OneLine("api").format(record)


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
