"""A message set aside: the bytes as they came, with the error, the origin and who gave up.

A dead letter lies on a topic that operators read. The run that the message belongs to learns of it
by a report, where the message tells its run reliably. `set_aside` makes both, for every consumer.
"""

import hashlib
from datetime import datetime
from typing import Any

from events.envelope import BadMessage, Envelope, UnknownMessage
from events.ids import derive, is_id
from events.message import Message
from events.pipeline import STAGES
from events.reading import read
from events.receipts import MessageAccepted, MessageRefused
from events.run import MessageReplayed, MessageSetAside
from events.topics import DEAD_LETTERS, Headers, Record, report_record

# A topic takes 1 MiB a record by default. A larger letter could never be sent, and whoever wants to
# send it would stand still.
LARGEST_BODY, LARGEST_KEY, LARGEST_HEADERS = 900_000, 1_000, 16_000  # bytes
LONGEST_ERROR, LONGEST_TOLD = 1_000, 300  # characters: for operators, and for whose run it is
MOST_ATTEMPTS = 1_000_000  # a number above it is nobody's

ATTEMPT = "septet-attempt"
ADDED = (
    "septet-error",
    "septet-origin",
    "septet-consumer",
    ATTEMPT,
    "septet-at",
    "septet-cut",
    "septet-size",
    "septet-sha256",
)
NUMBERS = frozenset(stage.number for stage in STAGES)
NOTES = (MessageSetAside, MessageReplayed)


def set_aside(record: Record, error: Exception | str, consumer: str, at: datetime) -> list[Record]:
    """Return all that a consumer publishes of a message that it cannot handle, the letter first.

    The report to the message's run follows when the run can be told and trusted. Both may be
    published twice: their ids and headers follow from the message.
    """
    reason = error if isinstance(error, str) else said(error)
    letter = dead_letter(record, reason, consumer, at)
    attempt = attempts(letter)
    envelope = _of_a_run(record)
    if envelope is None:
        return [letter]
    told = MessageSetAside(
        consumer=consumer,
        message_id=envelope.id,
        message_type=envelope.message.TYPE,
        attempt=attempt,
        origin=_origin(record),
        error=_short(reason),
        stage=_stage_of(envelope.message),
    )
    return [letter, _report(envelope, told, at)]


def replayed(record: Record, consumer: str, at: datetime) -> list[Record]:
    """Return what a consumer publishes of a message that it handled: a report if it came again.

    Only what was set aside before and sent again by an operator has its attempts in a header.
    """
    attempt = attempts(record)
    envelope = _of_a_run(record) if attempt else None
    if envelope is None:
        return []
    told = MessageReplayed(
        consumer=consumer,
        message_id=envelope.id,
        message_type=envelope.message.TYPE,
        attempt=attempt,
        stage=_stage_of(envelope.message),
    )
    return [_report(envelope, told, at)]


def dead_letter(record: Record, error: str, consumer: str, at: datetime) -> Record:
    """Return the dead letter: key, body and headers of the original, its origin, and why.

    What is too large to be sent is cut: `septet-cut` says what, `septet-size` and `septet-sha256`
    how large the whole body was and which.
    """
    added = {
        "septet-error": error[:LONGEST_ERROR],
        "septet-origin": _origin(record),
        "septet-consumer": consumer,
        ATTEMPT: str(attempts(record) + 1),
        "septet-at": at.isoformat().replace("+00:00", "Z"),
    }
    key, value, cut = record.key, record.value, list[str]()
    if value is not None and len(value) > LARGEST_BODY:
        cut.append("body")
        added["septet-size"] = str(len(value))
        added["septet-sha256"] = hashlib.sha256(value).hexdigest()
        value = value[:LARGEST_BODY]
    if key is not None and len(key) > LARGEST_KEY:
        cut.append("key")
        key = key[:LARGEST_KEY]
    own = tuple(pair for pair in record.headers if pair[0] not in ADDED)
    kept = _kept(own)
    if len(kept) < len(own):
        cut.append("headers")
    if cut:
        added["septet-cut"] = ",".join(cut)
    if key is None and value is None:
        key = b""  # Kafka clients want one of the two
    headers = (*kept, *((name, text.encode()) for name, text in added.items()))
    return Record(topic=DEAD_LETTERS, key=key, value=value, headers=headers)


def attempts(record: Record) -> int:
    """Return how often a message has been set aside so far: a number that travels with it."""
    said_ = record.header(ATTEMPT) or ""
    is_number = said_.isascii() and said_.isdigit() and len(said_) <= len(str(MOST_ATTEMPTS))
    return min(int(said_), MOST_ATTEMPTS) if is_number else 0


def original(letter: Record, topic: str) -> Record:
    """Return the message as it was, for its topic, with its attempts: the next one counts on."""
    kept = tuple(pair for pair in letter.headers if pair[0] not in ADDED)
    attempt = str(max(1, attempts(letter))).encode()
    return Record(topic, letter.key, letter.value, headers=(*kept, (ATTEMPT, attempt)))


def fingerprint(message: Record) -> str:
    """Return what tells a message from every other: the same one set aside twice has the same.

    Its id would not do, as poison may bear the id of something else.
    """
    own = tuple(pair for pair in message.headers if pair[0] not in ADDED)
    parts: tuple[Any, ...] = (message.topic, message.key, message.value, own)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def said(error: Exception) -> str:
    """Return an error in words; what is wrong with a message needs no name of a class."""
    if isinstance(error, UnknownMessage | BadMessage):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _of_a_run(record: Record) -> Envelope | None:
    """Return the message when its run can be trusted: it decodes, header and body agree.

    Never a report of this module, or a receipt: a report about a report would have no end.
    """
    try:
        envelope = read(record)
    except (UnknownMessage, BadMessage):
        return None
    if isinstance(envelope.message, (*NOTES, MessageAccepted, MessageRefused)):
        return None
    ids = {
        "account-": envelope.account_id,
        "site-": envelope.site_id or "",
        "run-": envelope.run_id or "",
    }
    is_ours = all(id_.startswith(kind) and is_id(id_) for kind, id_ in ids.items())
    return envelope if is_ours and "\x00" not in envelope.id else None


def _report(about: Envelope, told: MessageSetAside | MessageReplayed, at: datetime) -> Record:
    identity = derive("msg", told.TYPE, told.consumer, told.message_id, told.attempt)
    envelope = Envelope(
        id=identity,
        account_id=about.account_id,
        site_id=about.site_id,
        run_id=about.run_id,
        at=at,
        cause=about.id,
        traceparent=about.traceparent,
        message=told,
    )
    return report_record(envelope)


def _stage_of(message: Message) -> int | None:
    stage = getattr(message, "stage", None)
    return stage if stage in NUMBERS else None


def _origin(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _short(error: str) -> str:
    """Return an error's first line: the lines below are a database's statement, for operators."""
    line = error.partition("\n")[0]
    return line if len(line) <= LONGEST_TOLD else f"{line[: LONGEST_TOLD - 1]}…"


def _kept(headers: Headers) -> Headers:
    """Return the original's headers, as many as may be."""
    kept, size = [], 0
    for name, value in headers:
        size += len(name) + len(value)
        if size <= LARGEST_HEADERS:
            kept.append((name, value))
    return tuple(kept)
