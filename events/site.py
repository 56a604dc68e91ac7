"""What happens to a site: its config, its backlog, who occupies it, its reviews, its refusals."""

from typing import ClassVar

from pydantic import AwareDatetime

from events.commands import TriggerType
from events.config import Config
from events.content import Keyword
from events.estimate import Past, learn
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

    `revised` are drafts that were there before and have been written anew: they wait for review.
    `slugs` are those that new drafts have taken. `credits_used` is what the provider calls stand
    at, `listed_credits` what those for the items done would cost by the run's price list if each
    had succeeded at once: what the site's estimates are learned from.
    """

    TYPE: ClassVar = "ItemsMoved"
    STREAM: ClassVar = "site"
    stage: int
    done: tuple[str, ...]
    failed: tuple[str, ...]
    made: tuple[Made, ...]
    revised: tuple[str, ...] = ()
    slugs: tuple[str, ...] = ()
    credits_used: int = 0
    listed_credits: int = 0

    def teach(self, past: Past) -> Past:
        """Return the site's past of the stage with what this adds to it."""
        made = len(self.made) + len(self.revised)
        return learn(past, len(self.done), made, self.credits_used, self.listed_credits)


@known
class ItemsRequeued(Event):
    """Items that had failed wait for their stage again, for the envelope's run to take."""

    TYPE: ClassVar = "ItemsRequeued"
    STREAM: ClassVar = "site"
    stage: int
    items: tuple[str, ...]


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
    """An article goes back to writing, with a note for the writer: its task waits again."""

    TYPE: ClassVar = "ContentReturned"
    STREAM: ClassVar = "site"
    content_id: str
    task_id: str
    note: str
