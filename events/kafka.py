"""The only aiokafka code: producers, the consumer loop, topics and the broker's epoch."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    IllegalStateError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    PolicyViolationError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner

from events.ids import is_id
from events.topic_settings import RULES, Layout, differences, sentence
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
SAME_EVERY = 2.0  # seconds between looks whether the same broker answers, with our topics
LOOK_FOR_TOPICS = 5_000  # milliseconds: a group joined before its topics exist is deaf so long
PROBE_AFTER = 1.0  # seconds without an answer after which a producer asks whether anyone is there
TELL_AFTER, TELL_EVERY = 5.0, 60.0  # seconds of waiting for topics before it is told, and again


class NothingSent(Exception):
    """The broker cannot be reached, and surely nothing has been sent."""


class AnswerLost(Exception):
    """It is unknown whether the broker has the record; it may still arrive."""


class OtherBroker(Exception):
    """Another broker, or one that lost everything, answers at the address."""


class Misconfigured(Exception):
    """Only an operator can put this right; the sentence says what and how. Waiting does not."""


class WrongTopic(Misconfigured):
    """A topic exists with other settings than ours, or cannot be made."""


class NotLetIn(Misconfigured):
    """The broker answers, and refuses our name, password, certificate or kind of connection."""


@dataclass(frozen=True, slots=True)
class Security:
    """How a connection is secured, and who we are. TLS where there is a context."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """Return what every client of aiokafka takes."""
        encrypted = self.tls is not None
        if self.mechanism is None:
            protocol = "SSL" if encrypted else "PLAINTEXT"
            return {"security_protocol": protocol, "ssl_context": self.tls}
        return {
            "security_protocol": "SASL_SSL" if encrypted else "SASL_PLAINTEXT",
            "ssl_context": self.tls,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to treat it.

    The embedded broker's joins take half a session time-out and its fetches look for new data only
    at half of the fetch wait, so both are short there; idempotent producers fail on it.
    """

    bootstrap_servers: str
    embedded: bool
    replication: int = 1
    security: Security = Security()

    @property
    def session_ms(self) -> int:
        return 2_000 if self.embedded else 10_000

    @property
    def connection(self) -> dict[str, Any]:
        """Return what every client of aiokafka connects with."""
        return {"bootstrap_servers": self.bootstrap_servers, **self.security.options}


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


Handle = Callable[[Sequence[Record]], Awaitable[Sequence[Record] | None]]


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
                    [_received(record) for records in found.values() for record in records]
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
        await _close(consumer.stop())
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


def _received(record: Any) -> Record:
    return Record(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),  # null is allowed
        partition=record.partition,
        offset=record.offset,
    )


async def _close(stopping: Coroutine[Any, Any, None], within: float = 5) -> None:
    """Stop a client in a task of its own, as aiokafka's stop may raise CancelledError."""
    task = asyncio.create_task(stopping)
    await asyncio.wait({task}, timeout=within)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (error := task.exception()):
        logger.info("a client did not stop cleanly", extra={"error": repr(error)})


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
            await _close(self._producer.stop())
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
            task = asyncio.create_task(_close(_abandon(producer)))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

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


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer at once: its own stop waits for what it tries to send, maybe for ever."""
    producer._closed = True
    try:
        if producer._sender is not None:
            await producer._sender.close()  # waits for answers to what is under way
    finally:
        await producer.client.close()


def _producer(broker: Broker) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **broker.connection,
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

    async def start(self) -> None:
        """Connect. Raises NothingSent."""
        try:
            async with asyncio.timeout(5):
                await self._producer.start()
        except LOST as error:
            raise NothingSent("the broker cannot be reached") from error

    async def stop(self) -> None:
        await _close(_abandon(self._producer))

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


PARTITIONS = {topic.name: list(topic.places) for topic in TOPICS}
_place = DefaultPartitioner()


def partition_of(topic: str, key: bytes | None) -> int:
    """Return where Kafka's clients put the key; without one, any partition."""
    return int(_place(key, PARTITIONS[topic], PARTITIONS[topic]))


