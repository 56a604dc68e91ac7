"""Private names of pinned libraries that we set: an upgrade that drops one fails here."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from faust.transport.drivers import aiokafka as driver

from events.kafka import BUSY_WAIT, Broker, Pace


def test_the_fetcher_reads_its_wait_anew_for_every_fetch():
    names = Fetcher._get_actions_per_node.__code__.co_names
    assert "_fetch_max_wait_ms" in names + Fetcher._proc_fetch_request.__code__.co_names


def test_a_pace_is_long_in_a_quiet_time_and_short_in_a_busy_one():
    async def waits() -> list[int]:
        pace = Pace(Broker("127.0.0.1:9", embedded=True), quiet_ms=700)
        found = [pace.wait_ms]
        pace.keep(AIOKafkaConsumer())
        pace.touch()
        return [*found, pace.wait_ms]

    assert asyncio.run(waits()) == [700, BUSY_WAIT]


def test_apache_kafka_keeps_the_usual_wait():
    pace = Pace(Broker("127.0.0.1:9", embedded=False), quiet_ms=700)
    pace.touch()
    assert pace.wait_ms == 500


def test_faust_still_makes_its_consumers_where_we_override():
    assert hasattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer")
    assert hasattr(driver.Consumer, "_new_consumer_thread")
    assert driver.Transport.Consumer is driver.Consumer
