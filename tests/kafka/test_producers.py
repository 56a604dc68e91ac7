"""Producers on Apache Kafka, which follows what each has sent by counting it."""

import asyncio

from events.kafka.admin import Admin
from events.kafka.connection import LOST, AnswerLost, Broker
from events.kafka.producers import Producer
from events.kafka.reading import read_all
from events.topics import DEAD_LETTERS, Record
from tests.engines import engines
from tests.system.septet import wait_for


async def made(broker: Broker) -> None:
    """Return when the topics are there and their partitions have leaders that answer."""
    admin = Admin(broker)
    try:
        await admin.start()
        await admin.make_topics()
    finally:
        await admin.stop()
    async with asyncio.timeout(90):
        while True:
            try:
                assert [record async for record in read_all(broker, DEAD_LETTERS)] == []
            except LOST:
                await asyncio.sleep(0.5)
            else:
                return


async def published(producer: Producer, text: str) -> bool:
    try:
        await producer.publish(Record(DEAD_LETTERS, b"key", text.encode(), ()))
    except AnswerLost:
        return False
    return True


def test_a_producer_whose_count_the_broker_does_not_follow_begins_anew(kafka: str):
    """The emptied broker gives the number of the old producer to the new one."""
    broker = Broker(kafka, embedded=False)

    async def use() -> list[bytes | None]:
        await made(broker)
        old, new = Producer(broker), Producer(broker)
        try:
            assert [await published(old, "before") for _ in range(3)] == [True, True, True]
            await asyncio.to_thread(engines.kill_kafka, kafka)
            await asyncio.to_thread(engines.start_kafka, kafka, empty=True)
            await made(broker)
            assert await published(new, "of the other")
            tried = [await published(old, f"after {number}") for number in range(3)]
            assert tried == [False, True, True]
            return [record.value async for record in read_all(broker, DEAD_LETTERS)]
        finally:
            await old.stop()
            await new.stop()

    assert asyncio.run(use()) == [b"of the other", b"after 1", b"after 2"]


def test_what_a_producer_could_not_send_it_does_not_send_for_ever(kafka: str):
    """A stop that waited for the broker would keep a client, and its attempts, for each time."""
    broker = Broker(kafka, embedded=False)

    async def use() -> int:
        await made(broker)
        producer = Producer(broker)
        assert await published(producer, "before")
        before = len(asyncio.all_tasks())
        await asyncio.to_thread(engines.kill_kafka, kafka)
        assert not await published(producer, "lost")
        await producer.stop()
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(use()) <= 0
    engines.start_kafka(kafka)
    wait_for("it answers", lambda: bool(asyncio.run(_dead_letters(broker))), within=30)
    assert asyncio.run(_dead_letters(broker)) == [b"before"]


async def _dead_letters(broker: Broker) -> list[bytes | None]:
    return [record.value async for record in read_all(broker, DEAD_LETTERS)]