class Admin:
    """Makes the topics and knows which broker answers. Every method raises LOST errors."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client = AIOKafkaAdminClient(
            **broker.connection, request_timeout_ms=5_000, metadata_max_age_ms=15_000
        )

    async def start(self) -> None:
        """Connect. Raises NotLetIn where the broker says that it is we who are wrong."""
        try:
            async with asyncio.timeout(5):
                await self._client.start()
        except LOST:
            await _require_entry(self._broker)
            raise

    async def stop(self) -> None:
        await _close(self._client.close())

    async def cluster(self) -> str:
        """Return the cluster's id; the embedded broker has a new one after each start."""
        async with asyncio.timeout(5):
            return str((await self._client.describe_cluster())["cluster_id"])

    async def require_same(self, cluster: str, topics: Iterable[str] = PARTITIONS) -> None:
        """Raise OtherBroker unless this cluster still answers, with these topics.

        A wiped broker may keep its id, and one who slept meanwhile sees only that.
        """
        async with asyncio.timeout(5):
            seen = (await self._client._get_cluster_metadata()).to_object()  # its parts cost two
        if seen["cluster_id"] != cluster:
            raise OtherBroker("another broker answers at this address")
        if gone := set(topics) - {topic["topic"] for topic in seen["topics"]}:
            raise OtherBroker(f"the broker has lost {', '.join(sorted(gone))}")

    async def partitions(self) -> dict[str, int]:
        """Return the number of partitions of every topic that exists."""
        return {name: len(partitions) for name, partitions in (await self._described()).items()}

    async def make_topics(self) -> None:
        """Make the topics that are missing.

        Raises WrongTopic when one exists that would lose events, block them or have keys elsewhere;
        other differences are an operator's choice and only told. On the embedded broker a topic
        with other partitions is one that a client's look-up made before us: it is deleted and made
        again, as whoever wrote to it will write again.
        """
        found = await self._described()
        wrong: list[str] = []
        if self._broker.embedded:
            wrong = [t.name for t in TOPICS if len(found.get(t.name, t.places)) != t.partitions]
        else:
            await self._require_ours(found)
        if wrong:
            async with asyncio.timeout(10):
                await self._client.delete_topics(wrong)
        missing = [topic for topic in TOPICS if topic.name not in found or topic.name in wrong]
        if missing:
            await self._create(missing)

    async def _described(self) -> dict[str, list[Any]]:
        """Return the partitions of every topic that exists, as the broker describes them."""
        async with asyncio.timeout(5):
            found = await self._client.describe_topics()
        return {topic["topic"]: topic["partitions"] for topic in found}

    async def _require_ours(self, found: dict[str, list[Any]]) -> None:
        """Raise WrongTopic, one line about all that is wrong, unless the topics can be used."""
        ours = [topic for topic in TOPICS if topic.name in found]
        if not ours:
            return
        configs = await self._configs([topic.name for topic in ours])
        replication = self._broker.replication
        seen = [
            one
            for topic in ours
            for one in differences(
                topic, _layout(found[topic.name], configs[topic.name]), replication
            )
        ]
        for one in seen:
            if not one.stops:
                logger.warning(
                    "topic is not as we would have made it, which does no harm",
                    extra={
                        "topic": one.topic,
                        "setting": one.setting,
                        "is": one.found,
                        "ours": one.wanted,
                    },
                )
        if stopping := [one for one in seen if one.stops]:
            raise WrongTopic(sentence(stopping, self._broker.bootstrap_servers))

    async def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        asked = dict.fromkeys(RULES, "")
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, asked) for name in topics]
        async with asyncio.timeout(5):
            [answer] = await self._client.describe_configs(resources)
        configs = {}
        for code, said, _, name, entries in answer.resources:
            if code:
                raise _refusal(f"cannot read the settings of {name}", for_code(code), said)
            configs[name] = {entry[0]: entry[1] for entry in entries}
        return configs

    async def _create(self, topics: Sequence[Topic]) -> None:
        async with asyncio.timeout(15):
            answer = await self._client.create_topics(
                [self._new(topic) for topic in topics], timeout_ms=10_000
            )
        for name, code, *said in answer.topic_errors:
            kind = for_code(code)
            if code and kind is not TopicAlreadyExistsError:
                raise _refusal(f"cannot make {name}", kind, said[0] if said else "")

    def _new(self, topic: Topic) -> NewTopic:
        return NewTopic(
            name=topic.name,
            num_partitions=topic.partitions,
            replication_factor=self._broker.replication,
            topic_configs=topic.configs(self._broker.replication),
        )

    async def members(self, group: str, cluster: str) -> int:
        """Return how many members a consumer group has, in the cluster that answers now."""
        name = group_in(self._broker, group, cluster)
        async with asyncio.timeout(3):
            answers = await self._client.describe_consumer_groups([name])
        return sum(len(found[5]) for answer in answers for found in answer.groups)


