"""Whom a message concerns, when and why it was said, and the one JSON form of both."""

from typing import Any

from pydantic import AwareDatetime, Field, SerializeAsAny, ValidationError
from pydantic_core import from_json, to_json

from events import account, commands, receipts, run, site  # noqa: F401  # so all are known
from events.ids import derive
from events.message import KNOWN, Message, Value, wire_name
from events.trace import is_trace, trace_of
from events.upcasters import UPCASTERS, Json, following, upcast


class UnknownMessage(ValueError):
    """The wire name is not one that this release knows."""


class BadMessage(ValueError):
    """The bytes are not a message of the type that their header names."""


class Envelope(Value):
    """A message with whom, when and why.

    `id` is the message's identity on every topic and in the store (`ce_id`); `cause` is the id of
    the message that it follows from, its own id when nothing came before. `actor` says who: an API
    key's id, `admin`, `scheduler` or `system`. Times are UTC. While there is `more`, published
    events of the same append follow: sums over several of them agree at the last one.
    """

    id: str = Field(min_length=1, max_length=200)
    account_id: str
    site_id: str | None = None
    run_id: str | None = None
    at: AwareDatetime
    cause: str
    actor: str = "system"
    traceparent: str | None = None
    more: bool = False
    message: SerializeAsAny[Message] = Field(exclude=True)

    @property
    def key(self) -> str:
        """The Kafka key and the unit of order: the site, or the account where there is none."""
        return self.site_id or self.account_id

    @property
    def trace(self) -> str:
        """The W3C trace context: what was said, else one that follows from the run or the cause."""
        if is_trace(self.traceparent):
            return self.traceparent
        return trace_of(self.run_id or self.cause)

    def reply(self, message: Message, number: int, at: Any, *, more: bool = False) -> "Envelope":
        """Return what follows from this message, with an id that follows from it too."""
        return Envelope.model_construct(
            id=derive("msg", self.id, number),
            account_id=self.account_id,
            site_id=self.site_id,
            run_id=self.run_id,
            at=at,
            cause=self.id,
            actor=self.actor,
            traceparent=self.traceparent,
            more=more,
            message=message,
        )


ENVELOPE_FIELDS = frozenset(Envelope.model_fields) - {"message"}
MISSHAPEN = (LookupError, TypeError, ValueError, AttributeError)  # what unchecked bodies lead to


def encode(envelope: Envelope) -> bytes:
    """Return one flat JSON object: the message's fields and the envelope's."""
    return to_json(envelope.message.model_dump() | envelope.model_dump())


def decode(name: str, body: bytes, id_: str | None = None) -> Envelope:
    """Return what the bytes say, as a message of the current version; the bytes stay as they are.

    `id_` is that of a body that names none. Raises UnknownMessage or BadMessage.
    """
    try:
        fields = from_json(body)
    except ValueError as error:
        raise BadMessage(f"{name}: the body is not JSON") from error
    if not isinstance(fields, dict):
        raise BadMessage(f"{name}: the body is not a JSON object")
    if id_ is not None:
        fields.setdefault("id", id_)
        fields.setdefault("cause", fields["id"])
    kind = KNOWN.get(name)
    if kind is None:
        kind, fields = _current(name, fields)
    try:
        return Envelope.model_validate({**fields, "message": kind.model_validate(fields)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadMessage(f"{wire_name(kind)}: {where}: {first['msg']}") from error


def is_readable(name: str) -> bool:
    """Tell whether this release knows the wire name, or an upcaster leads from it to one it knows.

    A newer release may know names that this one does not.
    """
    while name in UPCASTERS:
        name = following(name)
    return name in KNOWN


def _current(name: str, fields: Json) -> tuple[type[Message], Json]:
    """Return the class and the body that an older release's message has today.

    An upcaster changes neither whom a message concerns nor its identity. Raises UnknownMessage or
    BadMessage.
    """
    if not is_readable(name):
        raise UnknownMessage(f"no message is called {name!r}")
    try:
        current, changed = upcast(name, fields)
    except MISSHAPEN as error:
        raise BadMessage(f"{name}: cannot be brought up to date: {error!r}") from error
    said = {field: value for field, value in fields.items() if field in ENVELOPE_FIELDS}
    return KNOWN[current], {**changed, **said}
