"""A broker that gives producers no id, as the embedded one, is told from one that is away."""

import asyncio
from pathlib import Path

import pytest

from events.kafka.connection import Broker, NothingSent
from events.kafka.producers import OrderedProducer, Producer
from tests.chaos.brokers import EmbeddedBroker
from tests.engines.processes import free_port


async def refused(kind: type[Producer] | type[OrderedProducer], port: int) -> str:
    producer = kind(Broker(f"127.0.0.1:{port}", embedded=False))
    try:
        with pytest.raises(NothingSent) as raised:
            await producer.start()
    finally:
        await producer.stop()
    return str(raised.value)


@pytest.mark.parametrize("kind", [Producer, OrderedProducer])
def test_an_operator_hears_which_setting_is_meant(
    kind: type[Producer] | type[OrderedProducer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    server = EmbeddedBroker(tmp_path)
    try:
        server.wait()
        assert asyncio.run(refused(kind, server.port)) == "the broker gives producers no id"
    finally:
        server.end()
    assert "leave SEPTET_KAFKA_BOOTSTRAP_SERVERS empty" in caplog.text
    caplog.clear()
    assert asyncio.run(refused(kind, free_port())) == "the broker cannot be reached"
    assert "SEPTET_KAFKA_BOOTSTRAP_SERVERS" not in caplog.text