def group_in(broker: Broker, name: str, cluster: str) -> str:
    """Return what a consumer group is called on the broker that answers with this cluster's id."""
    return f"{name}-{cluster}" if broker.embedded else name


class SameBroker:
    """Looks on whether the broker that answers now goes on answering, with the topics that we read.

    A consumer that lives through a broker's loss of all data may go on from offsets and group
    memberships that nobody knows, and hear nothing for ever: it has to begin anew.
    """

    def __init__(self, broker: Broker, cluster: str, topics: Sequence[str]) -> None:
        self._broker, self._cluster, self._topics = broker, cluster, topics
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def now(cls, broker: Broker, topics: Sequence[str]) -> "SameBroker":
        """Return one for who answers now; other topics we may have no right to see.

        Raises LOST errors and NotLetIn.
        """
        admin = Admin(broker)
        try:
            await admin.start()
            return cls(broker, await admin.cluster(), topics)
        finally:
            await admin.stop()

    def group(self, name: str) -> str:
        """Return the group to join: on the embedded broker one for each of its lives.

        It loses its data with every restart, and then takes what a member of before commits:
        offsets below which nobody would ever read what comes.
        """
        return group_in(self._broker, name, self._cluster)

    def require(self) -> None:
        """Raise OtherBroker when it is another one, or has lost the topics."""
        if self._watching.done():
            self._watching.result()

    async def lost(self) -> OtherBroker:
        """Return, when it is another one, what has happened."""
        try:
            await asyncio.shield(self._watching)
        except OtherBroker as error:
            return error
        raise AssertionError("watching ends with an error alone")

    async def stop(self) -> None:
        self._watching.cancel()
        await asyncio.wait({self._watching})

    async def _watch(self) -> None:
        while True:
            admin = Admin(self._broker)
            with suppress(*LOST, NotLetIn):  # away is not another: it may come back with all
                try:
                    await admin.start()
                    while True:
                        await admin.require_same(self._cluster, self._topics)
                        await asyncio.sleep(SAME_EVERY)
                finally:
                    await admin.stop()
            await asyncio.sleep(SAME_EVERY)


REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)


def _refusal(what: str, kind: type[KafkaError], said: str | None) -> Exception:
    """Return the error to raise: one that only an operator can put right stops the start."""
    reason = f"{what}: {said or kind.description}"
    if issubclass(kind, REFUSALS):
        return WrongTopic(f"{reason.rstrip('.')}. docs/kafka.md says what we need")
    error: Exception = kind(reason)
    return error


def _layout(partitions: list[Any], configs: dict[str, str]) -> Layout:
    copies = min(len(partition["replicas"]) for partition in partitions)
    return Layout(len(partitions), copies, configs)


