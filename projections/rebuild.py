"""Makes the read model again beside the live tables, compares, and replaces what differs.

The projector goes on while the log is folded into files of its own (`projections.parts`) and while
they are compared with one view of the live tables, at exactly the events that these have seen. Only
to replace rows is the projector kept waiting. Readers see the old rows until the commit.
"""

import fcntl
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa

from events.envelope import decode, is_readable
from events.topics import Placed, Written, is_published
from projections.compare import compare
from projections.database import (
    LOCK_NUMBER,
    SHAPE,
    is_current,
    metadata,
    open_engine,
    positions,
    reading,
    shape,
    track,
    writing,
)
from projections.fold import SetAside, fold, set_aside_events
from projections.parts import AT_ONCE, Here, Log, Parts, indexes, opened
from projections.releases import remember, sign

REBUILD_LOCK = 7_305_004  # advisory lock: one rebuild at a time
BESIDE = "septet_rebuild"  # PostgreSQL's schema of tables that are not live yet
FEW = 1000  # events that may be folded while one view of the live tables is kept
EXAMPLES = 3  # differences of a table that are told in full
Whose = TypeVar("Whose", sa.Delete, sa.Select[Any])
TOGETHER = 500  # accounts that are replaced one by one; of more, all are


class Running(Exception):
    """Another rebuild is at work."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is: `position` of `newest` in the log, after so many events."""

    doing: str
    events: int
    position: int
    newest: int


State = Literal["filled", "empty", "other shape"]


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild found and did.

    There is nothing to compare with where the live tables are empty or of another shape. `rows`
    counts the rows that differed, by table; `examples` tells some of each. `accounts` are those
    that they belong to, none when they are too many or it cannot be told. `owners` has the account
    of each key.
    """

    events: int
    live: State
    switched: bool = False
    rows: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    accounts: set[str] | None = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Tell whether the live tables were not what the log makes."""
        match self.live:
            case "filled":
                return bool(self.rows)
            case "empty":
                return self.events > 0
            case "other shape":
                return True


Told = Callable[[Progress], None]
Say = Callable[[str, int, int], None]


def rebuild(
    engine: sa.Engine,
    log: Log,
    folder: Path,
    set_aside: SetAside,
    *,
    told: Told = lambda _: None,
    compare_only: bool = False,
    wait: bool = False,
) -> Rebuilt:
    """Fold the log again in the folder, compare, and put right what differs.

    Raises Running when another rebuild is at work, unless told to wait for its end. What was set
    aside before is not set aside once more. The names of what a newer release wrote are remembered:
    the next release that knows them folds again.
    """
    with _alone(engine, folder, wait=wait):
        _drop_beside(engine)  # what a rebuild that was killed has left
        newest = log.newest()

        def say(doing: str, events: int, position: int) -> None:
            told(Progress(doing, events, position, max(newest, position)))

        with closing(Parts(folder, log)) as parts:
            live = state_of(engine)
            if live == "filled":
                found = _compared(engine, parts, say)
            else:
                parts.advance(None, partial(say, "folding"))
                found = Rebuilt(parts.events, live)
            if found.differs and not compare_only:
                say("switching", parts.events, newest)
                if live == "filled":
                    _replace(engine, parts, set_aside, found.accounts)
                else:
                    _take_over(engine, log, parts, set_aside)
                found.switched = True
            found.owners = parts.owners
            if not compare_only:
                with writing(engine) as tx:
                    remember(tx, parts.unread)
                    sign(tx)
            return found


def state_of(engine: sa.Engine) -> State:
    """Return what there is of the live tables."""
    with reading(engine) as tx:
        if not is_current(tx):
            return "other shape"
        return "filled" if tx.execute(sa.select(positions).limit(1)).first() else "empty"


