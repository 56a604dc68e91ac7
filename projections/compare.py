"""Compares the live tables with what a refold has made, row for row."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from projections.database import metadata, positions
from projections.parts import opened

FETCHED = 1000  # rows in memory of each side
SHOWN = 80  # characters of a value in a difference

Values = tuple[Any, ...]


class Difference(NamedTuple):
    """A row that a refold makes otherwise; `accounts` are those whose row it is, or was."""

    table: str
    line: str
    accounts: frozenset[str]


def compare(live: sa.Connection, paths: Sequence[Path]) -> Iterator[Difference]:
    """Give each row that differs, table by table, in the order of the keys."""
    with ExitStack() as stack:
        parts = [stack.enter_context(opened(path)) for path in paths]
        for table in metadata.sorted_tables:
            width = len(table.primary_key.columns)
            key = itemgetter(slice(width))
            rows = (_rows(part, table) for part in parts)
            refolded: Iterator[Values] = heapq.merge(*rows, key=key)
            if table is positions:
                refolded = _furthest(refolded)
            for is_row, should_be in _paired(_rows(live, table), refolded, width):
                yield _difference(table, is_row, should_be)


def _furthest(rows: Iterator[Values]) -> Iterator[Values]:
    """Give one row a key: two files have it where a stranger's command named another's site."""
    for key, same in groupby(rows, key=itemgetter(0)):
        yield key, max(position for _, position in same)


def _rows(tx: sa.Connection, table: sa.Table) -> Iterator[Values]:
    """Give the table's rows in the order of their keys, which is the same in every database."""
    is_postgresql = tx.dialect.name == "postgresql"
    order = [
        sa.collate(column, "C") if is_postgresql and isinstance(column.type, sa.Text) else column
        for column in table.primary_key.columns
    ]
    asked = sa.select(table).order_by(*order)
    # On the server: else the driver holds the whole answer.
    connection = tx.connection
    made = connection.cursor("compared") if is_postgresql else connection.cursor()
    with closing(made) as cursor:
        cursor.execute(str(asked.compile(dialect=tx.dialect)))
        while rows := cursor.fetchmany(FETCHED):
            yield from rows


def _paired(
    live: Iterator[Values], refolded: Iterator[Values], width: int
) -> Iterator[tuple[Values | None, Values | None]]:
    """Give the rows that differ, those of both sides with the same key together."""
    one, other = next(live, None), next(refolded, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(live, None), next(refolded, None)
        elif other is None or (one is not None and one[:width] < other[:width]):
            yield one, None
            one = next(live, None)
        elif one is None or other[:width] < one[:width]:
            yield None, other
            other = next(refolded, None)
        else:
            yield one, other
            one, other = next(live, None), next(refolded, None)


def _difference(table: sa.Table, is_row: Values | None, should_be: Values | None) -> Difference:
    columns = table.columns.keys()
    owner = columns.index("account_id") if "account_id" in columns else None
    both = [row for row in (is_row, should_be) if row is not None]
    accounts = frozenset() if owner is None else frozenset(str(row[owner]) for row in both)
    key = "/".join(str(part) for part in both[0][: len(table.primary_key.columns)])
    return Difference(
        table.name, f"{table.name} {key}: {_told(table, is_row, should_be)}", accounts
    )


def _told(table: sa.Table, is_row: Values | None, should_be: Values | None) -> str:
    if is_row is None:
        return "the row is missing"
    if should_be is None:
        return "the row should not be there"
    return "; ".join(
        f"{column.name} is {_short(column, left)}, should be {_short(column, right)}"
        for column, left, right in zip(table.columns, is_row, should_be, strict=True)
        if left != right
    )


def _short(column: sa.Column[Any], value: Any) -> str:
    text = repr(bool(value) if isinstance(column.type, sa.Boolean) and value is not None else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
