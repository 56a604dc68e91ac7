"""The only aiokafka code: producers, the consumer loop, topics and the broker's epoch."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner

from events.topics import BROKER_EPOCH, TOPICS, Record, Topic

logger = logging.getLogger(__name__)

LOST = (
    KafkaError,
    TimeoutError,
    OSError,
)  # the broker is away: nobody's message is to blame
COMMIT_EVERY = 0.25  # seconds; what a crash repeats in between is known by its ids
KAFKA_WAIT = 500  # milliseconds that a fetch waits on Apache Kafka, which answers at once
BUSY_WAIT, QUIET_WAIT = 50, 100  # milliseconds that one waits on the embedded broker
BUSY_FOR = 3.0  # seconds after the last record
GIVE_UP_READING = 3.0  # seconds without a record
PROBE_AFTER = 1.0  # seconds without an answer after which a producer asks whether anyone is there


class NothingSent(Exception):
    """The broker cannot be reached, and surely nothing has been sent."""


class AnswerLost(Exception):
    """It is unknown whether the broker has the record; it may still arrive."""


class OtherBroker(Exception):
    """Another broker, or one that lost everything, answers at the address."""


class WrongTopic(Exception):
    """A topic exists with other settings than ours, which only its owner can put right."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to treat it.

    The embedded broker's joins take half a session time-out and its fetches look for new data only
    at half of the fetch wait, so both are short there; idempotent producers fail on it.
    """

    bootstrap_servers: str
    embedded: bool
    replication: int = 1

    @property
    def session_ms(self) -> int:
        return 2_000 if self.embedded else 10_000


class Pace:
    """How long fetches wait on the embedded broker: short in a busy time, long in a quiet one.

    That broker does not wake a fetch when data come but looks again at half of the wait, so a short
    wait costs CPU and a long one time. Apache Kafka answers at once and keeps its usual wait. The
    wait is a private attribute of aiokafka's fetcher, whose release is pinned.
    """

    def __init__(self, broker: Broker, quiet_ms: int) -> None:
        self._is_tuned, self._quiet_ms = broker.embedded, quiet_ms
        self._consumers: list[AIOKafkaConsumer] = []
        self._busy_until = 0.0

    @property
    def wait_ms(self) -> int:
        """Return how long a fetch should wait now, in milliseconds."""
        if not self._is_tuned:
            return KAFKA_WAIT
        return BUSY_WAIT if time.monotonic() < self._busy_until else self._quiet_ms

    def keep(self, consumer: AIOKafkaConsumer) -> None:
        """Set this consumer's wait from now on."""
        self._consumers.append(consumer)

    def touch(self) -> None:
        """Something happened: more will follow."""
        self._busy_until = time.monotonic() + BUSY_FOR
        self.set()

    def set(self) -> None:
        """Tell the consumers; called whenever the time may be a quiet one again."""
        for consumer in self._consumers:
            fetcher = consumer._fetcher
            if fetcher is not None:
                fetcher._fetch_max_wait_ms = self.wait_ms


Handle = Callable[[Sequence[Record]], Awaitable[None]]


