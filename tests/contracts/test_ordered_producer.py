"""A producer that is given up says nothing more, whoever answers at its address later."""

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
    """Its broker dies with a batch under way, and another one is there after it was stopped.

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


async def _make_topics(broker: Broker) -> None:
    admin = Admin(broker)
    await admin.start()
    await admin.make_topics()
    await admin.stop()
