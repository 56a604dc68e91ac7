"""What is written for a site: tasks, articles and their images."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa

from events.content import Draft, Image, Intent, Prompt, Task
from events.run import StageBatchCompleted
from events.site import ContentApproved, ContentRejected, ContentReturned, ItemsMoved
from events.topics import Placed
from projections.database import (
    Parsed,
    Row,
    Whole,
    as_json,
    in_order,
    insert_new,
    many,
    may,
    metadata,
    must,
    one,
    primary,
    stamp,
    write_all,
)
from projections.planner import (
    Listed,
    Takes,
    ideas,
    listed,
    made_in,
    settle,
    settle_all,
)

ContentStatus = Literal[
    "drafted", "illustrated", "review", "approved", "rejected", "changes_requested", "failed"
]
ImageStatus = Literal["pending", "rendered", "failed"]
NEWEST = 20

tasks = sa.Table(
    "tasks",
    metadata,
    primary("id"),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("ordinal", Whole),
    must("idea_id"),
    must("title"),
    must("status"),
    sa.Index("tasks_site", "site_id", "ordinal"),
    sqlite_with_rowid=False,
)
contents = sa.Table(
    "contents",
    metadata,
    primary("id"),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("ordinal", Whole),
    must("task_id"),
    must("title"),
    must("slug"),
    must("body"),
    must("meta_title"),
    must("meta_description"),
    must("word_count", Whole),
    must("keywords"),
    must("status"),
    may("note"),
    must("created_at"),
    sa.Index("contents_site", "site_id", "ordinal"),
)
# A prompt and the image made of it are one row; the image's columns are empty until it is rendered.
images = sa.Table(
    "images",
    metadata,
    primary("prompt_id"),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("ordinal", Whole),
    must("content_id"),
    must("role"),
    must("section"),
    must("text"),
    must("alt"),
    must("status"),
    may("image_id"),
    may("file"),
    may("media_type"),
    may("width", Whole),
    may("height", Whole),
    may("size", Whole),
    sa.Index("images_site", "site_id", "ordinal"),
    sa.Index("images_content", "content_id"),
    sa.Index("images_image", "image_id"),
)


class TaskRow(Row):
    id: str
    idea_id: str
    title: str
    status: Literal["queued", "written", "failed"]
    run_id: str | None


class ImageRow(Row):
    """An image; before it is rendered `id` is its prompt's, and `file`, a SHA-256, is none."""

    id: str
    prompt_id: str
    content_id: str
    role: Literal["featured", "in_article"]
    section: str
    alt: str
    status: ImageStatus
    file: str | None
    media_type: str | None
    width: int | None
    height: int | None
    size: int | None


class Lineage(Row):
    cluster_id: str | None
    idea_id: str | None
    task_id: str
    run_id: str | None


class ContentSummary(Row):
    """An article as it is listed."""

    id: str
    title: str
    slug: str
    word_count: int
    status: ContentStatus
    task_id: str
    run_id: str | None
    created_at: datetime


class ContentRow(Row):
    """An article; `body` is the SHA-256 of its Markdown, `note` the reviewer's last word."""

    id: str
    site_id: str
    title: str
    slug: str
    body: str
    meta_title: str
    meta_description: str
    word_count: int
    status: ContentStatus
    note: str | None
    keywords: Annotated[tuple[str, ...], Parsed]
    created_at: datetime
    images: tuple[ImageRow, ...]
    lineage: Lineage


class DraftWork(Row):
    """A draft as the stages after it read it; `body` is the artifact's SHA-256."""

    id: str
    title: str
    intent: Intent
    body: str
    keywords: Annotated[tuple[str, ...], Parsed]


class PromptWork(Row):
    """A prompt as the stage that renders reads it; `title` is the article's."""

    id: str
    content_id: str
    title: str
    role: Literal["featured", "in_article"]
    section: str
    text: str
    alt: str


