"""Writes the samples that are missing: `python -m tests.stored.make`. Those that exist stay."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic_core import from_json, to_json

from events import documents
from events.envelope import Envelope, encode
from events.message import KNOWN, Command, Message, wire_name
from events.topics import Placed, Record, command_record, published

FOLDER = Path(__file__).parent
AT = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC)
TEXTS: Mapping[str, str] = {
    "timezone": "Europe/Berlin",
    "scheduled_time": "02:30",
    "language": "de-CH",
    "digest": "ab" * 32,
    "body": "cd" * 32,
    "file": "ef" * 32,
    "keyword": "Café crème ☕ “cold brew”",
    "slug": "cold-brew",
}
OF_ACCOUNT = {*documents.OF_ACCOUNT, *(KNOWN[f"septet.{name}.v1"] for name in ("KeyIssued",))}


def value_of(annotation: Any, name: str) -> Any:  # one line a type
    """Return a value of the type, always the same; never the empty or the default one."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return value_of(parts[0], name)
    if annotation is AwareDatetime or annotation is datetime:
        return AT
    if origin is Literal:
        return parts[-1]
    if origin in (Union, UnionType):
        return value_of(next(part for part in parts if part is not NoneType), name)
    if origin is tuple:
        if get_origin(inner := parts[0]) is Annotated:
            inner = get_args(inner)[0]
        if get_origin(inner) in (Union, UnionType):
            return tuple(value_of(part, name) for part in get_args(inner))
        return (value_of(parts[0], name),)
    if origin is dict:
        return {"name": value_of(parts[1], name)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return sample_of(annotation)
    return {bool: True, int: 3, float: 0.5, str: TEXTS.get(name, f"{name}-1")}[annotation]


def sample_of(kind: type[BaseModel]) -> Any:
    """Return an instance whose every field says something."""
    fields = {name: value_of(field.annotation, name) for name, field in kind.model_fields.items()}
    return kind.model_validate(fields)


def envelope_of(message: Message) -> Envelope:
    """Return the sample in an envelope; what concerns no site names none."""
    kind = type(message)
    has_site = kind not in OF_ACCOUNT
    return Envelope(
        id=f"msg-{kind.TYPE.lower()}",
        account_id="account-1",
        site_id="site-1" if has_site else None,
        run_id="run-1" if has_site else None,
        at=AT,
        cause="cmd-1",
        actor="key-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        message=message,
    )


def records_of(message: Message) -> list[Record]:
    """Return the records of a message as they are published."""
    envelope = envelope_of(message)
    if isinstance(message, Command):
        return [command_record(envelope)]
    placed = Placed(position=42, envelope=envelope)
    return published(placed, wire_name(message), encode(envelope))


def stored(record: Record) -> bytes:
    """Return a record as a sample holds it, one line a part."""
    assert record.key is not None
    assert record.value is not None
    parts = {
        "topic": record.topic,
        "key": record.key.decode(),
        "headers": {name: value.decode() for name, value in record.headers},
        "body": from_json(record.value),
    }
    return to_json(parts, indent=2) + b"\n"


def write_missing() -> None:
    for name, kind in KNOWN.items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_bytes(stored(records_of(sample_of(kind))[-1]))


if __name__ == "__main__":
    write_missing()
