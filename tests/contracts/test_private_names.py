"""Private names of pinned libraries that we set: an upgrade that drops one fails here."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from faust.transport.drivers import aiokafka as driver

from events.kafka.connection import Broker
from events.kafka.consumer import BUSY_WAIT, Pace

PRODUCERS = {"_sender", "_closed", "_txn_manager"}


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


def test_a_producer_still_has_what_we_look_at_and_stop_it_by():
    async def names() -> set[str]:
        producer = AIOKafkaProducer()
        return PRODUCERS & set(vars(producer))

    assert asyncio.run(names()) == PRODUCERS
    assert hasattr(TransactionManager, "has_pid")
    assert asyncio.iscoroutinefunction(Sender.close)


def test_faust_still_makes_its_consumers_where_we_override():
    assert hasattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer")
    assert hasattr(driver.Consumer, "_new_consumer_thread")
    assert driver.Transport.Consumer is driver.Consumer


def test_an_admin_still_asks_for_cluster_and_topics_at_once():
    names = AIOKafkaAdminClient.describe_cluster.__code__.co_names
    assert "_get_cluster_metadata" in names
    assert "_get_cluster_metadata" in AIOKafkaAdminClient.describe_topics.__code__.co_names
