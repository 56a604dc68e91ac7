"""One way to open the read model, make its tables and read rows, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import from_json, to_json
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

SHAPE = 7
"""The number of the tables' shape: another one in the database means drop, remake and refold."""

SHARED_LOCK, ALONE_LOCK = "pg_advisory_xact_lock_shared", "pg_advisory_xact_lock"
LOCK_NUMBER = 7_738_535_384  # any number that no other user of the database takes
PER_EVENT = 100_000
"""Ordinals are position x PER_EVENT + index: the order of creation, the same in every refold."""

FOLDS = {"folds": True}
"""What an index is marked with by which a fold finds rows: others can be made after it."""

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


@lru_cache(1000)  # all events of an append have the same time
def stamp(at: datetime) -> str:
    """Return the time as fixed-width UTC text, so that the order of texts is the order of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def as_json(value: Any) -> str:
    """Return the JSON text of a column."""
    return to_json(value).decode()


def ordinal_of(position: int, index: int) -> int:
    """Return the place of an event's index-th part among all that was ever created."""
    return position * PER_EVENT + index


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """An insert that settles conflicts, as either database spells it."""

    sqlite: sa.Insert
    postgresql: sa.Insert


Statement = sa.Update | sa.Delete | sa.Insert | Insert


def insert_new(table: sa.Table) -> Insert:
    """Return an insert that leaves a row which is there already as it is."""
    lite, post = sqlite.insert(table), postgresql.insert(table)
    return Insert(lite.on_conflict_do_nothing(), post.on_conflict_do_nothing())


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
    return Insert(
        lite.on_conflict_do_update(index_elements=keys, set_=here, where=where),
        post.on_conflict_do_update(index_elements=keys, set_=there, where=where),
    )


# Both take values by name, and names that a statement does not use are no mistake.
DIALECTS: Mapping[str, sa.Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": psycopg.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


@cache
def compiled(statement: Statement | sa.Select[Any], name: str) -> tuple[str, Values]:
    """Return a statement's text in that kind of database, and what it binds by itself."""
    spelled = getattr(statement, name) if isinstance(statement, Insert) else statement
    made = spelled.compile(dialect=DIALECTS[name])
    return str(made), made.params


def write(tx: sa.Connection, statement: Statement, row: Values) -> None:
    """Run the statement for one row."""
    write_all(tx, statement, [row])


def write_all(tx: sa.Connection, statement: Statement, rows: Sequence[Values]) -> None:
    """Run the statement once a row; with no rows, not at all. A column left out stays empty.

    It goes to the driver as it is: a fold does little else, and SQLAlchemy takes ten times as long
    over each statement as SQLite does.
    """
    if not rows:
        return
    text, blank = compiled(statement, tx.dialect.name)
    cursor = tx.connection.cursor()
    try:
        if len(rows) == 1:
            cursor.execute(text, {**blank, **rows[0]})
        else:
            cursor.executemany(text, [{**blank, **row} for row in rows])
    except tx.dialect.loaded_dbapi.Error as error:
        raise _told(tx, text, error) from error
    finally:
        cursor.close()


def read_all(tx: sa.Connection, statement: sa.Select[Any], values: Values) -> list[tuple[Any, ...]]:
    """Return the rows of a question that a fold asks, as the driver gives them."""
    text, blank = compiled(statement, tx.dialect.name)
    cursor = tx.connection.cursor()
    try:
        cursor.execute(text, {**blank, **values})
        return list(cursor.fetchall())
    except tx.dialect.loaded_dbapi.Error as error:
        raise _told(tx, text, error) from error
    finally:
        cursor.close()


def _told(tx: sa.Connection, text: str, error: Exception) -> Exception:
    """Return the driver's error as SQLAlchemy raises it, without the values."""
    known = tx.dialect.loaded_dbapi.Error
    return sa.exc.DBAPIError.instance(text, None, error, known, hide_parameters=True)


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


DURABLE = ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL")
# Rows that can be folded again: nothing is written for the sake of a crash. Savepoints need a
# journal all the same. The cache is KiB.
DISPOSABLE = ("busy_timeout=10000", "journal_mode=MEMORY", "synchronous=OFF", "cache_size=-65536")


def _on_sqlite(engine: sa.Engine, settings: Sequence[str]) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver sends no BEGIN; we do, below
        cursor = connection.cursor()
        for setting in settings:
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


def open_engine(url: str, *, disposable: bool = False) -> sa.Engine:
    """Open `sqlite:///…` or `postgresql://…`; nothing is read or made yet.

    An SQLite file that is `disposable` is quick to write, and lost in a crash.
    """
    made = sa.make_url(url)
    if made.get_backend_name() == "sqlite":
        engine = sa.create_engine(made, hide_parameters=True)
        _on_sqlite(engine, DISPOSABLE if disposable else DURABLE)
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
    """Make the tables that are missing; those of another shape stay, until a rebuild replaces them.

    So readers of the release before are answered while the new tables are folded.
    """
    with writing(engine, alone=True) as tx:
        about.create_all(tx)
        if tx.scalar(sa.select(shape.c.number)) is None:
            tx.execute(sa.insert(shape).values(number=SHAPE))
        if is_current(tx):
            metadata.create_all(tx)


def is_current(tx: sa.Connection) -> bool:
    """Tell whether the tables have the shape that this release reads and writes."""
    return tx.scalar(sa.select(shape.c.number)) == SHAPE


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
