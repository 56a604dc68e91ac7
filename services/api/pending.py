"""The API's own table of sent commands: what it has promised to send until there is an outcome."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from events.envelope import BadMessage, Envelope, UnknownMessage, decode, encode
from events.kafka.connection import AnswerLost, NothingSent
from events.message import wire_name
from events.topics import Publish, command_record
from projections import receipts
from projections.database import open_engine, reading
from services.own_tables import OwnTables

logger = logging.getLogger(__name__)

REMEMBERED = timedelta(hours=24)  # the contract's life of an Idempotency-Key
# A key's life ends by its receipt's time, which is later than the row's: rows stay a little longer.
KEPT = REMEMBERED + timedelta(hours=1)
SEND_AGAIN_AFTER = timedelta(seconds=5)
ROUND = 5.0  # seconds
AT_ONCE = 500  # rows

metadata = sa.MetaData()
sent_commands = sa.Table(
    "sent_commands",
    metadata,
    sa.Column("command_id", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("answered", sa.Boolean, nullable=False),
    sa.Index("sent_commands_open", "answered", "sent_at"),
)

Claim = Literal["new", "known", "conflict"]


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A command that the API sends until its receipt exists.

    `scope` is whose Idempotency-Keys these are: an account, or `admin`. `digest` is the request's.
    `parts` is how many commands the request became; the first one's id stands for all. Without a
    body there is nothing to send: the row only keeps the key.
    """

    command_id: str
    scope: str
    account_id: str
    idempotency_key: str | None
    digest: str
    name: str
    body: bytes
    parts: int
    sent_at: datetime

    def envelope(self) -> Envelope:
        """Return the command. Raises UnknownMessage or BadMessage after a change of release."""
        return decode(self.name, self.body)


def sent(
    envelope: Envelope, scope: str, idempotency_key: str | None, digest: str, parts: int = 1
) -> SentCommand:
    """Return the row of a command that is about to be sent."""
    return SentCommand(
        command_id=envelope.id,
        scope=scope,
        account_id=envelope.account_id,
        idempotency_key=idempotency_key,
        digest=digest,
        name=wire_name(envelope.message),
        body=encode(envelope),
        parts=parts,
        sent_at=envelope.at,
    )


class PendingCommands(OwnTables):
    """The table. Its methods block; rows are there before anything is sent."""

    METADATA = metadata

    def claim(self, commands: Sequence[SentCommand]) -> Claim:
        """Keep all commands of one request, or none when its key belongs to another request."""
        with self._engine.begin() as tx:
            claims = [_claim_one(tx, command) for command in commands]
            if "conflict" in claims:
                tx.rollback()
                return "conflict"
        return claims[0]

    def withdraw(self, command_ids: Sequence[str]) -> bool:
        """Forget commands of which nothing was sent; false when another try may have been."""
        mine = sent_commands.c.command_id.in_(command_ids)
        with self._engine.begin() as tx:
            gone = tx.execute(sa.delete(sent_commands).where(mine, sent_commands.c.tries == 1))
            if gone.rowcount < len(command_ids):
                tx.rollback()
                return False
        return True

    def find(self, command_id: str) -> SentCommand | None:
        """Return the command of that id."""
        query = sa.select(sent_commands).where(sent_commands.c.command_id == command_id)
        with self._engine.connect() as tx:
            row = tx.execute(query).one_or_none()
        return None if row is None else _command(row)

    def due(self, now: datetime) -> list[SentCommand]:
        """Return commands that have waited for an outcome long enough to be sent again.

        One that was sent in what is now the future was sent by a clock that has been put right.
        """
        query = (
            sa.select(sent_commands)
            .where(
                sent_commands.c.answered.is_(False),
                sa.or_(
                    sent_commands.c.sent_at <= _text(now - SEND_AGAIN_AFTER),
                    sent_commands.c.sent_at >= _text(now + SEND_AGAIN_AFTER),
                ),
            )
            .order_by(sent_commands.c.tries, sent_commands.c.sent_at)
            .limit(AT_ONCE)
        )
        with self._engine.connect() as tx:
            return [_command(row) for row in tx.execute(query)]

    def try_again(self, command_id: str) -> bool:
        """Count another try; false when the command has been withdrawn meanwhile."""
        return self._set(command_id, tries=sent_commands.c.tries + 1)

    def mark_answered(self, command_id: str) -> bool:
        """Note that the command has its outcome, and let go of what it said."""
        return self._set(command_id, answered=True, body=b"")

    def _set(self, command_id: str, **values: Any) -> bool:
        row = sent_commands.c.command_id == command_id
        with self._engine.begin() as tx:
            return tx.execute(sa.update(sent_commands).where(row).values(**values)).rowcount == 1

    def forget(self, now: datetime) -> None:
        """Delete what is answered and so old that nobody asks for it any more."""
        old = sent_commands.c.sent_at < _text(now - KEPT)
        answered = sent_commands.c.answered.is_(True)
        with self._engine.begin() as tx:
            tx.execute(sa.delete(sent_commands).where(old, answered))

    def count_open(self) -> int:
        """Return how many commands wait for their outcome."""
        query = sa.select(sa.func.count()).where(sent_commands.c.answered.is_(False))
        with self._engine.connect() as tx:
            return int(tx.execute(query).scalar_one())


