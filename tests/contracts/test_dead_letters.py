"""A dead letter can always be sent: what is too large is cut, and says so."""

import pytest

from events.dead_letters import dead_letter
from events.topics import DEAD_LETTERS, Headers, Record

MEBIBYTE = 2**20


def size_of(record: Record) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"site-a", b"x" * 20_000_000, ()),
        (b"k" * 2_000_000, b"{}", ()),
        (b"site-a", b"{}", (("h", b"x" * 5_000_000),)),
        (b"site-a", b"{}", tuple((f"h{n}", b"x" * 1_000) for n in range(2_000))),
        (None, None, ()),
    ],
)
def test_it_fits_whatever_the_original_was(
    key: bytes | None, value: bytes | None, headers: Headers
):
    letter = dead_letter(Record("septet.commands", key, value, headers, 3, 7), "e" * 9_999, "me")
    assert (letter.topic, size_of(letter) < MEBIBYTE) == (DEAD_LETTERS, True)
    assert letter.header("septet-origin") == "septet.commands/3/7"
    assert (letter.key, letter.value) != (None, None)


def test_a_body_that_was_cut_tells_its_size():
    letter = dead_letter(Record("t", b"k", b"x" * 2_000_000, ()), "why", "me")
    assert letter.header("septet-size") == "2000000"


def test_what_fits_is_kept_as_it_was():
    original = Record("t", b"k", b"\xff{", (("ce_type", b"a"), ("septet-error", b"older")))
    letter = dead_letter(original, "newer", "me")
    assert (letter.key, letter.value, letter.header("septet-size")) == (b"k", b"\xff{", None)
    assert (letter.header("ce_type"), letter.header("septet-error")) == ("a", "newer")
