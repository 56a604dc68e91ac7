"""The event store: the truth. One append per message, over all the streams that it touches."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
from eventsourcing.persistence import (
    EventStore,
    InfrastructureFactory,
    IntegrityError,
    InterfaceError,
    Mapper,
    Notification,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
)
from psycopg.rows import tuple_row
from psycopg.sql import SQL

from events.envelope import Envelope, UnknownMessage, decode, encode
from events.message import wire_name
from events.topics import Placed, Written, is_published
from services.places import MIGRATE_LOCK, RELAY_LOCK, STORE_LOCK, store_environment
from services.settings import Settings

PAGE = 500
Raw = tuple[int, str, int, str, bytes]
"""A row of the store: position, stream, version, wire name, bytes."""


class StaleWriter(Exception):
    """Another writer was faster: a version is taken, or the message has its receipt."""


class StoreAway(OSError):
    """The database cannot be reached or used now: no message's fault, so it is tried again."""


class StoreIsNewer(Exception):
    """A newer release has written an event that this one cannot read, so it must not decide."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in its place in a stream; the library asks for the first two names."""

    originator_id: str
    originator_version: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event as the relay publishes it: its place, its wire name, its very bytes."""

    placed: Placed
    stream: str
    version: int
    name: str
    body: bytes


@contextmanager
def _reachable() -> Iterator[None]:
    """Turn the library's "cannot reach" into an OSError: nobody buries a message for it."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise StoreAway(str(error)) from error


def _decoded(name: str, body: bytes) -> Envelope:
    """Return a stored event. Raises StoreIsNewer: whoever went on would decide without it."""
    try:
        return decode(name, body)
    except UnknownMessage as error:
        raise _newer(name) from error


def _newer(name: str) -> StoreIsNewer:
    return StoreIsNewer(f"the store has {name}, which a newer release wrote: upgrade")


