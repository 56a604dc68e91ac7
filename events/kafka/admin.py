"""Which broker answers, and the topics on it: made, compared with ours, waited for."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from events.kafka.connection import LOST, Broker, OtherBroker, WrongTopic, close, require_entry
from events.topic_settings import RULES, Layout, differences, sentence
from events.topics import TOPICS, Topic

logger = logging.getLogger(__name__)

PARTITIONS = {topic.name: list(topic.places) for topic in TOPICS}
TELL_AFTER, TELL_EVERY = 5.0, 60.0  # seconds of waiting for topics before it is told, and again
REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)


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
            await require_entry(self._broker)
            raise

    async def stop(self) -> None:
        await close(self._client.close())

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
        if self._broker.embedded:
            wrong = [t for t in TOPICS if len(found.get(t.name, t.places)) != t.partitions]
            missing = [t for t in TOPICS if t.name not in found or t in wrong]
            await self._delete(wrong)
            await self._clear(missing)
        else:
            await self._require_ours(found)
            missing = [topic for topic in TOPICS if topic.name not in found]
        await self._create([self._new(topic) for topic in missing])

    async def _clear(self, topics: Sequence[Topic]) -> None:
        """Have the embedded broker forget what was sent to topics before it had them.

        A client that lived through its loss may send on at once. The broker takes that for a topic
        that it does not have, shows it to nobody, and later refuses the first record that belongs
        in its place. Deleting forgets only what exists, so the topics are made first, with a
        partition too many: that nobody takes for ours.
        """
        await self._create([self._new(topic, beyond=1) for topic in topics])
        await self._delete(topics)

    async def _delete(self, topics: Sequence[Topic]) -> None:
        if topics:
            async with asyncio.timeout(10):
                await self._client.delete_topics([topic.name for topic in topics])

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

    async def _create(self, topics: Sequence[NewTopic]) -> None:
        if not topics:
            return
        async with asyncio.timeout(15):
            answer = await self._client.create_topics(list(topics), timeout_ms=10_000)
        for name, code, *said in answer.topic_errors:
            kind = for_code(code)
            if code and kind is not TopicAlreadyExistsError:
                raise _refusal(f"cannot make {name}", kind, said[0] if said else "")

    def _new(self, topic: Topic, beyond: int = 0) -> NewTopic:
        return NewTopic(
            name=topic.name,
            num_partitions=topic.partitions + beyond,
            replication_factor=self._broker.replication,
            topic_configs=topic.configs(self._broker.replication),
        )

    async def members(self, group: str, cluster: str) -> int:
        """Return how many members a consumer group has, in the cluster that answers now."""
        name = group_in(self._broker, group, cluster)
        async with asyncio.timeout(3):
            answers = await self._client.describe_consumer_groups([name])
        return sum(len(found[5]) for answer in answers for found in answer.groups)


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


def group_in(broker: Broker, name: str, cluster: str) -> str:
    """Return what a consumer group is called on the broker that answers with this cluster's id."""
    return f"{name}-{cluster}" if broker.embedded else name


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