ADD_TASKS = insert_new(tasks)
ADD_CONTENTS = insert_new(contents)
ADD_IMAGES = insert_new(images)
RENDER = (
    sa.update(images)
    .where(
        images.c.prompt_id == sa.bindparam("which"),
        images.c.site_id == sa.bindparam("where"),
    )
    .values(
        image_id=sa.bindparam("image"),
        file=sa.bindparam("hash"),
        media_type=sa.bindparam("kind"),
        width=sa.bindparam("wide"),
        height=sa.bindparam("high"),
        size=sa.bindparam("bytes"),
        alt=sa.bindparam("words"),
    )
)
SETTLE_TASKS = Takes(settle(tasks), "written")
SETTLE_CONTENTS = settle(contents)
SETTLE_IMAGE = (
    sa.update(images)
    .where(
        images.c.prompt_id == sa.bindparam("which"),
        images.c.site_id == sa.bindparam("where"),
    )
    .values(status=sa.bindparam("outcome"))
)
prompt, sibling = images.alias("prompt"), images.alias("sibling")
ILLUSTRATE = (
    sa.update(contents)
    .where(
        contents.c.site_id == sa.bindparam("where"),
        contents.c.status == "drafted",
        contents.c.id.in_(
            sa.select(prompt.c.content_id).where(prompt.c.prompt_id == sa.bindparam("which"))
        ),
        ~sa.select(sibling.c.prompt_id)
        .where(sibling.c.content_id == contents.c.id, sibling.c.status == "pending")
        .exists(),
    )
    .values(status="illustrated")
)
REVIEW = Takes(SETTLE_CONTENTS, "review")
DECIDE = (
    sa.update(contents)
    .where(contents.c.id == sa.bindparam("which"), contents.c.site_id == sa.bindparam("where"))
    .values(status=sa.bindparam("outcome"), note=sa.bindparam("words"))
)


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case StageBatchCompleted(stage=3 | 4 | 5 | 6) as report:
            _add(tx, placed, report)
        case ItemsMoved(stage=4) as moved:
            settle_all(tx, placed, moved, SETTLE_TASKS)
        case ItemsMoved(stage=5) as moved:
            prompted = {made.of for made in moved.made}
            bare = [item for item in moved.done if item not in prompted]
            _settle(tx, SETTLE_CONTENTS, placed, bare, "illustrated")
            _settle(tx, SETTLE_CONTENTS, placed, moved.failed, "failed")
        case ItemsMoved(stage=6) as moved:
            _settle(tx, SETTLE_IMAGE, placed, moved.done, "rendered")
            _settle(tx, SETTLE_IMAGE, placed, moved.failed, "failed")
            site = placed.envelope.site_id
            both = [{"which": item, "where": site} for item in (*moved.done, *moved.failed)]
            write_all(tx, ILLUSTRATE, both)
        case ItemsMoved(stage=7) as moved:
            settle_all(tx, placed, moved, REVIEW)
        case ContentApproved(content_id=content_id):
            _decide(tx, placed, content_id, "approved", None)
        case ContentRejected(content_id=content_id, reason=reason):
            _decide(tx, placed, content_id, "rejected", reason)
        case ContentReturned(content_id=content_id, note=note):
            _decide(tx, placed, content_id, "changes_requested", note)


def _settle(
    tx: sa.Connection, statement: sa.Update, placed: Placed, ids: Sequence[str], outcome: str
) -> None:
    site = placed.envelope.site_id
    rows = [{"which": item, "where": site, "outcome": outcome} for item in ids]
    write_all(tx, statement, rows)


def _decide(
    tx: sa.Connection, placed: Placed, content_id: str, outcome: str, words: str | None
) -> None:
    where = {"which": content_id, "where": placed.envelope.site_id}
    tx.execute(DECIDE, where | {"outcome": outcome, "words": words})


def _add(tx: sa.Connection, placed: Placed, report: StageBatchCompleted) -> None:
    new_tasks, drafts, prompts, rendered = [], [], [], []
    for index, fact in enumerate(report.made):
        match fact:
            case Task():
                new_tasks.append(_task(placed, index, fact))
            case Draft():
                drafts.append(_draft(placed, index, fact))
            case Prompt():
                prompts.append(_prompt(placed, index, fact))
            case Image():
                rendered.append(_image(placed, fact))
    write_all(tx, ADD_TASKS, new_tasks)
    write_all(tx, ADD_CONTENTS, drafts)
    write_all(tx, ADD_IMAGES, prompts)
    write_all(tx, RENDER, rendered)


def _task(placed: Placed, index: int, task: Task) -> dict[str, Any]:
    known = {"id": task.id, "idea_id": task.idea_id, "title": task.title, "status": "queued"}
    return made_in(placed, index) | known


def _draft(placed: Placed, index: int, draft: Draft) -> dict[str, Any]:
    return made_in(placed, index) | {
        "id": draft.id,
        "task_id": draft.task_id,
        "title": draft.title,
        "slug": draft.slug,
        "body": draft.body,
        "meta_title": draft.meta_title,
        "meta_description": draft.meta_description,
        "word_count": draft.word_count,
        "keywords": as_json(draft.keywords),
        "status": "drafted",
        "created_at": stamp(placed.envelope.at),
    }


