"""From a Kafka record to a message, with everything that a stranger may have put there checked."""

from events.chain import head_in
from events.envelope import BadMessage, Envelope, decode
from events.topics import RUN_EVENTS, Placed, Record
from events.trace import is_trace


def read(record: Record) -> Envelope:
    """Return the message in a record. Raises UnknownMessage or BadMessage.

    Headers, key and body must agree on id, site and account: a record that says one tenant outside
    and another inside belongs to nobody. A body without `id` has its header's, one without `cause`
    follows from nothing, one without `traceparent` has its header's, unless that only stood in.
    """
    name = record.header("ce_type")
    if name is None:
        raise BadMessage("the record has no ce_type header")
    if record.value is None:
        raise BadMessage(f"{name}: the record has no body")
    envelope = decode(name, record.value, record.header("ce_id"))
    expected = {
        "ce_id": envelope.id,
        "ce_accountid": envelope.account_id,
        "ce_siteid": envelope.site_id,
    }
    for header, value in expected.items():
        said = record.header(header)
        if said is not None and said != value:
            raise BadMessage(f"{name}: {header} says {said!r}, the body says {value!r}")
    return _traced(envelope, record.header("traceparent"))


def _traced(envelope: Envelope, said: str | None) -> Envelope:
    if envelope.traceparent is not None or not is_trace(said) or said == envelope.trace:
        return envelope
    return envelope.model_copy(update={"traceparent": said})


def read_placed(record: Record) -> Placed:
    """Return an event with its position. Raises UnknownMessage or BadMessage."""
    envelope = read(record)
    position = record.header("ce_position") or ""
    if not (position.isascii() and position.isdigit()):
        raise BadMessage(f"a record of {RUN_EVENTS} has no ce_position")
    head = head_in(record.header("ce_chain"), record.header("ce_chainunseen"))
    return Placed(position=int(position), envelope=envelope, head=head)
