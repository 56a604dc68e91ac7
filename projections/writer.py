"""What is written for a site: tasks, articles and their images."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa

from events.content import Draft, Image, Intent, Prompt, Task
from events.quality import Quality
from events.run import StageBatchCompleted
from events.site import (
    ContentApproved,
    ContentRejected,
    ContentReturned,
    ItemsMoved,
    ItemsRequeued,
)
from events.topics import Placed
from projections.database import (
    FOLDS,
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
    read_all,
    stamp,
    upsert,
    write,
    write_all,
)
from projections.planner import (
    Listed,
    Takes,
    ideas,
    lister,
    made_in,
    settle,
    settle_all,
    settle_each,
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
    may("quality"),
    may("quality_passed", sa.Boolean),
    must("status"),
    must("revision", sa.Integer),
    may("note"),
    may("decided_by"),
    must("created_at"),
    must("updated_at"),
    sa.Index("contents_site", "site_id", "ordinal"),
    sa.Index("contents_task", "task_id"),
)
# By a shingle the site's other articles that have it are found.
shingles = sa.Table(
    "shingles",
    metadata,
    primary("site_id"),
    primary("shingle"),
    primary("content_id"),
    must("account_id"),
    sa.Index("shingles_content", "content_id", info=FOLDS),
    sqlite_with_rowid=False,
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
    sa.Index("images_content", "content_id", info=FOLDS),
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
    """An article as it is listed; `quality_passed` is none where nothing was measured."""

    id: str
    title: str
    slug: str
    word_count: int
    quality_passed: bool | None
    status: ContentStatus
    revision: int
    note: str | None
    task_id: str
    run_id: str | None
    created_at: datetime
    updated_at: datetime


class ContentRow(Row):
    """An article; `body` is the SHA-256 of its Markdown, `note` the reviewer's last word.

    `revision` counts how often it was written: 1, and one more for each change that was requested.
    `quality` is that of the last one, and none where nothing was measured.
    """

    id: str
    site_id: str
    title: str
    slug: str
    body: str
    meta_title: str
    meta_description: str
    word_count: int
    quality: Annotated[Quality | None, Parsed]
    status: ContentStatus
    revision: int
    note: str | None
    decided_by: str | None
    keywords: Annotated[tuple[str, ...], Parsed]
    created_at: datetime
    updated_at: datetime
    images: tuple[ImageRow, ...]
    lineage: Lineage


class Returned(Row):
    """An article that a reviewer sent back, as it is to be written anew; `body` is a SHA-256."""

    id: str
    task_id: str
    slug: str
    body: str
    note: str


class Sibling(Row):
    """An article as others of its site are compared with it."""

    id: str
    title: str
    slug: str
    keywords: Annotated[tuple[str, ...], Parsed]


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
# A draft that is there already was written anew: it keeps its place, its slug and its origin.
ADD_CONTENTS = upsert(
    contents,
    lambda new: {
        "title": new.title,
        "body": new.body,
        "meta_title": new.meta_title,
        "meta_description": new.meta_description,
        "word_count": new.word_count,
        "keywords": new["keywords"],
        "quality": new.quality,
        "quality_passed": new.quality_passed,
        "status": new.status,
        "revision": contents.c.revision + sa.literal_column("1"),
        "updated_at": new.updated_at,
    },
    where=contents.c.status == sa.literal_column("'changes_requested'"),
)
IS_WRITTEN = sa.select(contents.c.status).where(contents.c.id == sa.bindparam("which"))
ADD_SHINGLES = insert_new(shingles)
DROP_SHINGLES = sa.delete(shingles).where(shingles.c.content_id == sa.bindparam("which"))
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
    .values(
        status=sa.bindparam("outcome"),
        note=sa.bindparam("words"),
        decided_by=sa.bindparam("who"),
        updated_at=sa.bindparam("now"),
    )
)
# What an item is called that waits for its stage again.
WAITS: dict[int, tuple[sa.Update, str]] = {
    4: (SETTLE_TASKS.settle, "queued"),
    5: (SETTLE_CONTENTS, "drafted"),
    6: (SETTLE_IMAGE, "pending"),
    7: (SETTLE_CONTENTS, "illustrated"),
}


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case StageBatchCompleted(stage=3 | 4 | 5 | 6) as report:
            _add(tx, placed, report)
        case ItemsMoved(stage=4) as moved:
            settle_all(tx, placed, moved, SETTLE_TASKS)
        case ItemsMoved(stage=5) as moved:
            prompted = {made.of for made in moved.made}
            bare = [item for item in moved.done if item not in prompted]
            settle_each(tx, placed, SETTLE_CONTENTS, bare, "illustrated")
            settle_each(tx, placed, SETTLE_CONTENTS, moved.failed, "failed")
        case ItemsMoved(stage=6) as moved:
            settle_each(tx, placed, SETTLE_IMAGE, moved.done, "rendered")
            settle_each(tx, placed, SETTLE_IMAGE, moved.failed, "failed")
            site = placed.envelope.site_id
            both = [{"which": item, "where": site} for item in (*moved.done, *moved.failed)]
            write_all(tx, ILLUSTRATE, both)
        case ItemsMoved(stage=7) as moved:
            settle_all(tx, placed, moved, REVIEW)
        case ContentApproved(content_id=content_id):
            _decide(tx, placed, content_id, "approved", None)
        case ContentRejected(content_id=content_id, reason=reason):
            _decide(tx, placed, content_id, "rejected", reason)
        case ContentReturned(content_id=content_id, task_id=task_id, note=note):
            _decide(tx, placed, content_id, "changes_requested", note)
            settle_each(tx, placed, SETTLE_TASKS.settle, [task_id], "queued")
        case ItemsRequeued(stage=stage, items=again) if stage in WAITS:
            statement, outcome = WAITS[stage]
            settle_each(tx, placed, statement, again, outcome)


def _decide(
    tx: sa.Connection, placed: Placed, content_id: str, outcome: str, words: str | None
) -> None:
    envelope = placed.envelope
    where = {"which": content_id, "where": envelope.site_id}
    by = {"who": envelope.actor, "now": stamp(envelope.at)}
    write(tx, DECIDE, where | by | {"outcome": outcome, "words": words})


def _add(tx: sa.Connection, placed: Placed, report: StageBatchCompleted) -> None:
    new_tasks, drafts, prompts, rendered = [], [], [], []
    for index, fact in enumerate(report.made):
        match fact:
            case Task():
                new_tasks.append(_task(placed, index, fact))
            case Draft():
                _place_shingles(tx, placed, fact)
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
        "quality": draft.quality and as_json(draft.quality),
        "quality_passed": draft.quality and draft.quality.passed,
        "status": "drafted",
        "revision": 1,
        "created_at": stamp(placed.envelope.at),
        "updated_at": stamp(placed.envelope.at),
    }


def _place_shingles(tx: sa.Connection, placed: Placed, draft: Draft) -> None:
    """Put a draft's shingles in the place of those it had; it must not be written yet."""
    known = read_all(tx, IS_WRITTEN, {"which": draft.id})
    if known and known[0][0] != "changes_requested":
        return  # it is told again, and stays as it is
    if known:
        write(tx, DROP_SHINGLES, {"which": draft.id})
    envelope = placed.envelope
    whose = {"site_id": envelope.site_id, "account_id": envelope.account_id}
    rows = [whose | {"content_id": draft.id, "shingle": one} for one in draft.shingles]
    write_all(tx, ADD_SHINGLES, rows)


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


