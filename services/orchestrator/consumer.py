"""From commands and reports to decisions; what cannot be decoded goes to the dead letters."""

import asyncio
import logging
from collections.abc import Sequence

from events.dead_letters import attempts, replayed, set_aside
from events.envelope import BadMessage, Envelope, UnknownMessage
from events.ids import derive, is_id
from events.message import Command
from events.reading import read
from events.run import (
    BatchFailed,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    StageBatchCompleted,
    StageCompleted,
)
from events.topics import COMMANDS, STAGE_REPORTS, Publish, Record
from services.clock import Clock
from services.orchestrator.handler import Handler, KnownBug

logger = logging.getLogger(__name__)

CONSUMER = "orchestrator"
REPORTS = (
    StageBatchCompleted,
    BatchFailed,
    BatchReturned,
    StageCompleted,
    MessageSetAside,
    MessageReplayed,
)
# Events are about as large as the message that they follow from, and ids make a command's larger:
# all of them must fit into the 1 MiB that a topic takes, or the relay could not publish the store.
LARGEST = {COMMANDS: 512_000, STAGE_REPORTS: 900_000}  # bytes
PREFIXES = (("account_id", "account-"), ("site_id", "site-"), ("run_id", "run-"))


def message_in(record: Record) -> Envelope:
    """Return the command or report in a record. Raises UnknownMessage or BadMessage.

    Ids name streams, so each must be of its kind: nothing may write into a stream of another.
    """
    if record.value is not None and len(record.value) > LARGEST[record.topic]:
        raise BadMessage(f"{len(record.value)} bytes are too many for {record.topic}")
    envelope = read(record)
    expected = Command if record.topic == COMMANDS else REPORTS
    if not isinstance(envelope.message, expected):
        raise BadMessage(f"{envelope.message.TYPE} does not belong on {record.topic}")
    for field, prefix in PREFIXES:
        id_ = getattr(envelope, field)
        if id_ is not None and not (id_.startswith(prefix) and is_id(id_)):
            raise BadMessage(f"{field} {id_!r} is not an id of ours")
    if "\x00" in envelope.id:
        raise BadMessage("an id has a character that no store can hold")
    return envelope


def second_try(envelope: Envelope, attempt: int) -> Envelope:
    """Return the message under an id of its own, which follows from the first and the attempt.

    The first has had its one outcome, `internal_error`, and keeps it: nobody who was told so is
    told otherwise. What an operator sends again once the bug is mended needs an outcome too.
    """
    id_ = derive("msg", "replay", envelope.id, attempt)
    return envelope.model_copy(update={"id": id_, "cause": envelope.id})


class Consumer:
    """Hands over what one poll brought, and sets aside what nobody can follow."""

    def __init__(
        self, handler: Handler, publish: Publish, appended: asyncio.Event, now: Clock
    ) -> None:
        self._handler, self._publish, self._appended = handler, publish, appended
        self._now = now

    async def __call__(self, records: Sequence[Record]) -> None:
        """Return when every record has its outcome in the store or is a dead letter."""
        messages: list[Envelope] = []
        origin: dict[str, Record] = {}
        for record in records:
            try:
                envelope = message_in(record)
            except (UnknownMessage, BadMessage) as error:
                await self._set_aside(record, error)
            else:
                messages.append(envelope)
                origin[envelope.id] = record
        if not messages:
            return
        bugs = await asyncio.to_thread(self._handler.handle, messages)
        self._appended.set()
        for envelope, bug in bugs:
            await self._bury(envelope, origin[envelope.id], bug)
        failed = {envelope.id for envelope, _ in bugs}
        for record in (one for id_, one in origin.items() if id_ not in failed):
            await self._say_replayed(record)

    async def _bury(self, envelope: Envelope, record: Record, bug: Exception) -> None:
        """Set aside what hit a bug, and only then give it its outcome: so no letter is ever lost.

        Whatever has that outcome has its letter too, and needs no other when it comes again by
        itself, as a timer does that says every ten seconds what is due.
        """
        if isinstance(bug, KnownBug):
            await self._try_again(envelope, record)
            return
        await self._set_aside(record, bug)
        await asyncio.to_thread(self._handler.give_up, envelope)
        self._appended.set()

    async def _try_again(self, envelope: Envelope, record: Record) -> None:
        """Follow what hit a bug before, when an operator has sent it again."""
        attempt = attempts(record)
        if not attempt:
            return
        for fresh, bug in await asyncio.to_thread(
            self._handler.handle, [second_try(envelope, attempt)]
        ):
            if not isinstance(bug, KnownBug):
                await self._bury(fresh, record, bug)
            return
        self._appended.set()
        await self._say_replayed(record)

    async def _say_replayed(self, record: Record) -> None:
        for report in replayed(record, CONSUMER, self._now()):
            await self._publish(report)

    async def _set_aside(self, record: Record, error: Exception) -> None:
        logger.warning("message set aside", extra={"topic": record.topic, "error": repr(error)})
        for one in set_aside(record, error, CONSUMER, self._now()):
            await self._publish(one)
