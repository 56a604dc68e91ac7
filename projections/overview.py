"""Every item's place in the pipeline: what waits, is worked on, is done, has failed, per stage."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from events.pipeline import CONTENT, IMAGES, LAST, PROMPTS, STAGES
from events.run import BatchExpired, BatchFailed, BatchReturned, StageBatchRequested
from events.site import (
    ContentReturned,
    ItemsFreed,
    ItemsMoved,
    ItemsRequeued,
    KeywordsAdded,
)
from events.topics import Placed
from projections.database import (
    FOLDS,
    Row,
    Whole,
    insert_new,
    may,
    metadata,
    must,
    ordinal_of,
    primary,
    read_all,
    upsert,
    write,
    write_all,
)
from projections.planner import clusters, ideas, keywords
from projections.writer import contents, images, tasks

SETTLED: list[sa.ColumnElement[str]] = [sa.literal_column("'done'"), sa.literal_column("'failed'")]

items = sa.Table(
    "items",
    metadata,
    primary("site_id"),
    primary("stage", sa.Integer),
    primary("item_id"),
    must("account_id"),
    must("ordinal", Whole),
    may("run_id"),
    may("batch_id"),
    must("status"),
    may("parent"),
    sa.Index("items_status", "site_id", "stage", "status"),
    sqlite_with_rowid=False,
)
PROMPT_OF = sa.Index(
    "items_parent",
    items.c.site_id,
    items.c.parent,
    sqlite_where=items.c.stage == IMAGES,
    postgresql_where=items.c.stage == IMAGES,
    info=FOLDS,
)


class ItemTitle(Row):
    """An item as people know it: by its keyword, name or title, a prompt by its alt text."""

    id: str
    title: str


class StageCounts(Row):
    stage: int
    name: str
    pending: int
    in_progress: int
    done: int
    failed: int


WAIT = insert_new(items)
# An item that no event has announced is entered all the same: what is worked on must be counted.
TAKE = upsert(
    items,
    lambda new: {"status": new.status, "run_id": new.run_id, "batch_id": new.batch_id},
    where=items.c.status.not_in(SETTLED),
)
ITEM = sa.and_(
    items.c.site_id == sa.bindparam("site"),
    items.c.stage == sa.bindparam("number"),
    items.c.item_id == sa.bindparam("item"),
)
SETTLE = sa.update(items).where(ITEM).values(status=sa.bindparam("outcome"))
TAKEN = sa.and_(
    items.c.site_id == sa.bindparam("site"),
    items.c.stage == sa.bindparam("number"),
    items.c.status == "in_progress",
)
FREE = (
    sa.update(items).where(TAKEN, items.c.item_id == sa.bindparam("item")).values(status="pending")
)
# What has been settled waits again; it keeps its place in the order of creation.
WAIT_AGAIN = upsert(
    items,
    lambda new: {"status": new.status, "run_id": new.run_id, "batch_id": new.batch_id},
)
FREE_BATCH = (
    sa.update(items)
    .where(TAKEN, items.c.batch_id == sa.bindparam("batch"))
    .values(status="pending")
)
# The stage as a literal: only so SQLite knows that the partial index will do.
OF_IMAGES: sa.ColumnElement[int] = sa.literal_column(str(IMAGES))
prompt, sibling = items.alias("prompt"), items.alias("sibling")
OPEN_SIBLING = (
    sa.select(sibling.c.item_id)
    .where(sibling.c.site_id == sa.bindparam("site"), sibling.c.stage == OF_IMAGES)
    .where(sibling.c.parent == prompt.c.parent, sibling.c.status.not_in(SETTLED))
    .exists()
)
# The draft that a prompt is of, when all of the draft's prompts are settled.
COMPLETE = (
    sa.select(prompt.c.parent)
    .where(prompt.c.site_id == sa.bindparam("site"), prompt.c.stage == OF_IMAGES)
    .where(prompt.c.item_id == sa.bindparam("item"), prompt.c.parent.is_not(None), ~OPEN_SIBLING)
)


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case StageBatchRequested() as asked:
            taken = {
                "status": "in_progress",
                "run_id": placed.envelope.run_id,
                "batch_id": asked.batch_id,
            }
            rows = [
                _row_of(placed, index, asked.stage, item) | taken
                for index, item in enumerate(asked.items)
            ]
            write_all(tx, TAKE, rows)
        case ItemsMoved() as moved:
            _move(tx, placed, moved)
        case KeywordsAdded(keywords=keywords):
            rows = [_row_of(placed, index, 1, keyword.id) for index, keyword in enumerate(keywords)]
            write_all(tx, WAIT, rows)
        case (
            BatchReturned(stage=stage, batch_id=batch)
            | BatchExpired(stage=stage, batch_id=batch)
            | BatchFailed(stage=stage, batch_id=batch)
        ):
            site = placed.envelope.site_id
            write(tx, FREE_BATCH, {"site": site, "number": stage, "batch": batch})
        case ItemsFreed(stage=stage, items=freed):
            _each(tx, FREE, placed, stage, freed)
        case ItemsRequeued(stage=stage, items=again):
            _wait_again(tx, placed, stage, again)
        case ContentReturned(task_id=task):
            _wait_again(tx, placed, CONTENT, [task])


def _wait_again(tx: sa.Connection, placed: Placed, stage: int, ids: Sequence[str]) -> None:
    rows = [_row_of(placed, index, stage, item) for index, item in enumerate(ids)]
    write_all(tx, WAIT_AGAIN, rows)


def _move(tx: sa.Connection, placed: Placed, moved: ItemsMoved) -> None:
    _each(tx, SETTLE, placed, moved.stage, moved.done, outcome="done")
    _each(tx, SETTLE, placed, moved.stage, moved.failed, outcome="failed")
    if moved.stage < IMAGES:
        rows = [
            _row_of(placed, index, moved.stage + 1, made.id, made.of)
            for index, made in enumerate(moved.made)
        ]
        write_all(tx, WAIT, rows)
    if moved.revised:
        _wait_again(tx, placed, LAST, moved.revised)
    if moved.stage in (PROMPTS, IMAGES):
        ready = _finished_drafts(tx, placed, moved)
        start = len(moved.made)
        rows = [_row_of(placed, start + index, LAST, draft) for index, draft in enumerate(ready)]
        write_all(tx, WAIT, rows)


def _finished_drafts(tx: sa.Connection, placed: Placed, moved: ItemsMoved) -> Sequence[str]:
    """Return the drafts that wait for nothing but review: without prompts, or with all settled."""
    if moved.stage == PROMPTS:
        illustrated = {made.of for made in moved.made}
        return [draft for draft in moved.done if draft not in illustrated]
    touched = (*moved.done, *moved.failed)
    site = placed.envelope.site_id
    found = (read_all(tx, COMPLETE, {"site": site, "item": item}) for item in touched)
    return sorted({draft for rows in found for (draft,) in rows})


def _row_of(
    placed: Placed, index: int, stage: int, item: str, parent: str | None = None
) -> dict[str, Any]:
    return {
        "site_id": placed.envelope.site_id,
        "stage": stage,
        "item_id": item,
        "account_id": placed.envelope.account_id,
        "ordinal": ordinal_of(placed.position, index),
        "run_id": None,
        "batch_id": None,
        "status": "pending",
        "parent": parent,
    }


def _each(
    tx: sa.Connection,
    statement: sa.Update,
    placed: Placed,
    stage: int,
    ids: Sequence[str],
    **values: str,
) -> None:
    site = placed.envelope.site_id
    write_all(
        tx, statement, [{"site": site, "number": stage, "item": item, **values} for item in ids]
    )


def counts(tx: sa.Connection, account_id: str, site_id: str) -> list[StageCounts]:
    """Return the site's items by stage and status: always seven rows."""
    found = _counted(tx, account_id, site_id)
    return [
        StageCounts(
            stage=stage.number,
            name=stage.name,
            pending=found.get((stage.number, "pending"), 0),
            in_progress=found.get((stage.number, "in_progress"), 0),
            done=found.get((stage.number, "done"), 0),
            failed=found.get((stage.number, "failed"), 0),
        )
        for stage in STAGES
    ]