def _compared(engine: sa.Engine, parts: Parts, say: Say) -> Rebuilt:
    """Fold what the live tables have seen until there is little left, then compare one view."""
    folding = partial(say, "folding")
    while parts.advance(_reached(engine), folding) > FEW:
        pass
    with reading(engine) as live:
        parts.advance(_positions(live), folding)
        found = Rebuilt(parts.events, "filled")
        say("comparing", parts.events, 0)
        for table, line, accounts in compare(live, parts.paths):
            found.rows[table] += 1
            if found.rows[table] <= EXAMPLES:
                found.examples.append(line)
            if found.accounts is not None:
                found.accounts |= accounts
                if not accounts or len(found.accounts) > TOGETHER:
                    found.accounts = None
    return found


def _reached(engine: sa.Engine) -> dict[str, int]:
    with reading(engine) as tx:
        return _positions(tx)


def _positions(tx: sa.Connection) -> dict[str, int]:
    return {row.key: row.position for row in tx.execute(sa.select(positions))}


# --- the switch


def _replace(engine: sa.Engine, parts: Parts, set_aside: SetAside, which: set[str] | None) -> None:
    """Replace the rows of the accounts that differ by those of the whole log, in one transaction.

    An account's rows are replaced together, so they agree among themselves whatever was wrong; all
    are, where a key has events of more than one account, as its position is one for all of them.
    """
    with _switching(engine, parts) as tx:
        parts.advance(None, lambda *_: None)
        accounts = None if which is None or parts.is_mixed else sorted(which)
        _set_aside_new(tx, parts, set_aside)
        keys = parts.keys_of(accounts)
        for table in metadata.sorted_tables:
            if table is not positions:
                tx.execute(_of(accounts, table, sa.delete(table)))
                _pour(tx, table, parts.paths, accounts)
        if accounts is None:
            tx.execute(sa.delete(positions))
        track(tx, keys)


def _take_over(engine: sa.Engine, log: Log, parts: Parts, set_aside: SetAside) -> None:
    """Put whole new tables in the place of those that are empty or have another shape."""
    after = max(parts.folded.values(), default=0)
    is_postgresql = engine.dialect.name == "postgresql"
    if is_postgresql:
        _prepare(engine, parts)
    with _switching(engine, parts) as tx:
        set_aside_once = _set_aside_new(tx, parts, set_aside)
        metadata.drop_all(tx)
        if is_postgresql:
            for table in metadata.sorted_tables:
                tx.execute(sa.text(f"ALTER TABLE {BESIDE}.{table.name} SET SCHEMA public"))
        else:
            _fill(tx, parts)
        tx.execute(sa.delete(shape))
        tx.execute(sa.insert(shape).values(number=SHAPE))
        for some in _placed(log, after):
            fold(tx, some, set_aside_once)
    _drop_beside(engine)


def _prepare(engine: sa.Engine, parts: Parts) -> None:
    """Make the new tables beside the live ones, committed: readers whose view is older than the
    switch see their rows too."""
    with engine.begin() as tx:
        tx.execute(sa.text(f"CREATE SCHEMA {BESIDE}"))
        tx.execute(sa.text(f"SET LOCAL search_path TO {BESIDE}"))
        _fill(tx, parts)


def _drop_beside(engine: sa.Engine) -> None:
    if engine.dialect.name != "postgresql":
        return
    with engine.begin() as tx:
        tx.execute(sa.text(f"DROP SCHEMA IF EXISTS {BESIDE} CASCADE"))


def _fill(tx: sa.Connection, parts: Parts) -> None:
    """Make all tables and their rows; indexes are quicker to make when the rows are there."""
    for table in metadata.sorted_tables:
        tx.execute(sa.schema.CreateTable(table))
        if table is not positions:  # of a key that two files have, each knows its own part
            _pour(tx, table, parts.paths, None)
    track(tx, parts.folded)
    for index in indexes():
        tx.execute(sa.schema.CreateIndex(index))


def _pour(
    tx: sa.Connection,
    table: sa.Table,
    paths: Sequence[Path],
    accounts: Sequence[str] | None,
) -> None:
    """Copy the table's rows of these accounts, or all, from the files."""
    if tx.dialect.name == "postgresql":
        for path in paths:
            with opened(path) as part:
                _copy(part, tx, table, accounts)
        return
    for number in range(len(paths)):
        source = table.to_metadata(sa.MetaData(), schema=f"part{number}")
        asked = _of(accounts, source, sa.select(source))
        tx.execute(sa.insert(table).from_select(table.columns.keys(), asked))


