"""Keywords out of a file or a JSON list: good rows are taken, bad ones named with the reason."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from events.content import MAX_DIFFICULTY, MAX_KEYWORDS, MAX_VOLUME, NewKeyword, fault_of
from services.api.limits import BadValue, check
from services.api.problems import InvalidRequest

COLUMNS = ("keyword", "volume", "difficulty", "intent")
DELIMITERS = ",;\t"
MAX_IN_MESSAGE = 1_000
MAX_MESSAGE = 400_000  # bytes of keywords, as a message must stay well below the broker's limit
TOO_MANY = f"At most {MAX_KEYWORDS:,} rows are read at once."


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
    rows = _rows_of(text, delimiter)
    header = [name.strip().casefold() for name in next(rows, [])]
    if "keyword" not in header:
        raise InvalidRequest("The file needs a header row with a column named keyword.")
    for name in COLUMNS:
        if header.count(name) > 1:
            raise InvalidRequest(f"The file's header names the column {name} twice.")
    written = ((number, cells) for number, cells in enumerate(rows, start=2) if _is_written(cells))
    return _sorted_out(written, lambda _, cells: keyword_of(_record(header, cells)))


def _rows_of(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows. A quote that is not closed would swallow those after it, so it is refused."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in rows:
            yield cells
            line = rows.line_num + 1
    except csv.Error as error:
        detail = (
            f"The row that begins in line {line} of the file is not CSV: quotes around a cell are "
            "closed, a quote within them is doubled, and no cell has more than "
            f"{csv.field_size_limit():,} characters."
        )
        raise InvalidRequest(detail) from error


def _is_written(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _record(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    if _is_written(cells[len(header) :]):
        raise BadRow(
            f"the row has more cells than the header has columns ({len(header)}); "
            "a cell with the delimiter in it needs quotes"
        )
    record = dict(zip(header, cells, strict=False))
    return {name: _cell(name, record.get(name, "")) for name in COLUMNS}


def _cell(name: str, text: str) -> Any:
    text = text.strip()
    if name == "keyword":
        return text
    if not text:
        return None
    number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VOLUME))
    return int(text) if number and name in {"volume", "difficulty"} else text


def from_list(rows: Sequence[Any]) -> Rows:
    """Return a JSON list's keywords and its bad rows, whatever is wrong with those.

    The rows are unchecked_json's. Raises InvalidRequest for what is no JSON.
    """
    return _sorted_out(enumerate(rows, start=1), _from_json)


def _from_json(number: int, row: Any) -> NewKeyword:
    place = (number - 1, ("keywords", None))
    try:
        check(row, place)
    except BadValue as bad:
        if not bad.is_json:
            raise
        where = ".".join(bad.path[2:]) or "the row"
        raise BadRow(f"{where} {bad.why}") from bad
    return keyword_of(row)


def _sorted_out(rows: Iterable[tuple[int, Any]], read: Callable[[int, Any], NewKeyword]) -> Rows:
    taken: list[NewKeyword] = []
    rejected: list[Rejected] = []
    for number, row in rows:
        if len(taken) + len(rejected) == MAX_KEYWORDS:
            raise InvalidRequest(TOO_MANY)
        try:
            taken.append(read(number, row))
        except BadRow as bad:
            rejected.append(Rejected(row=number, reason=str(bad)))
    return taken, rejected


def keyword_of(record: Any) -> NewKeyword:
    """Return the row's keyword. Raises BadRow."""
    if not isinstance(record, Mapping):
        raise BadRow("the row is not an object")
    unknown = sorted(set(record) - set(COLUMNS))
    if unknown:
        raise BadRow(f"{unknown[0]} is not a field")
    keyword = NewKeyword(
        keyword=_text(record.get("keyword"), "keyword"),
        volume=_number(record.get("volume"), "volume", MAX_VOLUME),
        difficulty=_number(record.get("difficulty"), "difficulty", MAX_DIFFICULTY),
        intent=_text(record.get("intent"), "intent").casefold() or None,
    )
    fault = fault_of(keyword)
    if fault is not None:
        raise BadRow(fault)
    return keyword


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(f"{name} is not a text")
    if value and not value.strip():
        raise BadRow(f"{name} is empty")
    return value.strip()


def _number(value: Any, name: str, highest: int) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadRow(f"{name} is not a whole number from 0 to {highest}")


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
