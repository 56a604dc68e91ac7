"""What the items of a batch look like to the stage that works on them."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from events.brief import PLAIN, Brief
from events.content import Intent
from events.prices import LOCAL, Models
from services.stage_workers.ai.model import Link


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message asks for. `items` are ids; `prices` is the run's price version.

    `seconds` is how long the batch may take; what is not done by then fails.
    """

    account_id: str
    site_id: str
    run_id: str
    batch_id: str
    stage: int
    items: tuple[str, ...]
    prices: int
    site_name: str = ""
    models: Models = LOCAL
    brief: Brief = PLAIN
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class KeywordItem:
    id: str
    keyword: str
    volume: int | None
    intent: str | None


@dataclass(frozen=True, slots=True)
class ClusterItem:
    """A cluster with its members; `siblings` are the site's other ideas' titles."""

    id: str
    name: str
    intent: Intent
    keywords: tuple[KeywordItem, ...]
    siblings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdeaItem:
    id: str
    cluster_id: str
    title: str
    intent: Intent
    outline: tuple[str, ...]
    target_keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """A draft that a reviewer sent back with a note; the body is Markdown, empty when erased."""

    draft_id: str
    slug: str
    body: str
    note: str


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A writing task with its idea; `related` are the site's other articles.

    With a `revision` its draft is there already, and is to be written anew.
    """

    id: str
    idea: IdeaItem
    related: tuple[Link, ...] = ()
    revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class DraftItem:
    """A draft with its Markdown body."""

    id: str
    title: str
    intent: Intent
    body: str
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptItem:
    id: str
    content_id: str
    title: str
    role: str
    section: str
    text: str
    alt: str


Item_co = TypeVar("Item_co", covariant=True)


class ReadItems(Protocol[Item_co]):
    """Read the batch's items, in the batch's order. Raises LookupError when one is missing."""

    async def __call__(self, batch: Batch) -> tuple[Item_co, ...]: ...
