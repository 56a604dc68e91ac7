"""From commands and reports to decisions; what cannot be decoded goes to the dead letters."""

import asyncio
import logging
from collections.abc import Sequence

from events.dead_letters import dead_letter
from events.envelope import BadMessage, Envelope, UnknownMessage
from events.ids import is_id
from events.message import Command
from events.reading import read
from events.run import BatchFailed, BatchReturned, StageBatchCompleted, StageCompleted
from events.topics import COMMANDS, STAGE_REPORTS, Publish, Record
from services.orchestrator.handler import Handler

logger = logging.getLogger(__name__)

REPORTS = (StageBatchCompleted, BatchFailed, BatchReturned, StageCompleted)
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
    return envelope


class Consumer:
    """Hands over what one poll brought, and sets aside what nobody can follow."""

    def __init__(self, handler: Handler, publish: Publish, appended: asyncio.Event) -> None:
        self._handler, self._publish, self._appended = handler, publish, appended

    async def __call__(self, records: Sequence[Record]) -> None:
        """Return when every record has its outcome in the store or is a dead letter."""
        messages: list[Envelope] = []
        origin: dict[str, Record] = {}
        for record in records:
            try:
                envelope = message_in(record)
            except (UnknownMessage, BadMessage) as error:
                await self._set_aside(record, str(error))
            else:
                messages.append(envelope)
                origin[envelope.id] = record
        if not messages:
            return
        bugs = await asyncio.to_thread(self._handler.handle, messages)
        self._appended.set()
        for envelope, bug in bugs:
            await self._set_aside(origin[envelope.id], repr(bug))

    async def _set_aside(self, record: Record, error: str) -> None:
        logger.warning("message set aside", extra={"topic": record.topic, "error": error})
        await self._publish(dead_letter(record, error, "orchestrator"))
