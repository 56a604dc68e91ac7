"""The one outcome of a message: the only event of a stream that is named by the message's id."""

from typing import ClassVar

from pydantic import Field

from events.message import Event, known


@known
class MessageAccepted(Event):
    """The message was followed; `kind` is its name, `numbers` what its sender wants to know."""

    TYPE: ClassVar = "MessageAccepted"
    STREAM: ClassVar = "receipt"
    kind: str
    numbers: dict[str, int | str] = Field(default_factory=dict)


@known
class MessageRefused(Event):
    """A rule said no: its code, a sentence for a person, and the numbers it went by."""

    TYPE: ClassVar = "MessageRefused"
    STREAM: ClassVar = "receipt"
    kind: str
    code: str
    detail: str
    numbers: dict[str, int | str] = Field(default_factory=dict)
