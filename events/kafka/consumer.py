"""The consumer loop: every record at least once, in order per partition."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from events.kafka.admin import topics_made
from events.kafka.connection import LOST, Broker, NotLetIn, OtherBroker, close
from events.kafka.same_broker import SameBroker
from events.topics import Record

logger = logging.getLogger(__name__)

COMMIT_EVERY = 0.25  # seconds; what a crash repeats in between is known by its ids
KAFKA_WAIT = 500  # milliseconds that a fetch waits on Apache Kafka, which answers at once
BUSY_WAIT, QUIET_WAIT = 50, 100  # milliseconds that one waits on the embedded broker
BUSY_FOR = 3.0  # seconds after the last record
LOOK_FOR_TOPICS = 5_000  # milliseconds: a group joined before its topics exist is deaf so long

Handle = Callable[[Sequence[Record]], Awaitable[Sequence[Record] | None]]


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


async def consume(
    broker: Broker,
    topics: Sequence[str],
    group: str,
    handle: Handle,
    stop: asyncio.Event,
    *,
    wait_ms: int = QUIET_WAIT,
    ready: Callable[[], None] = lambda: None,
    ends_with: tuple[type[Exception], ...] = (),
) -> None:
    """Hand over every record at least once, in order per partition, until `stop`.

    `handle` gets all records of one poll and returns when what they say is durable; offsets are
    committed after that, up to the first record that it returns: those it will need again after a
    restart. When it raises, or the broker is away or has lost all, the group is joined again from
    the last commit.
    `wait_ms` is how long a fetch waits in a quiet time; `ready` is called whenever partitions may
    be assigned. Raises NotLetIn when the broker refuses us from the start; later we try again. What
    `ends_with` names is raised and not tried again: the group's other members get the partitions.
    """
    was_in = False
    while not stop.is_set():
        try:
            await topics_made(broker, topics, stop)
            was_in = True
            await _consume_once(broker, topics, group, handle, stop, wait_ms, ready)
        except ends_with:
            raise
        except (*LOST, NotLetIn, OtherBroker) as error:
            if isinstance(error, NotLetIn) and not was_in:
                raise
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
    same = await SameBroker.now(broker, topics)
    consumer = AIOKafkaConsumer(
        **broker.connection,
        group_id=same.group(group),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=broker.session_ms,
        heartbeat_interval_ms=broker.session_ms // 5,
        rebalance_timeout_ms=30_000,
        max_poll_interval_ms=600_000,
        fetch_max_wait_ms=pace.wait_ms,
        metadata_max_age_ms=LOOK_FOR_TOPICS,
    )
    rebalances = _Rebalances()
    consumer.subscribe(topics, listener=rebalances)
    try:
        await consumer.start()
        pace.keep(consumer)
        ready()
        uncommitted: dict[TopicPartition, int] = {}
        committed_at, since = time.monotonic(), rebalances.count
        while not stop.is_set():
            same.require()
            found = await consumer.getmany(timeout_ms=200, max_records=500)
            if found:
                pace.touch()
                kept = await handle(
                    [received(record) for records in found.values() for record in records]
                )
                uncommitted |= {place: records[-1].offset + 1 for place, records in found.items()}
                for record in kept or ():
                    place = TopicPartition(record.topic, record.partition)
                    known = uncommitted.get(place, record.offset)
                    uncommitted[place] = min(known, record.offset)
            if since != rebalances.count:  # what was read as another member is not ours to commit
                uncommitted, since = {}, rebalances.count
            if uncommitted and time.monotonic() - committed_at >= COMMIT_EVERY:
                await _commit(consumer, uncommitted)
                uncommitted, committed_at = {}, time.monotonic()
            pace.set()
        await _commit(consumer, uncommitted if since == rebalances.count else {})
    finally:
        await close(consumer.stop())
        await same.stop()


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Counts how often the group gave its partitions out anew."""

    def __init__(self) -> None:
        self.count = 0

    async def on_partitions_revoked(self, _revoked: object) -> None:
        self.count += 1

    async def on_partitions_assigned(self, _assigned: object) -> None:
        return


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    mine = {place: offset for place, offset in offsets.items() if place in consumer.assignment()}
    if not mine:
        return
    try:
        async with asyncio.timeout(10):  # aiokafka issue 1095: a commit can retry for ever
            await consumer.commit(mine)
    except (CommitFailedError, IllegalStateError):
        logger.info("offsets not committed, the group is rebalancing")


def received(record: Any) -> Record:
    return Record(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),  # null is allowed
        partition=record.partition,
        offset=record.offset,
    )