def open_pending(url: str) -> PendingCommands:
    """Open the table in a database of its own (`sqlite:///…`) or beside others (`postgresql://…`)."""
    pending = PendingCommands(open_engine(url))
    pending.create_tables()
    return pending


def _claim_one(tx: sa.Connection, command: SentCommand) -> Claim:
    mine = sent_commands.c.command_id == command.command_id
    again = sa.update(sent_commands).where(mine).values(tries=sent_commands.c.tries + 1)
    while True:
        found = tx.execute(again.returning(sent_commands.c.digest)).scalar_one_or_none()
        if found is not None:
            return "known" if found == command.digest else "conflict"
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(sent_commands).values(_row(command)))
        except sa.exc.IntegrityError:
            continue  # another request with the same key was faster
        return "new"


def _row(command: SentCommand) -> dict[str, Any]:
    fields = {name: getattr(command, name) for name in SentCommand.__slots__}
    kept = {"sent_at": _text(command.sent_at), "tries": 1, "answered": not command.body}
    return fields | kept


def _command(row: Any) -> SentCommand:
    fields = {name: getattr(row, name) for name in SentCommand.__slots__}
    fields["sent_at"] = datetime.fromisoformat(row.sent_at)
    return SentCommand(**fields)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def send_open(pending: PendingCommands, read_model: sa.Engine, now: datetime) -> list[Envelope]:
    """Return the commands to send again; those that have their outcome are marked on the way."""
    again = []
    for command in pending.due(now):
        with reading(read_model) as tx:
            receipt = receipts.find(tx, command.account_id, command.command_id)
        if receipt is not None:
            pending.mark_answered(command.command_id)
        elif pending.try_again(command.command_id):
            try:
                again.append(command.envelope())
            except (UnknownMessage, BadMessage):
                logger.exception("cannot send again", extra={"command_id": command.command_id})
    return again


async def keep_sending(
    pending: PendingCommands,
    read_model: sa.Engine,
    publish: Publish,
    clock: Callable[[], datetime],
) -> None:
    """Send every command without an outcome again, until cancelled."""
    while True:
        await asyncio.sleep(ROUND)
        try:
            await asyncio.to_thread(pending.forget, clock())
            for envelope in await asyncio.to_thread(send_open, pending, read_model, clock()):
                await publish(command_record(envelope))
        except (sa.exc.SQLAlchemyError, NothingSent, AnswerLost) as error:
            logger.warning("cannot send again now", extra={"error": type(error).__name__})
        except Exception:  # a bug in one round must not end the promise to send
            logger.exception("cannot send again")