def _prompt(placed: Placed, index: int, fact: Prompt) -> dict[str, Any]:
    return made_in(placed, index) | {
        "prompt_id": fact.id,
        "content_id": fact.content_id,
        "role": fact.role,
        "section": fact.section,
        "text": fact.text,
        "alt": fact.alt,
    }


def _image(placed: Placed, fact: Image) -> dict[str, Any]:
    return {
        "which": fact.prompt_id,
        "where": placed.envelope.site_id,
        "image": fact.id,
        "hash": fact.file,
        "kind": fact.media_type,
        "wide": fact.width,
        "high": fact.height,
        "bytes": fact.size,
        "words": fact.alt,
    }


def list_tasks(
    tx: sa.Connection,
    account_id: str,
    site_id: str,
    status: str | None,
    limit: int,
    after: int | None,
) -> Listed[TaskRow]:
    """Return the site's writing tasks in the order in which they were made."""
    asked = sa.select(tasks)
    return listed(tx, TaskRow, asked, tasks, account_id, site_id, status, limit, after)


def list_content(
    tx: sa.Connection,
    account_id: str,
    site_id: str,
    status: str | None,
    limit: int,
    after: int | None,
) -> Listed[ContentSummary]:
    """Return the site's articles in the order in which they were drafted."""
    asked = sa.select(contents)
    return listed(tx, ContentSummary, asked, contents, account_id, site_id, status, limit, after)


IDENTITY = sa.func.coalesce(images.c.image_id, images.c.prompt_id).label("id")
IMAGE = sa.select(IDENTITY, images)


def list_images(
    tx: sa.Connection,
    account_id: str,
    site_id: str,
    status: str | None,
    limit: int,
    after: int | None,
) -> Listed[ImageRow]:
    """Return the site's images, asked for or rendered, in the order of their prompts."""
    return listed(tx, ImageRow, IMAGE, images, account_id, site_id, status, limit, after)


def image(tx: sa.Connection, account_id: str, image_id: str) -> ImageRow | None:
    """Return the image by its id, or its prompt's."""
    named = sa.or_(images.c.image_id == image_id, images.c.prompt_id == image_id)
    return one(tx, ImageRow, IMAGE.where(images.c.account_id == account_id, named))


def content(tx: sa.Connection, account_id: str, content_id: str) -> ContentRow | None:
    """Return the article with its images and what it came from."""
    asked = (
        sa.select(contents, tasks.c.idea_id, ideas.c.cluster_id)
        .outerjoin_from(contents, tasks, tasks.c.id == contents.c.task_id)
        .outerjoin(ideas, ideas.c.id == tasks.c.idea_id)
        .where(contents.c.account_id == account_id, contents.c.id == content_id)
    )
    found = tx.execute(asked).mappings().first()
    if found is None:
        return None
    mine = (images.c.account_id == account_id, images.c.content_id == content_id)
    pictures = many(tx, ImageRow, IMAGE.where(*mine).order_by(images.c.ordinal))
    lineage = Lineage.model_validate(dict(found))
    return ContentRow.model_validate({**found, "images": pictures, "lineage": lineage})


def tasks_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[TaskRow]:
    """Return the tasks in the order of the ids, without those that are missing."""
    mine = (tasks.c.account_id == account_id, tasks.c.id.in_(ids))
    return in_order(many(tx, TaskRow, sa.select(tasks).where(*mine)), ids)


def titles(tx: sa.Connection, account_id: str, site_id: str) -> tuple[str, ...]:
    """Return the titles of the site's newest articles, at most 20."""
    asked = (
        sa.select(contents.c.title)
        .where(contents.c.account_id == account_id, contents.c.site_id == site_id)
        .order_by(contents.c.ordinal.desc())
        .limit(NEWEST)
    )
    return tuple(tx.scalars(asked))


def drafts_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[DraftWork]:
    """Return the drafts in the order of the ids, without those that are missing."""
    asked = (
        sa.select(contents, ideas.c.intent)
        .join_from(contents, tasks, tasks.c.id == contents.c.task_id)
        .join(ideas, ideas.c.id == tasks.c.idea_id)
        .where(contents.c.account_id == account_id, contents.c.id.in_(ids))
    )
    return in_order(many(tx, DraftWork, asked), ids)


def prompts_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[PromptWork]:
    """Return the prompts in the order of the ids, without those that are missing."""
    asked = (
        sa.select(images, images.c.prompt_id.label("id"), contents.c.title)
        .join_from(images, contents, contents.c.id == images.c.content_id)
        .where(images.c.account_id == account_id, images.c.prompt_id.in_(ids))
    )
    return in_order(many(tx, PromptWork, asked), ids)
