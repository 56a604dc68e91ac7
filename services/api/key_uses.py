"""The API's own table of when each key was last used: no event, as a request changes nothing."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from projections.database import open_engine, stamp, upsert, write_all
from services.own_tables import OwnTables

logger = logging.getLogger(__name__)

NOTED_EVERY = timedelta(minutes=1)

metadata = sa.MetaData()
key_uses = sa.Table(
    "key_uses",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("last_used_at", sa.Text, nullable=False),
)
# Several API processes write the same row, and the one with the older time may be the later one.
MOVE_ON = upsert(
    key_uses,
    lambda new: {"last_used_at": new.last_used_at},
    where=key_uses.c.last_used_at < sa.literal_column("excluded.last_used_at"),
)


class KeyUses(OwnTables):
    """The table, and what of it is still to be written.

    `note` is called in the event loop and returns at once; a key's row is written at most once a
    minute by one process. `write` and `last` block.
    """

    METADATA = metadata

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._noted: dict[str, datetime] = {}
        self._swept: datetime | None = None
        self._due: dict[str, dict[str, str]] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, account_id: str, key_id: str, at: datetime) -> None:
        """Have it written that the key was used, unless that was done within the last minute."""
        before = self._noted.get(key_id)
        if before is not None and at - before < NOTED_EVERY:
            return
        self._sweep(at)
        self._noted[key_id] = at
        row = {"key_id": key_id, "account_id": account_id, "last_used_at": stamp(at)}
        self._due[key_id] = row
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_due())

    def _sweep(self, at: datetime) -> None:
        if self._swept is None or at - self._swept >= NOTED_EVERY:
            self._swept = at
            self._noted = {
                key: noted for key, noted in self._noted.items() if at - noted < NOTED_EVERY
            }

    async def _write_due(self) -> None:
        while self._due:
            rows, self._due = self._due, {}
            try:
                await asyncio.to_thread(self.write, rows)
            except sa.exc.SQLAlchemyError as error:
                self._due = {**rows, **self._due}  # with the next use of any key
                logger.warning("cannot note key uses", extra={"error": type(error).__name__})
                return

    async def written(self) -> None:
        """Return when nothing is being written any more."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing})

    def write(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Write the rows, by key id; a time that is older than the row's changes nothing."""
        in_order = [rows[key_id] for key_id in sorted(rows)]  # or two processes lock each other out
        with self._engine.begin() as tx:
            write_all(tx, MOVE_ON, in_order)

    def last(self, account_id: str, key_ids: Collection[str]) -> dict[str, datetime]:
        """Return when the account's keys were last used, those that ever were."""
        query = sa.select(key_uses).where(
            key_uses.c.account_id == account_id, key_uses.c.key_id.in_(key_ids)
        )
        with self._engine.connect() as tx:
            found = tx.execute(query).all()
        return {row.key_id: datetime.fromisoformat(row.last_used_at) for row in found}


def open_key_uses(url: str) -> KeyUses:
    """Open the table in the API's own database, beside the commands that it has sent."""
    uses = KeyUses(open_engine(url))
    uses.create_tables()
    return uses
