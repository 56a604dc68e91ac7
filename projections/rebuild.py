"""Drops and refolds the read model, and compares it with what a refold gives."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from events.topics import Placed
from projections.database import (
    create_tables,
    empty_tables,
    metadata,
    open_engine,
    reading,
    writing,
)
from projections.fold import SetAside, fold, set_aside_events

AT_ONCE = 500  # events in one savepoint
FETCHED = 1000  # rows in memory while two tables are compared
SHOWN = 80  # characters of a value in a difference

Key = tuple[Any, ...]
Found = sa.RowMapping


def rebuild(engine: sa.Engine, placed: Iterable[Placed], set_aside: SetAside) -> int:
    """Empty every table, fold all events again, and return how many; readers see the old rows until
    it commits. What was set aside before is not set aside once more."""
    with writing(engine, alone=True) as tx:
        known = set(tx.scalars(sa.select(set_aside_events.c.position)))

        def set_aside_once(event: Placed, error: Exception) -> None:
            if event.position not in known:
                set_aside(event, error)

        empty_tables(tx)
        return _refold(tx, placed, set_aside_once)


def _refold(tx: sa.Connection, placed: Iterable[Placed], set_aside: SetAside) -> int:
    events, folded = iter(placed), 0
    while batch := list(islice(events, AT_ONCE)):
        folded += fold(tx, batch, set_aside)
    return folded


def differences(engine: sa.Engine, placed: Iterable[Placed]) -> list[str]:
    """Return one line for each row that a refold of these events would make otherwise.

    It is meant for a system at rest: events that are on their way to the tables are differences.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = open_engine(f"sqlite:///{Path(folder) / 'refold.db'}")
        try:
            create_tables(fresh)
            with writing(fresh) as tx:
                _refold(tx, placed, lambda *_: None)
            with reading(engine) as live, reading(fresh) as refolded:
                return [
                    line
                    for table in metadata.sorted_tables
                    for line in _differences(table, live, refolded)
                ]
        finally:
            fresh.dispose()


def _differences(table: sa.Table, live: sa.Connection, refolded: sa.Connection) -> Iterator[str]:
    keys = [column.name for column in table.primary_key.columns]
    for key, is_row, should_be in _paired(_rows(live, table), _rows(refolded, table), keys):
        name = f"{table.name} {'/'.join(str(part) for part in key)}"
        if is_row is None:
            yield f"{name}: the row is missing"
        elif should_be is None:
            yield f"{name}: the row should not be there"
        else:
            told = [
                f"{column} is {_short(is_row[column])}, should be {_short(value)}"
                for column, value in should_be.items()
                if is_row[column] != value
            ]
            if told:
                yield f"{name}: {'; '.join(told)}"


def _rows(tx: sa.Connection, table: sa.Table) -> Iterator[Found]:
    """Give the table's rows in the order of their keys, which is the same in every database."""
    order = [
        sa.collate(column, "C")
        if tx.dialect.name == "postgresql" and isinstance(column.type, sa.Text)
        else column
        for column in table.primary_key.columns
    ]
    asked = sa.select(table).order_by(*order).execution_options(yield_per=FETCHED)
    yield from tx.execute(asked).mappings()


def _paired(
    left: Iterator[Found], right: Iterator[Found], keys: list[str]
) -> Iterator[tuple[Key, Found | None, Found | None]]:
    """Give the rows of both sides that have the same key together; both come in order of it."""

    def following(side: Iterator[Found]) -> tuple[Key, Found] | None:
        row = next(side, None)
        return None if row is None else (tuple(row[key] for key in keys), row)

    one, other = following(left), following(right)
    while one or other:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = following(left)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = following(right)
        else:
            yield one[0], one[1], other[1]
            one, other = following(left), following(right)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
