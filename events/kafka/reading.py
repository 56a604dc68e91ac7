"""A whole topic as it is now, and the name of this life of the broker's data."""

import time
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.ids import is_id
from events.kafka.admin import PARTITIONS
from events.kafka.connection import LOST, Broker, close, require_entry
from events.kafka.consumer import received
from events.kafka.producers import OrderedProducer
from events.topics import BROKER_EPOCH, Record

GIVE_UP_READING = 3.0  # seconds without a record


async def read_all(broker: Broker, topic: str) -> AsyncIterator[Record]:
    """Yield every record that a topic has now, in order per partition. Raises LOST errors.

    The end is where a fetch finds nothing more at the high-water mark that it brought along: the
    embedded broker's end offsets are wrong for batches. Raises NotLetIn.
    """
    consumer = AIOKafkaConsumer(
        **broker.connection,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await _start_reading(broker, consumer)
        places = [TopicPartition(topic, number) for number in PARTITIONS[topic]]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        read = dict.fromkeys(places, 0)
        quiet_since = time.monotonic()
        while True:
            found = await consumer.getmany(timeout_ms=100, max_records=2_000)
            for place, records in found.items():
                read[place] = records[-1].offset + 1
                for record in records:
                    yield received(record)
            if found:
                quiet_since = time.monotonic()
            marks = {place: consumer.highwater(place) for place in places}
            done = all(mark is not None and read[place] >= mark for place, mark in marks.items())
            if not found and done:
                return
            if not found and time.monotonic() - quiet_since > GIVE_UP_READING:
                if any(mark is None for mark in marks.values()):  # a partition has never answered
                    raise TimeoutError(f"{topic} does not answer")
                return
    finally:
        await close(consumer.stop())


async def _start_reading(broker: Broker, consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.start()
    except LOST:
        await require_entry(broker)
        raise


async def epoch_of(broker: Broker, fresh: str) -> str:
    """Return the name of this life of the broker's data; where there is none, `fresh` becomes it.

    A topic that was emptied has lost its record too, so an unknown name means: publish everything.
    What a stranger wrote there is no name: it is passed over each time, and needs no dead letter.
    """
    found = [name async for record in read_all(broker, BROKER_EPOCH) if (name := epoch_in(record))]
    if found:
        return found[-1]
    producer = OrderedProducer(broker)
    await producer.start()
    try:
        await producer.send([Record(BROKER_EPOCH, b"epoch", fresh.encode(), ())])
    finally:
        await producer.stop()
    return fresh


def epoch_in(record: Record) -> str | None:
    """Return the name in a record of the epoch's topic, none when it is not one of ours."""
    try:
        name = (record.value or b"").decode()
    except UnicodeDecodeError:
        return None
    return name if name.startswith("epoch-") and is_id(name) else None
