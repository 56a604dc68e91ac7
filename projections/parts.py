"""Folds a log into fresh files, each with accounts of its own: as many at once as there are cores.

Accounts share no rows, so the files together hold what one fold would make. They are disposable:
whatever goes wrong, the next rebuild deletes them and begins again.
"""

import gc
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol
from zlib import crc32

import sqlalchemy as sa
from pydantic_core import from_json

from events.envelope import decode, is_readable
from events.topics import Placed, Written, is_published_as
from projections.database import (
    create_tables,
    may,
    metadata,
    must,
    open_engine,
    primary,
    write,
    writing,
)
from projections.fold import fold

AT_ONCE = 2000  # events in one transaction, and in one savepoint
SPREAD_FROM = 20_000  # positions in the log from which on more than one process pays
MOST = 8  # files; SQLite attaches ten

unfolded_metadata = sa.MetaData()
# Beside the tables: what cannot be projected, as the store holds it, so that it can be set aside.
unfolded = sa.Table(
    "unfolded",
    unfolded_metadata,
    primary("position", sa.Integer),
    must("name"),
    must("body", sa.LargeBinary),
    may("reason"),
)
ADD = sa.insert(unfolded)


class Log(Protocol):
    """Where the events come from: the event store, or what stands for it."""

    def newest(self) -> int:
        """Return the position of the newest event, 0 when there is none."""
        ...

    def written(self, after: int = 0) -> Iterator[Written]:
        """Yield every event above a position, in order."""
        ...


class FoldFailed(Exception):
    """A process that folds has ended, or an event of the log cannot be read."""


class Part(Protocol):
    """One file that is folded into."""

    path: Path

    def fold(self, some: Sequence[Written]) -> None:
        """Take events, in the order of the log. Raises FoldFailed."""
        ...

    def settle(self) -> None:
        """Return when all that was taken is committed. Raises FoldFailed."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Here:
    """A file that this process folds into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = open_engine(f"sqlite:///{path}", disposable=True)
        create_tables(self._engine)
        with writing(self._engine) as tx:
            unfolded_metadata.create_all(tx)
            for index in indexes():
                if not index.info.get("folds"):
                    index.drop(tx)

    def fold(self, some: Sequence[Written]) -> None:
        """Fold the events in one transaction."""
        self.fold_placed([Placed(one.position, decode(one.name, one.body)) for one in some], some)

    def fold_placed(self, placed: Sequence[Placed], written: Sequence[Written] = ()) -> None:
        """Fold events that have been read already; those `written` are kept if they cannot be."""
        with writing(self._engine) as tx:

            def keep(bad: Placed, reason: str) -> None:
                for one in written:
                    if one.position == bad.position:
                        write(tx, ADD, {**one._asdict(), "reason": reason})

            fold(tx, placed, keep)

    def settle(self) -> None:
        """Return: all is committed."""

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


class Elsewhere:
    """A file that a process of its own folds into; it ends with ours, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(path, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def fold(self, some: Sequence[Written]) -> None:
        """Hand the events over; it waits while the process has enough to do."""
        with self._told():
            self._pipe.send([tuple(one) for one in some])

    def settle(self) -> None:
        """Return when the process says that it has come this far."""
        with self._told():
            self._pipe.send([])
            reason = self._pipe.recv()
        if reason:
            raise FoldFailed(reason)

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError) as error:
            raise FoldFailed(self._last_words()) from error

    def _last_words(self) -> str:
        try:
            return str(self._pipe.recv())
        except (OSError, EOFError):
            return f"the process that folds into {self.path.name} was lost"


def _serve(path: Path, pipe: Connection) -> None:
    """Fold what comes; an empty delivery is answered when all before it is committed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable()  # what cannot be projected is told by the parent
    gc.freeze()  # modules stay: the collector need not look at them again and again
    try:
        part = Here(path)
        while True:
            some = pipe.recv()
            if some:
                part.fold([Written(*one) for one in some])
            else:
                pipe.send("")
    except EOFError:
        return  # the parent has ended
    except Exception as error:  # noqa: BLE001  # the parent raises it again
        pipe.send(f"{type(error).__name__}: {error}")


