"""The broker as commands see it: read a topic to its end, or say that nobody answers."""

import asyncio
import logging

from events.topics import Record
from services.cli.output import Code, Failed
from services.places import broker_of
from services.settings import Settings


def records_of(settings: Settings, topic: str) -> list[Record]:
    """Return every record that the topic has now. Raises Failed when no broker answers."""
    from events.kafka.connection import LOST, Misconfigured
    from events.kafka.reading import read_all

    _quiet()

    async def all_of_them() -> list[Record]:
        return [record async for record in read_all(broker_of(settings), topic)]

    try:
        return asyncio.run(all_of_them())
    except Misconfigured as error:
        raise Failed(str(error), Code.USAGE) from error
    except LOST as error:
        raise nobody(settings) from error


def publish(settings: Settings, records: list[Record]) -> None:
    """Send the records. Raises Failed when the broker does not take them."""
    from events.kafka.connection import AnswerLost, NothingSent
    from events.kafka.producers import Producer

    _quiet()

    async def all_of_them() -> None:
        producer = Producer(broker_of(settings))
        try:
            for record in records:
                await producer.publish(record)
        finally:
            await producer.stop()

    try:
        asyncio.run(all_of_them())
    except (NothingSent, AnswerLost) as error:
        raise nobody(settings) from error


def nobody(settings: Settings) -> Failed:
    """Return the failure of a broker that does not answer."""
    return Failed(
        f"no broker answers at {settings.brokers}. Start one with septet up, "
        "or set SEPTET_KAFKA_BOOTSTRAP_SERVERS"
    )


def _quiet() -> None:
    """Keep the client library from telling on stderr what our one sentence tells."""
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