async def consume(
    broker: Broker,
    topics: Sequence[str],
    group: str,
    handle: Handle,
    stop: asyncio.Event,
    *,
    wait_ms: int = QUIET_WAIT,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Hand over every record at least once, in order per partition, until `stop`.

    `handle` gets all records of one poll and returns when what they say is durable; offsets are
    committed after that. When it raises, or the broker is away, the group is joined again from the
    last commit. `wait_ms` is how long a fetch waits in a quiet time; `ready` is called whenever
    partitions may be assigned.
    """
    while not stop.is_set():
        try:
            await topics_made(broker, topics, stop)
            await _consume_once(broker, topics, group, handle, stop, wait_ms, ready)
        except LOST as error:
            logger.warning("consumer lost the broker", extra={"group": group, "error": repr(error)})
        except Exception:
            logger.exception("consumer failed, joining again", extra={"group": group})
        if not stop.is_set():
            await asyncio.sleep(1)


async def _consume_once(
    broker: Broker,
    topics: Sequence[str],
    group: str,
    handle: Handle,
    stop: asyncio.Event,
    wait_ms: int,
    ready: Callable[[], None],
) -> None:
    pace = Pace(broker, wait_ms)
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=broker.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=broker.session_ms,
        heartbeat_interval_ms=broker.session_ms // 5,
        rebalance_timeout_ms=30_000,
        max_poll_interval_ms=600_000,
        fetch_max_wait_ms=pace.wait_ms,
        metadata_max_age_ms=15_000,
    )
    try:
        await consumer.start()
        pace.keep(consumer)
        ready()
        uncommitted: dict[TopicPartition, int] = {}
        committed_at = time.monotonic()
        while not stop.is_set():
            found = await consumer.getmany(timeout_ms=200, max_records=500)
            if found:
                pace.touch()
                await handle(
                    [_received(record) for records in found.values() for record in records]
                )
                uncommitted |= {place: records[-1].offset + 1 for place, records in found.items()}
            if uncommitted and time.monotonic() - committed_at >= COMMIT_EVERY:
                await _commit(consumer, uncommitted)
                uncommitted, committed_at = {}, time.monotonic()
            pace.set()
        await _commit(consumer, uncommitted)
    finally:
        await _close(consumer.stop())


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    mine = {place: offset for place, offset in offsets.items() if place in consumer.assignment()}
    if not mine:
        return
    try:
        async with asyncio.timeout(10):  # aiokafka issue 1095: a commit can retry for ever
            await consumer.commit(mine)
    except (CommitFailedError, IllegalStateError):
        logger.info("offsets not committed, the group is rebalancing")


def _received(record: Any) -> Record:
    return Record(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),  # null is allowed
        partition=record.partition,
        offset=record.offset,
    )


async def _close(stopping: Coroutine[Any, Any, None]) -> None:
    """Stop a client in a task of its own, as aiokafka's stop may raise CancelledError."""
    task = asyncio.create_task(stopping)
    await asyncio.wait({task}, timeout=5)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (error := task.exception()):
        logger.info("a client did not stop cleanly", extra={"error": repr(error)})


class Producer:
    """Sends commands, reports and dead letters: they carry ids and need no order among themselves.

    It connects when it is first needed, so a service starts also while the broker is away.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._answered_at = -PROBE_AFTER

    async def start(self) -> None:
        """Connect. Raises NothingSent."""
        await self._connected()

    async def stop(self) -> None:
        if self._producer is not None:
            await _close(self._producer.stop())
            self._producer = None

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
            self._answered_at = -PROBE_AFTER
            raise AnswerLost(repr(error)) from error
        self._answered_at = time.monotonic()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = _producer(self._broker)
                try:
                    async with asyncio.timeout(3):
                        await producer.start()
                except LOST as error:
                    await _close(producer.stop())
                    raise NothingSent("the broker cannot be reached") from error
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


def _producer(broker: Broker) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers,
        acks="all",
        enable_idempotence=not broker.embedded,
        request_timeout_ms=5_000,
        metadata_max_age_ms=15_000,
        compression_type=None,
        max_request_size=4_000_000,
    )


class OrderedProducer:
    """Keeps the order of each key without idempotence: one batch per partition at a time.

    On any error it is used up: what was sent is unknown, so its owner makes a new one and sends
    again from where it surely was.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer = _producer(broker)
        self._place = DefaultPartitioner()

    async def start(self) -> None:
        """Connect. Raises NothingSent."""
        try:
            async with asyncio.timeout(5):
                await self._producer.start()
        except LOST as error:
            raise NothingSent("the broker cannot be reached") from error

    async def stop(self) -> None:
        await _close(self._producer.stop())

    async def send(self, records: Sequence[Record]) -> None:
        """Return when the broker has all of them, in order. Raises AnswerLost."""
        queues: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            partitions = PARTITIONS[record.topic]
            place = self._place(record.key, partitions, partitions)
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


PARTITIONS = {topic.name: list(range(topic.partitions)) for topic in TOPICS}


class Admin:
    """Makes the topics and knows which broker answers. Every method raises LOST errors."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=5_000
        )

    async def start(self) -> None:
        async with asyncio.timeout(5):
            await self._client.start()

    async def stop(self) -> None:
        await _close(self._client.close())

    async def cluster(self) -> str:
        """Return the cluster's id; the embedded broker has a new one after each start."""
        async with asyncio.timeout(5):
            return str((await self._client.describe_cluster())["cluster_id"])

    async def partitions(self) -> dict[str, int]:
        """Return the number of partitions of every topic that exists."""
        async with asyncio.timeout(5):
            found = await self._client.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in found}

    async def make_topics(self) -> None:
        """Make the topics that are missing.

        Raises WrongTopic when one has another number of partitions, as its keys would live
        elsewhere. On the embedded broker such a topic is one that a client's look-up made before
        us: it is deleted and made again, as whoever wrote to it will write again.
        """
        found = await self.partitions()
        wrong = [t.name for t in TOPICS if found.get(t.name, t.partitions) != t.partitions]
        if wrong and not self._broker.embedded:
            names = ", ".join(sorted(wrong))
            raise WrongTopic(f"these topics have another number of partitions than ours: {names}")
        if wrong:
            async with asyncio.timeout(10):
                await self._client.delete_topics(wrong)
        missing = [topic for topic in TOPICS if topic.name not in found or topic.name in wrong]
        if missing:
            await self._create(missing)

    async def _create(self, topics: Sequence[Topic]) -> None:
        async with asyncio.timeout(15):
            answer = await self._client.create_topics(
                [self._new(topic) for topic in topics], timeout_ms=10_000
            )
        for error in answer.topic_errors:
            kind = for_code(error[1])
            if error[1] and kind is not TopicAlreadyExistsError:
                raise kind(f"cannot make {error[0]}")

    def _new(self, topic: Topic) -> NewTopic:
        return NewTopic(
            name=topic.name,
            num_partitions=topic.partitions,
            replication_factor=self._broker.replication,
            topic_configs={
                "cleanup.policy": "delete",
                "retention.ms": str(topic.retention),
                "compression.type": "producer",
            },
        )

    async def members(self, group: str) -> int:
        """Return how many members a consumer group has."""
        async with asyncio.timeout(3):
            answers = await self._client.describe_consumer_groups([group])
        return sum(len(found[5]) for answer in answers for found in answer.groups)