class Parts:
    """All the files of one rebuild, and how far each key has come in them."""

    def __init__(self, folder: Path, log: Log) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # what a rebuild that was killed has left
        folder.mkdir(parents=True)
        self._folder, self._log = folder, log
        self._after = 0
        self.folded: dict[str, int] = {}
        self.owners: dict[str, str] = {}
        self.unread: set[str] = set()
        self.is_mixed = False  # a stranger's refused command may name another account's site
        self.events = 0
        is_long = log.newest() > SPREAD_FROM
        count = min(os.cpu_count() or 1, MOST) if is_long else 1
        kind = Elsewhere if is_long else Here
        self._parts: list[Part] = []
        for number in range(count):
            self._parts.append(kind(folder / f"part-{number}.db"))

    @property
    def paths(self) -> list[Path]:
        """The files, which agree with `folded`."""
        return [part.path for part in self._parts]

    def advance(self, reached: Mapping[str, int] | None, told: Callable[[int, int], None]) -> int:
        """Fold what the log has beyond the last time, and return how many events that was.

        With `reached`, only what has been reached there, by key; the rest is for the next time.
        Wire names that only a newer release can read are entered in `unread`, and passed over.
        `told` hears how many events are folded, and up to which position, now and then.
        """
        began, start, waits = self.events, self._after, 0
        waiting: list[list[Written]] = [[] for _ in self._parts]
        for one in self._log.written(start):
            fields = from_json(one.body)
            self._after = one.position
            if not is_published_as(one.name, fields):
                continue
            if not is_readable(one.name):
                self.unread.add(one.name)
                continue
            account = fields["account_id"]
            key = fields.get("site_id") or account
            if one.position <= self.folded.get(key, 0):
                continue
            if reached is not None and one.position > reached.get(key, 0):
                waits = waits or one.position
                continue
            self.folded[key] = one.position
            self.is_mixed |= self.owners.setdefault(key, account) != account
            self.events += 1
            number = crc32(account.encode()) % len(self._parts)
            waiting[number].append(one)
            if len(waiting[number]) == AT_ONCE:
                self._parts[number].fold(waiting[number])
                waiting[number] = []
                told(self.events, one.position)
        for part, rest in zip(self._parts, waiting, strict=True):
            if rest:
                part.fold(rest)
        for part in self._parts:
            part.settle()
        told(self.events, self._after)
        if waits:
            self._after = waits - 1
        return self.events - began

    def keys_of(self, accounts: Sequence[str] | None) -> dict[str, int]:
        """Return how far the keys of these accounts have come, of all when none are named."""
        return {
            key: position
            for key, position in self.folded.items()
            if accounts is None or self.owners[key] in accounts
        }

    def unfolded(self) -> Iterator[tuple[Placed, str]]:
        """Give what cannot be projected, and why."""
        for path in self.paths:
            with opened(path) as tx:
                for row in tx.execute(sa.select(unfolded)):
                    yield Placed(row.position, decode(row.name, row.body)), row.reason

    def close(self) -> None:
        """End the processes and delete the files."""
        for part in self._parts:
            part.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def opened(path: Path) -> Iterator[sa.Connection]:
    """Give a transaction that reads one of the files."""
    engine = open_engine(f"sqlite:///{path}", disposable=True)
    try:
        with engine.connect() as tx, tx.begin():
            yield tx
    finally:
        engine.dispose()


def indexes() -> list[sa.Index]:
    """Return the indexes of all tables."""
    return [one for table in metadata.sorted_tables for one in sorted_indexes(table)]


def sorted_indexes(table: sa.Table) -> list[sa.Index]:
    """Return a table's indexes by name."""
    return sorted(table.indexes, key=lambda index: str(index.name))