async def _require_entry(broker: Broker) -> None:
    """Raise NotLetIn when a broker answers and refuses us; the client calls that "cannot connect".

    Return when nobody answers, or when now all is well.
    """
    security = broker.security
    for host, port, _ in AIOKafkaClient(**broker.connection).hosts:
        where = f"the broker at {host}:{port}"
        try:
            async with asyncio.timeout(3):
                connection = await create_conn(
                    host, port, request_timeout_ms=3_000, **security.options
                )
        except SaslAuthenticationFailed as error:
            raise NotLetIn(
                f"{where} does not let {security.username} in. Correct SEPTET_KAFKA_USERNAME or "
                "SEPTET_KAFKA_PASSWORD"
            ) from error
        except UnsupportedSaslMechanismError as error:
            raise NotLetIn(
                f"{where} does not take {security.mechanism}. Correct SEPTET_KAFKA_SASL_MECHANISM"
            ) from error
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            raise NotLetIn(
                f"the certificate of {where} is not to be trusted: {why}. "
                "Correct SEPTET_KAFKA_CA_FILE, or the names in that certificate"
            ) from error
        except ssl.SSLError as error:
            raise NotLetIn(
                f"{where} and we do not agree on TLS: {error.reason or error}. Correct "
                "SEPTET_KAFKA_SECURITY_PROTOCOL or SEPTET_KAFKA_CERTIFICATE_FILE"
            ) from error
        except (KafkaConnectionError, ConnectionResetError):
            logger.warning(
                "a broker closes the connection at once: is its listener of this protocol, "
                "and does it ask for a certificate?",
                extra={"at": f"{host}:{port}", "protocol": security.options["security_protocol"]},
            )
            continue
        except LOST:
            continue
        with suppress(*LOST):
            connection.close()
        return


async def topics_made(broker: Broker, topics: Sequence[str], stop: asyncio.Event) -> None:
    """Return when the relay has made the topics, or on `stop`. Raises LOST errors or NotLetIn.

    A client that looked earlier would have the embedded broker make them with its own partitions.
    """
    admin = Admin(broker)
    began = told_at = time.monotonic()
    try:
        await admin.start()
        while not stop.is_set():
            found = await admin.partitions()
            waited_for = [name for name in topics if found.get(name) != len(PARTITIONS[name])]
            if not waited_for:
                return
            if time.monotonic() - told_at >= (TELL_EVERY if told_at > began else TELL_AFTER):
                told_at = time.monotonic()
                logger.warning(
                    "waiting for topics that the orchestrator makes; does one run?",
                    extra={"topics": waited_for, "seconds": round(told_at - began)},
                )
            await asyncio.sleep(0.1)
    finally:
        await admin.stop()


async def epoch_of(broker: Broker, fresh: str) -> str:
    """Return the name of this life of the broker's data; where there is none, `fresh` becomes it.

    A topic that was emptied has lost its record too, so an unknown name means: publish everything.
    What a stranger wrote there is no name: it is passed over each time, and needs no dead letter.
    """
    found = [name async for record in read_all(broker, BROKER_EPOCH) if (name := epoch_in(record))]
    if found:
        return found[-1]
    producer = OrderedProducer(broker)
    await producer.start()
    try:
        await producer.send([Record(BROKER_EPOCH, b"epoch", fresh.encode(), ())])
    finally:
        await producer.stop()
    return fresh


def epoch_in(record: Record) -> str | None:
    """Return the name in a record of the epoch's topic, none when it is not one of ours."""
    try:
        name = (record.value or b"").decode()
    except UnicodeDecodeError:
        return None
    return name if name.startswith("epoch-") and is_id(name) else None


async def _start_reading(broker: Broker, consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.start()
    except LOST:
        await _require_entry(broker)
        raise


async def read_all(broker: Broker, topic: str) -> AsyncIterator[Record]:
    """Yield every record that a topic has now, in order per partition. Raises LOST errors.

    The end is where a fetch finds nothing more at the high-water mark that it brought along: the
    embedded broker's end offsets are wrong for batches. Raises NotLetIn.
    """
    consumer = AIOKafkaConsumer(
        **broker.connection,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await _start_reading(broker, consumer)
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
