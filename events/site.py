"""What happens to a site: its config, its backlog, who occupies it, its reviews, its refusals."""

from typing import ClassVar

from pydantic import AwareDatetime

from events.commands import TriggerType
from events.config import Config
from events.content import Keyword
from events.message import Event, Value, known


class Made(Value):
    """An item that a stage made, and the item that it was made of."""

    id: str
    of: str


@known
class SiteCreated(Event):
    """A site was added to an account; its config starts in its own zone."""

    TYPE: ClassVar = "SiteCreated"
    STREAM: ClassVar = "site"
    name: str
    domain: str
    timezone: str


@known
class ConfigUpdated(Event):
    """The whole config after a change; `next_run_at` is none while the schedule is disabled."""

    TYPE: ClassVar = "ConfigUpdated"
    STREAM: ClassVar = "site"
    config: Config
    next_run_at: AwareDatetime | None


@known
class ScheduleAdvanced(Event):
    """A slot of the schedule has been answered; the next one is due at `next_run_at`."""

    TYPE: ClassVar = "ScheduleAdvanced"
    STREAM: ClassVar = "site"
    slot: AwareDatetime
    next_run_at: AwareDatetime | None


@known
class KeywordsAdded(Event):
    """Keywords that the site did not have; `duplicates` counts those that it had."""

    TYPE: ClassVar = "KeywordsAdded"
    STREAM: ClassVar = "site"
    keywords: tuple[Keyword, ...]
    duplicates: int


@known
class SiteOccupied(Event):
    """A run has the site; no other may start. It is written with RunStarted, which it guards."""

    TYPE: ClassVar = "SiteOccupied"
    STREAM: ClassVar = "site"


@known
class SiteReleased(Event):
    """The run has ended; `taken` are items of its batches still in flight, which stay taken."""

    TYPE: ClassVar = "SiteReleased"
    STREAM: ClassVar = "site"
    taken: tuple[str, ...] = ()


@known
class ItemsMoved(Event):
    """Items of a stage were settled, in the append of the report; what they made waits next.

    `slugs` are those that new drafts have taken.
    """

    TYPE: ClassVar = "ItemsMoved"
    STREAM: ClassVar = "site"
    stage: int
    done: tuple[str, ...]
    failed: tuple[str, ...]
    made: tuple[Made, ...]
    slugs: tuple[str, ...] = ()


@known
class ItemsFreed(Event):
    """Items of an ended run's batch that will not be answered are free for the next run."""

    TYPE: ClassVar = "ItemsFreed"
    STREAM: ClassVar = "site"
    stage: int
    items: tuple[str, ...]


@known
class RunRefused(Event):
    """A run was not started: the rule that said no, with its numbers."""

    TYPE: ClassVar = "RunRefused"
    STREAM: ClassVar = "site"
    trigger_type: TriggerType
    slot: AwareDatetime | None
    code: str
    detail: str
    numbers: dict[str, int | str]


@known
class ContentApproved(Event):
    """An article was approved."""

    TYPE: ClassVar = "ContentApproved"
    STREAM: ClassVar = "site"
    content_id: str


@known
class ContentRejected(Event):
    """An article was rejected."""

    TYPE: ClassVar = "ContentRejected"
    STREAM: ClassVar = "site"
    content_id: str
    reason: str


@known
class ContentReturned(Event):
    """An article goes back to writing, with a note for the writer."""

    TYPE: ClassVar = "ContentReturned"
    STREAM: ClassVar = "site"
    content_id: str
    note: str