async def topics_made(broker: Broker, topics: Sequence[str], stop: asyncio.Event) -> None:
    """Return when the relay has made the topics, or on `stop`. Raises LOST errors.

    A client that looked earlier would have the embedded broker make them with its own partitions.
    """
    admin = Admin(broker)
    try:
        await admin.start()
        while not stop.is_set():
            found = await admin.partitions()
            if all(found.get(name) == len(PARTITIONS[name]) for name in topics):
                return
            await asyncio.sleep(0.1)
    finally:
        await admin.stop()


async def epoch_of(broker: Broker, fresh: str) -> str:
    """Return the name of this life of the broker's data; where there is none, `fresh` becomes it.

    A topic that was emptied has lost its record too, so an unknown name means: publish everything.
    """
    found = [record.value async for record in read_all(broker, BROKER_EPOCH)]
    if found and found[-1]:
        return found[-1].decode()
    producer = OrderedProducer(broker)
    await producer.start()
    try:
        await producer.send([Record(BROKER_EPOCH, b"epoch", fresh.encode(), ())])
    finally:
        await producer.stop()
    return fresh


async def read_all(broker: Broker, topic: str) -> AsyncIterator[Record]:
    """Yield every record that a topic has now, in order per partition. Raises LOST errors.

    The end is where a fetch finds nothing more at the high-water mark that it brought along: the
    embedded broker's end offsets are wrong for batches.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
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
                    yield _received(record)
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
        await _close(consumer.stop())
