"""Two producers: one for what carries an id, one that keeps the order of each key."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from events.kafka.admin import PARTITIONS
from events.kafka.connection import LOST, AnswerLost, Broker, NothingSent, close
from events.topics import Record

logger = logging.getLogger(__name__)

PROBE_AFTER = 1.0  # seconds without an answer after which a producer asks whether anyone is there
_place = DefaultPartitioner()


class Producer:
    """Sends commands, reports and dead letters: they carry ids and need no order among themselves.

    It connects when it is first needed, so a service starts also while the broker is away. After a
    lost answer it connects anew: an idempotent producer counts what it sends to a partition, and
    where the broker has missed one, it refuses all that follow.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._answered_at = -PROBE_AFTER
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises NothingSent."""
        await self._connected()

    async def stop(self) -> None:
        if self._producer is not None:
            await close(self._producer.stop())
            self._producer = None
        await asyncio.gather(*self._ending)

    async def publish(self, record: Record) -> None:
        """Return when the broker has the record. Raises NothingSent or AnswerLost."""
        producer = await self._connected()
        await self._probe(producer)
        try:
            async with asyncio.timeout(6):
                await producer.send_and_wait(
                    record.topic, record.value, record.key, headers=list(record.headers)
                )
        except LOST as error:
            self._forget(producer)
            raise AnswerLost(repr(error)) from error
        self._answered_at = time.monotonic()

    def _forget(self, producer: AIOKafkaProducer) -> None:
        self._answered_at = -PROBE_AFTER
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(close(_abandon(producer)))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = new_producer(self._broker)
                try:
                    async with asyncio.timeout(3):
                        await producer.start()
                except LOST as error:
                    reason = _why_not(producer)
                    await close(_abandon(producer))
                    raise NothingSent(reason) from error
                self._producer = producer
            return self._producer

    async def _probe(self, producer: AIOKafkaProducer) -> None:
        """Ask whether anyone is there, unless someone has just answered. Raises NothingSent."""
        if time.monotonic() - self._answered_at < PROBE_AFTER:
            return
        try:
            async with asyncio.timeout(2):
                await producer.client.fetch_all_metadata()
        except LOST as error:
            raise NothingSent("the broker cannot be reached") from error
        self._answered_at = time.monotonic()


class OrderedProducer:
    """Keeps the order of each key without idempotence: one batch per partition at a time.

    On any error it is used up: what was sent is unknown, so its owner makes a new one and sends
    again from where it surely was.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer = new_producer(broker)

    async def start(self) -> None:
        """Connect. Raises NothingSent."""
        try:
            async with asyncio.timeout(5):
                await self._producer.start()
        except LOST as error:
            raise NothingSent(_why_not(self._producer)) from error

    async def stop(self) -> None:
        await close(_abandon(self._producer))

    async def send(self, records: Sequence[Record]) -> None:
        """Return when the broker has all of them, in order. Raises AnswerLost."""
        queues: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            place = partition_of(record.topic, record.key)
            queues.setdefault((record.topic, place), []).append(record)
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(
                    *(self._drain(*place, queue) for place, queue in queues.items())
                )
        except LOST as error:
            raise AnswerLost(repr(error)) from error

    async def _drain(self, topic: str, partition: int, queue: list[Record]) -> None:
        while queue:
            batch, taken = self._batch(queue)
            await (await self._producer.send_batch(batch, topic, partition=partition))
            del queue[:taken]

    def _batch(self, queue: list[Record]) -> tuple[Any, int]:
        batch, taken = self._producer.create_batch(), 0
        for record in queue:
            headers = list(record.headers)
            added = batch.append(
                key=record.key, value=record.value, timestamp=None, headers=headers
            )
            if added is None:  # full; the first record fits whatever its size
                break
            taken += 1
        batch.close()
        return batch, taken


def partition_of(topic: str, key: bytes | None) -> int:
    """Return where Kafka's clients put the key; without one, any partition."""
    return int(_place(key, PARTITIONS[topic], PARTITIONS[topic]))


def new_producer(broker: Broker) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **broker.connection,
        acks="all",
        enable_idempotence=not broker.embedded,
        request_timeout_ms=5_000,
        metadata_max_age_ms=15_000,
        compression_type=None,
        max_request_size=4_000_000,
    )


def _why_not(producer: AIOKafkaProducer) -> str:
    """Return why a producer has not started; tell an operator where waiting will not help.

    An idempotent one waits for an id, which Apache Kafka gives and the embedded broker does not.
    """
    answers = bool(producer.client.cluster.brokers())
    ids = producer._txn_manager
    if not answers or ids is None or ids.has_pid():
        return "the broker cannot be reached"
    logger.warning(
        "the broker gives this producer no id. If it is the embedded broker of another process, "
        "leave SEPTET_KAFKA_BOOTSTRAP_SERVERS empty and set SEPTET_EMBEDDED_BROKER_PORT to its port"
    )
    return "the broker gives producers no id"


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer at once: its own stop waits for what it tries to send, maybe for ever."""
    producer._closed = True
    try:
        if producer._sender is not None:
            await producer._sender.close()  # waits for answers to what is under way
    finally:
        await producer.client.close()
