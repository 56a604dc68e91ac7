"""What clients of a broker that lost its data still send does no harm to the next one."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from events.kafka.admin import Admin
from events.kafka.connection import Broker
from events.kafka.producers import OrderedProducer
from events.kafka.reading import read_all
from events.topics import RUN_EVENTS, Record
from tests.chaos.brokers import EmbeddedBroker


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    one = EmbeddedBroker(tmp_path)
    try:
        one.wait()
        yield one
    finally:
        one.end()


def broker_at(server: EmbeddedBroker) -> Broker:
    return Broker(f"127.0.0.1:{server.port}", embedded=True)


def test_what_a_stopped_producer_did_not_send_never_comes(server: EmbeddedBroker):
    """A producer's broker dies with a batch under way; another one is there after it was stopped.

    The stop is quick: one that waited for the batch would give up waiting, and leave the sender.
    """
    assert asyncio.run(_found_after_a_stop(server, broker_at(server))) == [b"the next"]


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


def test_what_came_before_the_topics_is_forgotten_and_blocks_nothing(server: EmbeddedBroker):
    """A producer that lives through the loss may send on before the topics are there again."""
    found = asyncio.run(_found_after_a_stray(server, broker_at(server)))
    assert found == [b"first", b"second"]


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