def waiting(tx: sa.Connection, account_id: str, site_id: str) -> tuple[int, ...]:
    """Return how many items wait for each of the seven stages, as an estimate needs it."""
    found = _counted(tx, account_id, site_id)
    return tuple(found.get((stage.number, "pending"), 0) for stage in STAGES)


def failed_in(tx: sa.Connection, account_id: str, site_id: str, run_id: str) -> tuple[int, ...]:
    """Return how many items of each stage failed in the run and were not tried again since."""
    asked = (
        sa.select(items.c.stage, sa.func.count())
        .where(items.c.account_id == account_id, items.c.site_id == site_id)
        .where(items.c.run_id == run_id, items.c.status == "failed")
        .group_by(items.c.stage)
    )
    found = {row[0]: row[1] for row in tx.execute(asked)}
    return tuple(found.get(stage.number, 0) for stage in STAGES)


def revisions(
    tx: sa.Connection, account_id: str, site_id: str, failed_in: str | None = None
) -> int:
    """Return how many of the tasks that wait, or that failed in a run, are to be written anew."""
    wanted = items.c.status == "pending"
    if failed_in is not None:
        wanted = sa.and_(items.c.status == "failed", items.c.run_id == failed_in)
    asked = (
        sa.select(sa.func.count())
        .select_from(items.join(contents, contents.c.task_id == items.c.item_id))
        .where(items.c.account_id == account_id, items.c.site_id == site_id)
        .where(items.c.stage == CONTENT, contents.c.status == "changes_requested", wanted)
    )
    return tx.scalar(asked) or 0


def _counted(tx: sa.Connection, account_id: str, site_id: str) -> dict[tuple[int, str], int]:
    asked = (
        sa.select(items.c.stage, items.c.status, sa.func.count())
        .where(items.c.account_id == account_id, items.c.site_id == site_id)
        .group_by(items.c.stage, items.c.status)
    )
    return {(stage, status): count for stage, status, count in tx.execute(asked)}


# stage -> the table and columns that say what its items are called
TITLES = {
    1: (keywords.c.id, keywords.c.keyword),
    2: (clusters.c.id, clusters.c.name),
    3: (ideas.c.id, ideas.c.title),
    4: (tasks.c.id, tasks.c.title),
    5: (contents.c.id, contents.c.title),
    6: (images.c.prompt_id, images.c.alt),
    7: (contents.c.id, contents.c.title),
}


def in_progress(
    tx: sa.Connection, account_id: str, run_id: str, site_id: str, stage: int, limit: int
) -> list[ItemTitle]:
    """Return what the run is working on in the stage, in the order of creation."""
    asked = (
        sa.select(items.c.item_id)
        .where(items.c.account_id == account_id, items.c.run_id == run_id)
        .where(items.c.site_id == site_id, items.c.stage == stage)
        .where(items.c.status == "in_progress")
        .order_by(items.c.ordinal, items.c.item_id)
        .limit(limit)
    )
    ids = list(tx.scalars(asked))
    identity, title = TITLES[stage]
    named = sa.select(identity, title).where(
        identity.table.c.account_id == account_id, identity.in_(ids)
    )
    titles: dict[str, str] = {row[0]: row[1] for row in tx.execute(named)}
    return [ItemTitle(id=item, title=titles.get(item, item)) for item in ids]
