"""The base of everything that is said, and the registry of wire names."""

from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

StreamKind = Literal["run", "site", "account", "receipt"]

SOURCE = "septet"


class Value(BaseModel):
    """A part of a message: immutable, and tolerant of fields that a newer writer has added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Value):
    """A command, an event or a report.

    `TYPE` is written out so that renaming a class changes nothing outside. A shipped shape never
    changes: a new meaning is a new version, with an upcaster and a stored sample.
    """

    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1


class Command(Message):
    """Something asked for, which the rules may refuse."""


class Event(Message):
    """A fact. `STREAM` is the kind of stream that it is recorded in."""

    STREAM: ClassVar[StreamKind]


AnyMessage = TypeVar("AnyMessage", bound=type[Message])
KNOWN: dict[str, type[Message]] = {}


def known(kind: AnyMessage) -> AnyMessage:
    """Enter a message class into the registry. Raises ValueError when its wire name is taken."""
    name = wire_name(kind)
    if name in KNOWN:
        raise ValueError(f"{name} is defined twice")
    KNOWN[name] = kind
    return kind


def wire_name(message: Message | type[Message]) -> str:
    """Return `septet.<Name>.v<version>`: Kafka's `ce_type` and the store's topic column."""
    return f"{SOURCE}.{message.TYPE}.v{message.VERSION}"


def bare_name(name: str) -> str:
    """Return the name inside a wire name: `septet.RunStarted.v1` is a `RunStarted`."""
    return name.removeprefix(f"{SOURCE}.").rsplit(".", 1)[0]
