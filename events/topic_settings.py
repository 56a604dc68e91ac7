"""What a topic that exists may not be like: what would lose events or move keys, and the remedy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from events.topics import BROKER_EPOCH, TOPICS, Topic

# What is not named here (compression, segments, …) changes the cost, never what can be read.
RULES: Mapping[str, Literal["never compacted", "at least", "writable", "exact"]] = {
    "cleanup.policy": "never compacted",
    "retention.ms": "at least",
    "retention.bytes": "at least",
    "min.insync.replicas": "writable",
    "max.message.bytes": "at least",
    "unclean.leader.election.enable": "exact",
}
FOR_EVER = -1  # of a retention; more than any number


@dataclass(frozen=True, slots=True)
class Layout:
    """A topic as a broker describes it; replication is that of its least copied partition."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not ours. One that `stops` would lose events, block them or move keys."""

    topic: str
    setting: str
    found: str
    wanted: str
    stops: bool


def differences(topic: Topic, found: Layout, replication: int) -> Iterator[Difference]:
    """Yield how a topic differs from what we would have made of it."""
    if found.partitions != topic.partitions:
        yield Difference(
            topic.name, "partitions", str(found.partitions), str(topic.partitions), stops=True
        )
    if found.replication != replication:
        stops = found.replication < replication
        yield Difference(
            topic.name, "replication", str(found.replication), str(replication), stops=stops
        )
    for setting, wanted in topic.configs(replication).items():
        is_now = found.configs.get(setting, wanted)
        if setting in RULES and is_now != wanted:
            stops = _stops(setting, is_now, wanted, found.replication)
            yield Difference(topic.name, setting, is_now, wanted, stops=stops)


def _stops(setting: str, found: str, wanted: str, copies: int) -> bool:
    match RULES[setting]:
        case "never compacted":  # none at all ("") deletes nothing
            return "compact" in found.split(",")
        case "at least":
            return int(found) != FOR_EVER and (int(wanted) == FOR_EVER or int(found) < int(wanted))
        case "writable":  # more than there are copies is never reached: no write is acknowledged
            return int(found) < int(wanted) or int(found) > copies
        case "exact":
            return True


def sentence(found: Iterable[Difference], servers: str) -> str:
    """Return one line: which topics, which setting, what it is, what it must be, what to do."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        alike.setdefault((one.setting, one.found, one.wanted), []).append(one.topic)
    return "; ".join(
        f"{_named(topics)}: {setting} is {is_now or 'empty'} and must be {wanted}"
        f" ({_remedy(setting, wanted, topics, servers)})"
        for (setting, is_now, wanted), topics in alike.items()
    )


def _named(topics: list[str]) -> str:
    return ", ".join(topics) if len(topics) < len(TOPICS) else "every topic of Septet"


def _remedy(setting: str, wanted: str, topics: list[str], servers: str) -> str:
    name = topics[0] if len(topics) == 1 else "TOPIC"
    match setting:
        case "partitions":
            both = [name, *([] if name == BROKER_EPOCH else [BROKER_EPOCH])]
            commands = " and ".join(
                f"kafka-topics.sh --bootstrap-server {servers} --delete --topic {one}"
                for one in both
            )
            return (
                f"keys would live elsewhere; stop every process of Septet, {commands}, "
                "start again: all events are published anew"
            )
        case "replication":
            return (
                "raise it with kafka-reassign-partitions.sh, docs/kafka.md shows how, "
                "or set SEPTET_KAFKA_REPLICATION_FACTOR"
            )
        case _:
            return (
                f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics "
                f"--entity-name {name} --add-config {setting}={wanted}"
            )
