"""One way to open the read model, make its tables and read rows, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import from_json, to_json
from sqlalchemy.dialects import postgresql, sqlite

SHAPE = 1
"""The number of the tables' shape: another one in the database means drop, remake and refold."""

SHARED_LOCK, ALONE_LOCK = "pg_advisory_xact_lock_shared", "pg_advisory_xact_lock"
LOCK_NUMBER = 7_738_535_384  # any number that no other user of the database takes
PER_EVENT = 100_000
"""Ordinals are position x PER_EVENT + index: the order of creation, the same in every refold."""

metadata = sa.MetaData()
Whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

Column = sa.Column[Any]
Values = Mapping[str, Any]


def primary(name: str, kind: Any = sa.Text) -> Column:
    """Return a column of the primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def must(name: str, kind: Any = sa.Text) -> Column:
    """Return a column that every row fills."""
    return sa.Column(name, kind, nullable=False)


def may(name: str, kind: Any = sa.Text) -> Column:
    """Return a column that a row may leave empty."""
    return sa.Column(name, kind, nullable=True)


positions = sa.Table(
    "positions", metadata, primary("key"), must("position", Whole), sqlite_with_rowid=False
)
about = sa.MetaData()
shape = sa.Table("shape", about, primary("number", sa.Integer))


class Row(BaseModel):
    """A row as it is read: immutable, and blind to columns that it does not name."""

    model_config = ConfigDict(frozen=True, extra="ignore")


AnyRow = TypeVar("AnyRow", bound=BaseModel)
Parsed = BeforeValidator(lambda value: from_json(value) if isinstance(value, str) else value)
"""The mark of a field whose column holds JSON text."""


def stamp(at: datetime) -> str:
    """Return the time as fixed-width UTC text, so that the order of texts is the order of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def as_json(value: Any) -> str:
    """Return the JSON text of a column."""
    return to_json(value).decode()


def ordinal_of(position: int, index: int) -> int:
    """Return the place of an event's index-th part among all that was ever created."""
    return position * PER_EVENT + index


@dataclass(frozen=True, slots=True)
class Insert:
    """An insert that settles conflicts, as SQL text: SQLAlchemy compiles such statements each time.

    `blank` has every column, so that a row may leave some out.
    """

    blank: Mapping[str, None]
    sqlite: sa.TextClause
    postgresql: sa.TextClause

    def on(self, tx: sa.Connection) -> sa.TextClause:
        return self.postgresql if tx.dialect.name == "postgresql" else self.sqlite


DIALECTS: tuple[Any, Any] = (sqlite.dialect, postgresql.dialect)


def _insert(table: sa.Table, *spelled: sa.Insert) -> Insert:
    texts = [
        sa.text(str(statement.compile(dialect=dialect(paramstyle="named"))))
        for statement, dialect in zip(spelled, DIALECTS, strict=True)
    ]
    return Insert(dict.fromkeys(table.columns.keys()), *texts)


def insert_new(table: sa.Table) -> Insert:
    """Return an insert that leaves a row which is there already as it is."""
    lite, post = sqlite.insert(table), postgresql.insert(table)
    return _insert(table, lite.on_conflict_do_nothing(), post.on_conflict_do_nothing())


def upsert(
    table: sa.Table,
    changes: Callable[[Any], Mapping[str, Any]],
    where: sa.ColumnElement[bool] | None = None,
) -> Insert:
    """Return an insert that makes `changes(excluded)` to a row which is there already.

    Changes and condition name columns and SQL literals, never values to be bound.
    """
    keys = table.primary_key.columns.keys()
    lite, post = sqlite.insert(table), postgresql.insert(table)
    here, there = dict(changes(lite.excluded)), dict(changes(post.excluded))
    return _insert(
        table,
        lite.on_conflict_do_update(index_elements=keys, set_=here, where=where),
        post.on_conflict_do_update(index_elements=keys, set_=there, where=where),
    )


def write(tx: sa.Connection, statement: sa.Executable | Insert, row: Values) -> None:
    """Run the statement for one row."""
    write_all(tx, statement, [row])


def write_all(tx: sa.Connection, statement: sa.Executable | Insert, rows: Sequence[Values]) -> None:
    """Run the statement once a row; with no rows, not at all."""
    if not rows:
        return
    if isinstance(statement, Insert):
        tx.execute(statement.on(tx), [{**statement.blank, **row} for row in rows])
    else:
        tx.execute(statement, [dict(row) for row in rows])