IDENTITY = sa.func.coalesce(images.c.image_id, images.c.prompt_id).label("id")
IMAGE = sa.select(IDENTITY, images)
list_tasks = lister(TaskRow, sa.select(tasks), tasks)
_list_content = lister(ContentSummary, sa.select(contents), contents)
_list_by_quality = {
    passed: lister(
        ContentSummary, sa.select(contents).where(contents.c.quality_passed == passed), contents
    )
    for passed in (True, False)
}
list_images = lister(ImageRow, IMAGE, images)  # asked for or rendered, in the order of the prompts


def list_content(
    tx: sa.Connection,
    account_id: str,
    site_id: str,
    status: str | None,
    limit: int,
    after: int | None,
    passed: bool | None = None,  # noqa: FBT001  # a value like the others
) -> Listed[ContentSummary]:
    """Return a page of the site's articles, in the order of their creation.

    With `passed` only those that passed their quality gates, or only those that did not.
    """
    listed = _list_content if passed is None else _list_by_quality[passed]
    return listed(tx, account_id, site_id, status, limit, after)


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


def returned(tx: sa.Connection, account_id: str, task_ids: Sequence[str]) -> list[Returned]:
    """Return those of the tasks' articles that a reviewer sent back."""
    asked = sa.select(contents).where(
        contents.c.account_id == account_id,
        contents.c.task_id.in_(task_ids),
        contents.c.status == "changes_requested",
    )
    return many(tx, Returned, asked)


def newest(tx: sa.Connection, account_id: str, site_id: str) -> tuple[tuple[str, str], ...]:
    """Return title and slug of the site's newest articles, at most 20; none that was rejected."""
    asked = (
        sa.select(contents.c.title, contents.c.slug)
        .where(*_standing(account_id, site_id))
        .order_by(contents.c.ordinal.desc())
        .limit(NEWEST)
    )
    return tuple((title, slug) for title, slug in tx.execute(asked))


def articles(tx: sa.Connection, account_id: str, site_id: str) -> list[Sibling]:
    """Return the site's articles, but those that were rejected, in the order of their creation."""
    asked = sa.select(contents.c.id, contents.c.title, contents.c.slug, contents.c["keywords"])
    mine = asked.where(*_standing(account_id, site_id)).order_by(contents.c.ordinal)
    return many(tx, Sibling, mine)


def sharing(
    tx: sa.Connection, account_id: str, site_id: str, digests: Sequence[str]
) -> dict[str, int]:
    """Return how many of these shingles each of the site's articles has, by its id."""
    asked = (
        sa.select(shingles.c.content_id, sa.func.count())
        .where(
            shingles.c.account_id == account_id,
            shingles.c.site_id == site_id,
            shingles.c.shingle.in_(digests),
        )
        .group_by(shingles.c.content_id)
    )
    return {row.content_id: row[1] for row in tx.execute(asked)}


def _standing(account_id: str, site_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for articles that stand, or may stand, on the site."""
    columns = contents.c
    is_mine = (columns.account_id == account_id, columns.site_id == site_id)
    return *is_mine, columns.status != "rejected"


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
