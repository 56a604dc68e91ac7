"""Topics, their partitions and keys, and what becomes a Kafka record of a message."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from events.chain import NOTHING, Head
from events.envelope import Envelope, encode
from events.message import SOURCE, Message, bare_name, wire_name
from events.pipeline import STAGES
from events.receipts import MessageAccepted
from events.run import StageBatchRequested

COMMANDS = "septet.commands"
STAGE_REPORTS = "septet.stage-reports"
RUN_EVENTS = "septet.run-events"
DEAD_LETTERS = "septet.dead-letters"
REPLAYS = "septet.replays"  # which dead letters were sent again; not public
BROKER_EPOCH = "septet.broker-epoch"  # one record that names this life of the broker; not public


def stage_topic(stage: int) -> str:
    """Return the topic on which that stage is asked for batches."""
    return f"septet.stage-{stage}"


DAY = 24 * 60 * 60 * 1000
LARGEST_BATCH = 1_048_588  # bytes; Kafka's own default: 1 MiB and the frame of a batch


@dataclass(frozen=True, slots=True)
class Topic:
    """Partitions are fixed, as they decide where a key lives. Retention is milliseconds."""

    name: str
    partitions: int
    retention: int  # -1: for ever

    @property
    def places(self) -> range:
        """Return the numbers of its partitions."""
        return range(self.partitions)

    def configs(self, replication: int) -> dict[str, str]:
        """Return all that keeps what is acknowledged, whatever a cluster's own defaults are."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention),
            "retention.bytes": "-1",
            "min.insync.replicas": str(copies_to_write(replication)),
            "max.message.bytes": str(LARGEST_BATCH),
            "unclean.leader.election.enable": "false",
            "compression.type": "producer",
        }


def copies_to_write(replication: int) -> int:
    """Return min.insync.replicas: half of the copies, and the odd one; 2 of 3, 1 of 1."""
    return (replication + 1) // 2


TOPICS: tuple[Topic, ...] = (
    Topic(COMMANDS, 16, 7 * DAY),
    *(Topic(stage_topic(stage.number), 16, 7 * DAY) for stage in STAGES),
    Topic(STAGE_REPORTS, 16, 7 * DAY),
    Topic(RUN_EVENTS, 16, -1),
    Topic(DEAD_LETTERS, 4, 30 * DAY),
    Topic(REPLAYS, 1, 30 * DAY),
    Topic(BROKER_EPOCH, 1, -1),
)

PRIVATE = frozenset({REPLAYS, BROKER_EPOCH})

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What travels: a Kafka record, sent or received. Received ones know where they stood."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int = -1
    offset: int = -1

    def header(self, name: str) -> str | None:
        """Return the header's text, none when it is missing or not UTF-8."""
        for found, value in self.headers:
            if found == name:
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None


Publish = Callable[[Record], Awaitable[None]]
"""Return when the broker has the record. Raises NothingSent or AnswerLost (events.kafka)."""


def record_of(
    topic: str,
    key: str,
    envelope: Envelope,
    *,
    name: str | None = None,
    body: bytes | None = None,
    position: int | None = None,
) -> Record:
    """Return the CloudEvents record of a message, binary mode.

    What comes from the store goes out as it was stored: its wire name, its bytes, its position.
    Only the header stands in for a trace that the body lacks.
    """
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", envelope.id),
        ("ce_source", SOURCE),
        ("ce_type", name or wire_name(envelope.message)),
        ("ce_subject", envelope.run_id or envelope.key),
        ("ce_time", envelope.at.isoformat().replace("+00:00", "Z")),
        ("ce_accountid", envelope.account_id),
        ("content-type", "application/json"),
    ]
    if envelope.site_id is not None:
        headers.append(("ce_siteid", envelope.site_id))
    if position is not None:
        headers.append(("ce_position", str(position)))
    headers.append(("traceparent", envelope.trace))
    return Record(
        topic=topic,
        key=key.encode(),
        value=encode(envelope) if body is None else body,
        headers=tuple((header, value.encode()) for header, value in headers),
    )


def command_record(envelope: Envelope) -> Record:
    """Return the record of a command, keyed by its site, or its account where there is none."""
    return record_of(COMMANDS, envelope.key, envelope)


def report_record(envelope: Envelope) -> Record:
    """Return the record of a worker's report, keyed by its site."""
    return record_of(STAGE_REPORTS, envelope.key, envelope)


@dataclass(frozen=True, slots=True)
class Placed:
    """An event in its place in the store; positions rise per key.

    `head` is what its record says of its key's chain: the head with this event, in which `unseen`
    is what went in beside it. It is a witness, not a part of what was said.
    """

    position: int
    envelope: Envelope
    head: Head | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return self.envelope.key


class Written(NamedTuple):
    """An event as the store holds it, not read yet: its position, its wire name, its bytes."""

    position: int
    name: str
    body: bytes


# Receipts of what machines say among themselves stay in the store: nobody waits for them.
UNPUBLISHED = frozenset(
    {
        "StageBatchCompleted",
        "StageCompleted",
        "BatchFailed",
        "BatchReturned",
        "TimerElapsed",
        "MessageSetAside",
        "MessageReplayed",
    }
)


def is_published(message: Message) -> bool:
    """Tell whether an event of the store goes to `septet.run-events`."""
    return not (isinstance(message, MessageAccepted) and message.kind in UNPUBLISHED)


def is_published_as(name: str, fields: Mapping[str, Any]) -> bool:
    """Tell the same of an event that has not been decoded, also of one that cannot be."""
    return not (bare_name(name) == "MessageAccepted" and fields.get("kind") in UNPUBLISHED)


def published(placed: Placed, name: str, body: bytes) -> list[Record]:
    """Return the records of a stored event: the public one, and the request to a stage."""
    envelope, position = placed.envelope, placed.position
    if not is_published(envelope.message):
        return []
    public = record_of(RUN_EVENTS, envelope.key, envelope, name=name, body=body, position=position)
    records = [replace(public, headers=public.headers + witness(placed.head))]
    if isinstance(envelope.message, StageBatchRequested):
        topic, key = stage_topic(envelope.message.stage), envelope.run_id or envelope.key
        records.append(record_of(topic, key, envelope, name=name, body=body, position=position))
    return records


def witness(head: Head | None) -> Headers:
    """Return the headers that say where an event stands in its key's chain."""
    if head is None:
        return ()
    said = [("ce_chain", head.chain.hex().encode())]
    if head.unseen != NOTHING:
        said.append(("ce_chainunseen", head.unseen.hex().encode()))
    return tuple(said)