def one(tx: sa.Connection, kind: type[AnyRow], statement: sa.Executable) -> AnyRow | None:
    """Return the statement's only row, none when there is none."""
    found = tx.execute(statement).mappings().first()
    return None if found is None else kind.model_validate(dict(found))


def many(tx: sa.Connection, kind: type[AnyRow], statement: sa.Executable) -> list[AnyRow]:
    """Return the statement's rows."""
    return [kind.model_validate(dict(found)) for found in tx.execute(statement).mappings()]


def page(
    tx: sa.Connection, kind: type[AnyRow], statement: sa.Select[Any], cursor: str, limit: int
) -> tuple[list[AnyRow], int | None]:
    """Return at most `limit` rows, and the last one's `cursor` column when more follow."""
    found = tx.execute(statement.limit(limit + 1)).mappings().all()
    rows = [kind.model_validate(dict(row)) for row in found[:limit]]
    return rows, found[limit - 1][cursor] if len(found) > limit else None


def in_order(rows: Sequence[AnyRow], ids: Sequence[str]) -> list[AnyRow]:
    """Return the rows in the order of the ids, without those that are missing."""
    by_id = {row.id: row for row in rows}  # type: ignore[attr-defined]  # every listed row has one
    return [by_id[each] for each in ids if each in by_id]


def _on_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver sends no BEGIN; we do, below
        cursor = connection.cursor()
        for setting in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {setting}").fetchall()
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(tx: sa.Connection) -> None:
        writes = tx.get_execution_options().get("writes", False)
        tx.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _on_postgresql(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        connection.execute("SET search_path TO public")
        connection.autocommit = False


def open_engine(url: str) -> sa.Engine:
    """Open `sqlite:///…` or `postgresql://…`; nothing is read or made yet."""
    made = sa.make_url(url)
    if made.get_backend_name() == "sqlite":
        engine = sa.create_engine(made, hide_parameters=True)
        _on_sqlite(engine)
        return engine
    driver = made.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(driver, pool_pre_ping=True, hide_parameters=True)
    _on_postgresql(engine)
    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give one unchanging view of the read model; nothing waits for a reader."""
    with engine.connect() as tx:
        if tx.dialect.name == "postgresql":
            tx.execution_options(isolation_level="REPEATABLE READ")
        with tx.begin():
            yield tx


@contextmanager
def writing(engine: sa.Engine, *, alone: bool = False) -> Iterator[sa.Connection]:
    """Give a transaction that commits at its end.

    SQLite has one writer at a time. On PostgreSQL projectors write side by side; `alone` waits for
    them to finish, and they for it.
    """
    with engine.connect().execution_options(writes=True) as tx, tx.begin():
        if tx.dialect.name == "postgresql":
            lock = ALONE_LOCK if alone else SHARED_LOCK
            tx.execute(sa.select(getattr(sa.func, lock)(LOCK_NUMBER)))
        yield tx


def create_tables(engine: sa.Engine) -> None:
    """Make the tables that are missing; drop and remake all when their shape has changed."""
    with writing(engine, alone=True) as tx:
        about.create_all(tx)
        if tx.scalar(sa.select(shape.c.number)) != SHAPE:
            metadata.drop_all(tx)
            tx.execute(sa.delete(shape))
            tx.execute(sa.insert(shape).values(number=SHAPE))
        metadata.create_all(tx)


def empty_tables(tx: sa.Connection) -> None:
    """Delete every row. Readers see the old ones until the commit."""
    for table in metadata.sorted_tables:
        tx.execute(sa.delete(table))


REACHED = sa.select(positions.c.position).where(positions.c.key == sa.bindparam("which"))
CLAIM = insert_new(positions)
TRACK = upsert(positions, lambda new: {"position": new.position})


def reached(tx: sa.Connection, key: str) -> int:
    """Return the highest position that was applied for the site (or account), 0 if none."""
    return tx.scalar(REACHED, {"which": key}) or 0


def claim(tx: sa.Connection, keys: Iterable[str]) -> dict[str, int]:
    """Return the keys' positions, which no other writer moves before the commit.

    A key that is new gets its row here: else two writers that both take it for new would both apply
    its events.
    """
    mine = sorted(keys)
    write_all(tx, CLAIM, [{"key": key, "position": 0} for key in mine])
    asked = sa.select(positions).where(positions.c.key.in_(mine)).order_by(positions.c.key)
    return {row.key: row.position for row in tx.execute(asked.with_for_update())}


def track(tx: sa.Connection, seen: Mapping[str, int]) -> None:
    """Record how far each key has come; it commits with the rows."""
    write_all(tx, TRACK, [{"key": key, "position": seen[key]} for key in sorted(seen)])
