"""Whom a message concerns, when and why it was said, and the one JSON form of both."""

from typing import Any

from pydantic import AwareDatetime, Field, SerializeAsAny, ValidationError
from pydantic_core import from_json, to_json

from events import account, commands, receipts, run, site  # noqa: F401  # so all are known
from events.ids import derive
from events.message import KNOWN, Message, Value, wire_name
from events.upcasters import upcast


class UnknownMessage(ValueError):
    """The wire name is not one that this release knows."""


class BadMessage(ValueError):
    """The bytes are not a message of the type that their header names."""


class Envelope(Value):
    """A message with whom, when and why.

    `id` is the message's identity on every topic and in the store (`ce_id`); `cause` is the id of
    the message that it follows from, its own id when nothing came before. `actor` says who: an API
    key's id, `admin`, `scheduler` or `system`. Times are UTC.
    """

    id: str = Field(min_length=1, max_length=200)
    account_id: str
    site_id: str | None = None
    run_id: str | None = None
    at: AwareDatetime
    cause: str
    actor: str = "system"
    traceparent: str | None = None
    message: SerializeAsAny[Message] = Field(exclude=True)

    @property
    def key(self) -> str:
        """The Kafka key and the unit of order: the site, or the account where there is none."""
        return self.site_id or self.account_id

    def reply(self, message: Message, number: int, at: Any) -> "Envelope":
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
            message=message,
        )


ENVELOPE_FIELDS = frozenset(Envelope.model_fields) - {"message"}


def encode(envelope: Envelope) -> bytes:
    """Return one flat JSON object: the message's fields and the envelope's."""
    return to_json(envelope.message.model_dump() | envelope.model_dump())


def decode(name: str, body: bytes) -> Envelope:
    """Return what the bytes say. Raises UnknownMessage or BadMessage."""
    try:
        fields = from_json(body)
    except ValueError as error:
        raise BadMessage(f"{name}: the body is not JSON") from error
    if not isinstance(fields, dict):
        raise BadMessage(f"{name}: the body is not a JSON object")
    name, fields = upcast(name, fields)
    kind = KNOWN.get(name)
    if kind is None:
        raise UnknownMessage(f"no message is called {name!r}")
    try:
        return Envelope.model_validate({**fields, "message": kind.model_validate(fields)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadMessage(f"{wire_name(kind)}: {where}: {first['msg']}") from error