def _of(accounts: Sequence[str] | None, table: sa.Table, statement: Whose) -> Whose:
    """Return the statement for the rows of these accounts, for all when none are named."""
    return statement if accounts is None else statement.where(table.c.account_id.in_(accounts))


def _copy(
    part: sa.Connection,
    tx: sa.Connection,
    table: sa.Table,
    accounts: Sequence[str] | None,
) -> None:
    asked = _of(accounts, table, sa.select(table))
    columns = ", ".join(f'"{name}"' for name in table.columns.keys())  # noqa: SIM118  # a tuple's
    with (
        closing(tx.connection.cursor()) as cursor,
        cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy,
    ):
        for row in part.execute(asked.execution_options(yield_per=AT_ONCE)):
            copy.write_row(tuple(row))


@contextmanager
def _switching(engine: sa.Engine, parts: Parts) -> Iterator[sa.Connection]:
    """Give the transaction of the switch: no projector writes until it has ended.

    On SQLite the files are attached. They are not locked, as a BEGIN IMMEDIATE would: until they
    are read here, the rest of the log can be folded into them.
    """
    own = open_engine(engine.url.render_as_string(hide_password=False))
    try:
        with own.connect() as tx:
            if tx.dialect.name == "sqlite":
                for number, path in enumerate(parts.paths):
                    attach = f"ATTACH DATABASE ? AS part{number}"
                    tx.connection.cursor().execute(attach, (str(path),))
            with tx.begin():
                if tx.dialect.name == "sqlite":
                    tx.execute(sa.delete(shape).where(shape.c.number < 0))
                else:
                    tx.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_NUMBER)))
                yield tx
    finally:
        own.dispose()


def _set_aside_new(tx: sa.Connection, parts: Parts, set_aside: SetAside) -> SetAside:
    """Set aside what cannot be projected and was not set aside when it first came.

    Returns how to set aside what follows, likewise once.
    """
    known = set[int]()
    if sa.inspect(tx).has_table(set_aside_events.name):
        known |= set(tx.scalars(sa.select(set_aside_events.c.position)))

    def once(placed: Placed, reason: str) -> None:
        if placed.position not in known:
            set_aside(placed, reason)

    for placed, reason in parts.unfolded():
        once(placed, reason)
    return once


def _placed(log: Log, after: int) -> Iterator[list[Placed]]:
    events = (_read(one) for one in log.written(after) if is_readable(one.name))
    published = (placed for placed in events if is_published(placed.envelope.message))
    while some := list(islice(published, AT_ONCE)):
        yield some


def _read(one: Written) -> Placed:
    return Placed(one.position, decode(one.name, one.body))


@contextmanager
def _alone(engine: sa.Engine, folder: Path, *, wait: bool) -> Iterator[None]:
    """Keep other rebuilds away; the holder's end, of whatever kind, frees the place."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
            if wait:
                tx.execute(sa.select(sa.func.pg_advisory_lock(REBUILD_LOCK)))
            elif not tx.scalar(sa.select(sa.func.pg_try_advisory_lock(REBUILD_LOCK))):
                raise Running
            try:
                yield
            finally:
                tx.execute(sa.select(sa.func.pg_advisory_unlock(REBUILD_LOCK)))
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Running from error
        yield


def differences(engine: sa.Engine, placed: Iterable[Placed]) -> list[str]:
    """Return one line for each row that a refold of these events would make otherwise.

    It is meant for a system at rest: events that are on their way to the tables are differences.
    """
    with tempfile.TemporaryDirectory() as folder:
        with closing(Here(Path(folder) / "refold.db")) as part:
            events = iter(placed)
            while some := list(islice(events, AT_ONCE)):
                part.fold_placed(some)
        with reading(engine) as live:
            return [found.line for found in compare(live, [part.path])]
