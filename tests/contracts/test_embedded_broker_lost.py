"""What clients of a broker that lost its data still send does no harm to the next one."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

from events.kafka.admin import Admin
from events.kafka.connection import Broker
from events.kafka.producers import OrderedProducer
from events.kafka.reading import read_all
from events.topics import RUN_EVENTS, Record
from tests.chaos.brokers import EmbeddedBroker


def test_what_a_stopped_producer_did_not_send_never_comes(tmp_path: Path):
    """A producer's broker dies with a batch under way; another one is there after it was stopped.

    The stop is quick: one that waited for the batch would give up waiting, and leave the sender.
    """
    server = EmbeddedBroker(tmp_path)
    server.wait()
    broker = Broker(f"127.0.0.1:{server.port}", embedded=True)
    try:
        assert asyncio.run(_found_after_a_stop(server, broker)) == [b"the next"]
    finally:
        server.end()


async def _found_after_a_stop(server: EmbeddedBroker, broker: Broker) -> list[bytes | None]:
    await _make_topics(broker)
    producer = OrderedProducer(broker)
    await producer.start()
    await producer.send([Record(RUN_EVENTS, b"site-1", b"before", ())])
    server.end()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await producer.send([Record(RUN_EVENTS, b"site-1", b"under way", ())])
    began = time.monotonic()
    await producer.stop()
    assert time.monotonic() - began < 3
    server.start()
    await asyncio.to_thread(server.wait)
    await _make_topics(broker)
    await asyncio.sleep(2)  # an old sender would try ten times a second
    following = OrderedProducer(broker)
    await following.start()
    await following.send([Record(RUN_EVENTS, b"site-1", b"the next", ())])
    await following.stop()
    return [record.value async for record in read_all(broker, RUN_EVENTS)]


def test_what_came_before_the_topics_is_forgotten_and_blocks_nothing(tmp_path: Path):
    """A producer that lives through the loss may send on before the topics are there again."""
    server = EmbeddedBroker(tmp_path)
    server.wait()
    broker = Broker(f"127.0.0.1:{server.port}", embedded=True)
    try:
        assert asyncio.run(_found_after_a_stray(server, broker)) == [b"first", b"second"]
    finally:
        server.end()


async def _found_after_a_stray(server: EmbeddedBroker, broker: Broker) -> list[bytes | None]:
    await _make_topics(broker)
    surviving = OrderedProducer(broker)
    await surviving.start()
    await surviving.send([Record(RUN_EVENTS, b"site-1", b"before", ())])
    server.end()
    server.start()
    await asyncio.to_thread(server.wait)
    await surviving.send([Record(RUN_EVENTS, b"site-1", b"stray", ())])
    await surviving.stop()
    await _make_topics(broker)
    following = OrderedProducer(broker)
    await following.start()
    for value in (b"first", b"second"):
        await following.send([Record(RUN_EVENTS, b"site-1", value, ())])
    await following.stop()
    return [record.value async for record in read_all(broker, RUN_EVENTS)]


async def _make_topics(broker: Broker) -> None:
    admin = Admin(broker)
    await admin.start()
    await admin.make_topics()
    await admin.stop()
