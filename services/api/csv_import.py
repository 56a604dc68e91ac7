"""Keywords out of a file or a JSON list: good rows are taken, bad ones named with the reason."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from events.content import NewKeyword
from services.api.problems import InvalidRequest

MAX_ROWS = 10_000
MAX_KEYWORD = 200  # characters
MAX_INTENT = 50  # characters
MAX_VOLUME = 1_000_000_000
MAX_DIFFICULTY = 100
COLUMNS = ("keyword", "volume", "difficulty", "intent")
DELIMITERS = ",;\t"
MAX_IN_MESSAGE = 1_000
MAX_MESSAGE = 400_000  # bytes of keywords, as a message must stay well below the broker's limit
TOO_MANY = f"At most {MAX_ROWS:,} rows are read at once."


class Rejected(BaseModel):
    """A row that was not taken. A file's header is row 1; a JSON list counts from 1."""

    row: int
    reason: str


class BadRow(Exception):
    """Why a row cannot be taken."""


Rows = tuple[list[NewKeyword], list[Rejected]]


def from_csv(data: bytes) -> Rows:
    """Return a file's keywords and its bad rows. Raises InvalidRequest for what is no such file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest("The file is not UTF-8.") from error
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip().casefold() for name in next(rows, [])]
        if "keyword" not in header:
            raise InvalidRequest("The file needs a header row with a column named keyword.")
        return _sorted_out(_records(rows, header))
    except csv.Error as error:
        raise InvalidRequest(f"Row {rows.line_num} of the file is not CSV.") from error


def _records(rows: Iterator[list[str]], header: Sequence[str]) -> Iterator[tuple[int, Any]]:
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        record = dict(zip(header, cells, strict=False))
        yield number, {name: _cell(name, record.get(name, "")) for name in COLUMNS}


def _cell(name: str, text: str) -> Any:
    text = text.strip()
    if name == "keyword":
        return text
    if not text:
        return None
    number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VOLUME))
    return int(text) if number and name in {"volume", "difficulty"} else text


def from_list(rows: Sequence[Any]) -> Rows:
    """Return a JSON list's keywords and its bad rows. Raises InvalidRequest for unknown fields."""
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(COLUMNS)) if isinstance(row, dict) else []
        if unknown:
            raise InvalidRequest(f"keywords.{number}.{unknown[0]}: is not a field")
    return _sorted_out(enumerate(rows, start=1))


def _sorted_out(records: Iterator[tuple[int, Any]] | enumerate[Any]) -> Rows:
    taken: list[NewKeyword] = []
    rejected: list[Rejected] = []
    for number, record in records:
        if len(taken) + len(rejected) == MAX_ROWS:
            raise InvalidRequest(TOO_MANY)
        try:
            taken.append(keyword_of(record))
        except BadRow as bad:
            rejected.append(Rejected(row=number, reason=str(bad)))
    return taken, rejected


def keyword_of(record: Any) -> NewKeyword:
    """Return the row's keyword. Raises BadRow."""
    if not isinstance(record, Mapping):
        raise BadRow("the row is not an object")
    return NewKeyword(
        keyword=_text(record.get("keyword"), "keyword", MAX_KEYWORD),
        volume=_number(record.get("volume"), "volume", MAX_VOLUME),
        difficulty=_number(record.get("difficulty"), "difficulty", MAX_DIFFICULTY),
        intent=_intent(record.get("intent")),
    )


def _text(value: Any, name: str, longest: int) -> str:
    if value is None or value == "":
        raise BadRow(f"{name} is empty")
    if not isinstance(value, str):
        raise BadRow(f"{name} is not a text")
    text = value.strip()
    if not text:
        raise BadRow(f"{name} is empty")
    if len(text) > longest:
        raise BadRow(f"{name} has more than {longest} characters")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in text):
        raise BadRow(f"{name} has control characters")
    return text


def _number(value: Any, name: str, highest: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise BadRow(f"{name} is not a whole number from 0 to {highest}")
    return value


def _intent(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return _text(value, "intent", MAX_INTENT).casefold()


def in_messages(keywords: Sequence[NewKeyword]) -> Iterator[tuple[NewKeyword, ...]]:
    """Yield the keywords in portions that fit into one message each."""
    portion: list[NewKeyword] = []
    size = 0
    for keyword in keywords:
        weight = len(to_json(keyword))
        if portion and (len(portion) == MAX_IN_MESSAGE or size + weight > MAX_MESSAGE):
            yield tuple(portion)
            portion, size = [], 0
        portion.append(keyword)
        size += weight
    if portion:
        yield tuple(portion)
