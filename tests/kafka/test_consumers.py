"""Consumers on Apache Kafka, whose group gives partitions out anew while they work."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.kafka.connection import Broker
from events.kafka.consumer import consume
from events.kafka.producers import Producer
from events.topics import RUN_EVENTS, Record
from tests.kafka.test_producers import made

GROUP = "of-the-test"
KEYS = [f"site-{number}".encode() for number in range(40)]  # on every partition there are some


def test_what_was_read_before_a_rebalance_is_not_committed_after_it(kafka: str):
    """The broker may be another one by then, whose records have the same offsets."""
    broker = Broker(kafka, embedded=False)

    async def use() -> set[int | None]:
        await made(broker)
        producer = Producer(broker)
        for key in KEYS:
            await producer.publish(Record(RUN_EVENTS, key, b"{}", ()))
        await producer.stop()
        other = AIOKafkaConsumer(
            RUN_EVENTS, group_id=GROUP, enable_auto_commit=False, **broker.connection
        )
        stop = asyncio.Event()
        read: list[bytes | None] = []
        committed: set[int | None] = set()

        async def handle(records: Sequence[Record]) -> None:
            if not read:
                await other.start()
                while not other.assignment():
                    await asyncio.sleep(0.1)
                await asyncio.sleep(3)  # until the consumer has what is left to it
            elif again := {record.partition for record in records if record.key in read}:
                committed.update([await other.committed(_place(number)) for number in again])
                stop.set()
            read.extend(record.key for record in records)

        try:
            async with asyncio.timeout(90):
                await consume(broker, (RUN_EVENTS,), GROUP, handle, stop)
        finally:
            await other.stop()
        return committed

    assert asyncio.run(use()) == {None}  # when it is read again


def _place(partition: int) -> TopicPartition:
    return TopicPartition(RUN_EVENTS, partition)
