"""The recorded heads of every chain: written once while the relay reads the store, compared later.

On SQLite they lie in a file of their own, so that writing them never keeps an append waiting.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from events.chain import NOTHING, Head, digest_of, extend, first
from events.topics import is_published
from projections.database import insert_new, open_engine, write_all, writing
from services.orchestrator.store import StoreAway, Stored
from services.own_tables import OwnTables
from services.places import chain_url
from services.settings import Settings

logger = logging.getLogger(__name__)

metadata = sa.MetaData()
Position = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
chain = sa.Table(
    "chain",
    metadata,
    sa.Column("position", Position, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),
    sa.Column("unseen", sa.LargeBinary),  # none where the event is published
    sa.Index("chain_key", "key", "position"),
)
# Two relays may meet for a moment when a database cuts a lock's session; both have the same rows.
ADD = insert_new(chain)
REACHED = sa.select(sa.func.max(chain.c.position))
WITHIN = (
    sa.select(chain)
    .where(chain.c.position > sa.bindparam("after"), chain.c.position <= sa.bindparam("until"))
    .order_by(chain.c.position)
)
NEWEST = (
    sa.select(chain)
    .where(chain.c.key == sa.bindparam("which"), chain.c.position <= sa.bindparam("until"))
    .order_by(chain.c.position.desc())
    .limit(1)
)
PUBLISHED = (
    sa.select(chain.c.key, sa.func.max(chain.c.position).label("position"))
    .where(chain.c.unseen.is_(None))
    .group_by(chain.c.key)
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is recorded of one event: the head of its key with it."""

    position: int
    key: str
    head: Head
    shown: bool


class Chain(OwnTables):
    """Continues every key's chain and compares with what it has recorded before.

    A recorded head is never changed. Where an event does not lead to it, an error is logged for the
    operators, and the chain goes on from the recorded head: so one alteration is told once. Its
    methods block; one relay at a time calls `extend`.
    """

    METADATA = metadata

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._heads: dict[str, Head] = {}
        self._reached = 0

    def reached(self) -> int:
        """Return the newest position that is recorded; 0 when none is."""
        with _reachable(), self._engine.connect() as tx:
            return tx.scalar(REACHED) or 0

    def begin(self) -> int:
        """Forget what is known of heads: the store is read from some position again."""
        self._heads, self._reached = {}, self.reached()
        return self._reached

    def extend(self, page: Sequence[Stored], after: int) -> dict[int, Head]:
        """Return by position what the records of published events say of their place.

        `page` is all that the store has next after the position `after`.
        """
        until = page[-1].placed.position
        is_old = after < self._reached
        known = {one.position: one for one in self.within(after, until)} if is_old else {}
        found, new = dict[int, Head](), list[dict[str, Any]]()
        for stored in page:
            position = stored.placed.position
            for gone in [at for at in known if at < position]:
                self._lose(known.pop(gone))
            before = self._head_of(stored.placed.key, position)
            here = _linked(stored, before)
            if position > self._reached:
                new.append(_row(here))
            else:
                recorded = known.pop(position, None)
                if here != recorded:
                    what = "was put in" if recorded is None else "is not what it was"
                    self._tell(f"an event {what}", here)
                if recorded is None:
                    continue
                here = recorded
            self._heads[here.key] = here.head
            if here.shown:
                found[position] = Head(here.head.chain, before.unseen)
        if new:
            with _reachable(), writing(self._engine) as tx:
                write_all(tx, ADD, new)
            self._reached = until
        return found

    def within(self, after: int, until: int) -> list[Entry]:
        """Return what is recorded above a position, up to another one, in order."""
        with _reachable(), self._engine.connect() as tx:
            return [_entry(row) for row in tx.execute(WITHIN, {"after": after, "until": until})]

    def at(self, key: str, until: int) -> Entry | None:
        """Return the newest entry of a key up to a position; none when there is none."""
        with _reachable(), self._engine.connect() as tx:
            row = tx.execute(NEWEST, {"which": key, "until": until}).first()
        return None if row is None else _entry(row)

    def newest(self) -> Iterator[Entry]:
        """Yield for each key the entry of its newest published event."""
        joined = PUBLISHED.subquery()
        asked = (
            sa.select(chain)
            .join(joined, chain.c.position == joined.c.position)
            .order_by(chain.c.key)
        )
        with _reachable(), self._engine.connect() as tx:
            for row in tx.execute(asked.execution_options(yield_per=1000)):
                yield _entry(row)

    def _head_of(self, key: str, position: int) -> Head:
        known = self._heads.get(key)
        if known is None:
            entry = self.at(key, position - 1)
            known = entry.head if entry else first(key)
        return known

    def _lose(self, entry: Entry) -> None:
        self._tell("an event is gone", entry)
        self._heads[entry.key] = entry.head

    def _tell(self, what: str, entry: Entry) -> None:
        logger.error(
            "the store was altered",
            extra={"position": entry.position, "key": entry.key, "error": what},
        )


def _linked(stored: Stored, before: Head) -> Entry:
    """Return the entry of an event whose key's head is `before` it."""
    shown = is_published(stored.placed.envelope.message)
    head = extend(before, digest_of(stored.name, stored.body), shown=shown)
    return Entry(stored.placed.position, stored.placed.key, head, shown)


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "position": entry.position,
        "key": entry.key,
        "head": entry.head.chain,
        "unseen": None if entry.shown else entry.head.unseen,
    }


def _entry(row: sa.Row[Any]) -> Entry:
    position, key, head, unseen = row
    return Entry(position, key, Head(head, unseen or NOTHING), unseen is None)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise StoreAway(str(error.orig)) from error


def open_chain(settings: Settings) -> Chain:
    """Open the heads beside the store that the settings name; `migrate` has made their table."""
    engine = open_engine(chain_url(settings))
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def relax(connection: Any, _record: Any) -> None:
            # What a power cut takes is computed again from the store, which keeps all.
            connection.execute("PRAGMA synchronous=NORMAL").close()

    return Chain(engine)


def migrate(settings: Settings) -> None:
    """Make the table where it is missing."""
    opened = open_chain(settings)
    try:
        opened.create_tables()
    finally:
        opened.close()