class EnvelopeMapper(Mapper[str]):
    """Stores the very bytes that the relay publishes, under the wire name."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        envelope = domain_event.envelope
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=wire_name(envelope.message),
            state=encode(envelope),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        return Recorded(
            str(stored_event.originator_id),
            stored_event.originator_version,
            _decoded(stored_event.topic, stored_event.state),
        )


class Store:
    """Reads and appends. It is synchronous: shells call it in a thread.

    `environment` is the eventsourcing library's; tables are made only with CREATE_TABLE=yes, as
    several processes that make them at once fail.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        factory = InfrastructureFactory[ProcessRecorder].construct(
            {"ORIGINATOR_ID_TYPE": "text", "CREATE_TABLE": "no", **environment}
        )
        self._factory = factory
        self.recorder: Any = factory.process_recorder()
        if hasattr(self.recorder, "lock_table_statements"):
            # The lock makes positions become visible in their order, so a tailing reader misses
            # nothing; unlike the library's table lock it needs no right but to insert.
            self.recorder.lock_table_statements = [
                SQL("SELECT pg_advisory_xact_lock({})").format(STORE_LOCK)
            ]
        self._events = EventStore(factory.mapper(mapper_class=EnvelopeMapper), self.recorder)

    def close(self) -> None:
        self._factory.close()

    def read(self, stream: str, after: int = 0) -> list[Recorded]:
        """Return a stream's events above a version, in order."""
        with _reachable():
            found = list(self._events.get(stream, gt=after))
        return [one for one in found if isinstance(one, Recorded)]

    def append(self, recorded: Sequence[Recorded]) -> None:
        """Append to all the streams or to none. Raises StaleWriter when a version is taken."""
        try:
            with _reachable():
                self._events.put(recorded)
        except IntegrityError as error:
            raise StaleWriter(recorded[-1].originator_id) from error

    def stored(self, after: int = 0) -> Iterator[Stored]:
        """Yield every event above a position, in store order."""
        while page := self.page(after):
            yield from page
            after = page[-1].placed.position

    def page(self, after: int, limit: int = PAGE) -> list[Stored]:
        """Return the next events above a position, in store order; few when there are no more."""
        return [_stored(notification) for notification in self._notifications(after, limit)]

    def _notifications(self, after: int, limit: int) -> list[Notification]:
        with _reachable():
            return list(self.recorder.select_notifications(after, limit, inclusive_of_start=False))

    def placed(self, after: int = 0) -> Iterator[Placed]:
        """Yield every published event above a position, in store order. Raises StoreIsNewer."""
        for stored in self.stored(after):
            if is_published(stored.placed.envelope.message):
                yield stored.placed

    def written(self, after: int = 0) -> Iterator[Written]:
        """Yield every event above a position, in store order, as it is stored: not decoded."""
        while page := self.raw(after):
            for position, _, _, name, body in page:
                yield Written(position, name, body)
            after = page[-1][0]

    def raw(self, after: int = 0, limit: int = PAGE, about: str = "") -> list[Raw]:
        """Return the next rows above a position as they lie there, in store order.

        With `about`, only those whose bytes contain that id: the database looks, nobody decodes.
        """
        if about:
            return self._rows("{at} > ? AND {find} > 0", "{at}", (after, about.encode()), limit)
        return self._rows("{at} > ?", "{at}", (after,), limit)

    def raw_stream(self, stream: str, after: int = 0, limit: int = PAGE) -> list[Raw]:
        """Return a stream's next rows above a version as they lie there, in order."""
        where = "originator_id = ? AND originator_version > ?"
        return self._rows(where, "originator_version", (stream, after), limit)

    def newest(self) -> int:
        """Return the position of the newest event; 0 when nothing is stored."""
        with _reachable():
            return int(self.recorder.max_notification_id() or 0)

    def _rows(self, where: str, order: str, given: tuple[Any, ...], limit: int) -> list[Raw]:
        """Run a query of ours beside the library's, whose rows are objects that nobody needs."""
        is_lite = "sqlite" in type(self.recorder).__module__
        columns = "{at}, originator_id, originator_version, topic, state"
        query = (
            f"SELECT {columns} FROM stored_events WHERE {where} ORDER BY {order} LIMIT ?".format(
                at="rowid" if is_lite else "notification_id",
                find="instr(state, ?)" if is_lite else "position(?::bytea IN state)",
            )
        )
        with _reachable(), self.recorder.datastore.transaction(commit=False) as cursor:
            if is_lite:
                cursor.sqlite_cursor.row_factory = None
            else:
                query, cursor.row_factory = query.replace("?", "%s"), tuple_row
            cursor.execute(query, (*given, limit))
            return cast(list[Raw], cursor.fetchall())

    def position_of(self, reader: str) -> int:
        """Return how far a reader has come; 0 for one that the store has not seen."""
        with _reachable():
            return int(self.recorder.max_tracking_id(reader) or 0)

    def track(self, reader: str, position: int) -> None:
        """Remember how far a reader has come; positions only rise."""
        if position > self.position_of(reader):
            with _reachable():
                self.recorder.insert_tracking(Tracking(reader, position))


def _stored(notification: Notification) -> Stored:
    envelope = _decoded(notification.topic, notification.state)
    return Stored(
        placed=Placed(notification.id, envelope),
        stream=str(notification.originator_id),
        version=notification.originator_version,
        name=notification.topic,
        body=notification.state,
    )


def open_store(settings: Settings) -> Store:
    """Open the store that the settings name; its tables must have been made by `migrate`."""
    return Store(store_environment(settings))


def migrate(settings: Settings) -> None:
    """Make the store's tables where they are missing: one process at a time, however many start."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _migrating(settings):
        Store({**store_environment(settings), "CREATE_TABLE": "yes"}).close()


@contextmanager
def _migrating(settings: Settings) -> Iterator[None]:
    """Keep others from making the same tables at once, which the databases answer with errors."""
    url = settings.database_url.get_secret_value()
    if url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATE_LOCK,))
            yield
        return
    with (settings.data_dir / "migrate.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def relay_lock(settings: Settings) -> Iterator[Callable[[], bool]]:
    """Give a function that tries to become the one relay; leaving gives the place up.

    The holder's end, of whatever kind, frees it: a file lock beside SQLite, a session's advisory
    lock on PostgreSQL.
    """
    url = settings.database_url.get_secret_value()
    if url:
        with psycopg.connect(url, autocommit=True) as connection:
            yield lambda: _try_advisory(connection)
    else:
        with _lock_file(settings.data_dir / "relay.lock") as attempt:
            yield attempt


def _try_advisory(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (RELAY_LOCK,)).fetchone()
    return bool(row and row[0])


@contextmanager
def _lock_file(path: Path) -> Iterator[Callable[[], bool]]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def attempt() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield attempt
    finally:
        os.close(handle)
