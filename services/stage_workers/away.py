"""What a worker does while the broker is away: wait for it, and say again what it did not take."""

import asyncio
import logging
from collections.abc import Sequence

from events.kafka.admin import topics_made
from events.kafka.connection import LOST, AnswerLost, Broker, NothingSent
from events.kafka.same_broker import SameBroker
from events.topics import BROKER_EPOCH, STAGE_REPORTS, Publish, Record, stage_topic

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds
PAUSES = (0.2, 1.0)  # seconds before a report is sent again; then a fresh process does better


async def broker_there(
    broker: Broker, stages: Sequence[int], stop: asyncio.Event
) -> SameBroker | None:
    """Return who looks on whether the broker stays, once it has the topics; none on `stop`.

    Raises NotLetIn.
    """
    topics = [stage_topic(stage) for stage in stages]
    is_told = False
    while not stop.is_set():
        try:
            await topics_made(broker, [BROKER_EPOCH, STAGE_REPORTS, *topics], stop)
            return await SameBroker.now(broker, topics)
        except LOST as error:
            if not is_told:
                logger.warning("waiting for the broker", extra={"error": repr(error)})
                is_told = True
            await asyncio.sleep(LOOK_EVERY)
    return None


def said_again(publish: Publish) -> Publish:
    """Return what publishes a report, and again where the broker did not take it or did not say.

    A report keeps its id, so one that comes twice counts once. It raises what the last time raises.
    """

    async def published(record: Record) -> None:
        for pause in PAUSES:
            try:
                return await publish(record)
            except (AnswerLost, NothingSent) as error:
                logger.info("saying it again", extra={"error": repr(error), "topic": record.topic})
                await asyncio.sleep(pause)
        return await publish(record)

    return published
