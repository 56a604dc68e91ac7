"""What a worker looks up before it begins: is the batch still wanted, and what are its items."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeVar

import sqlalchemy as sa

from events.envelope import Envelope
from events.run import StageBatchRequested
from projections import planner, runs, writer
from projections.database import reading
from services.stage_workers.ai.model import Link
from services.stage_workers.catch_up import CatchUp
from services.stage_workers.items import (
    Batch,
    ClusterItem,
    DraftItem,
    IdeaItem,
    KeywordItem,
    PromptItem,
    Revision,
    TaskItem,
)
from services.stage_workers.quality.written import Neighbour, Neighbours
from services.stage_workers.threads import in_thread

CATCH_UP_WITHIN = 10.0  # seconds that a worker waits before it returns the batch

Wanted = Literal["yes", "not_running", "not_there", "answered", "stage_open"]
Row_co = TypeVar("Row_co", covariant=True)


class Query(Protocol[Row_co]):
    """A look-up by ids that leaves out what is missing."""

    def __call__(
        self, tx: sa.Connection, account_id: str, ids: Sequence[str]
    ) -> Sequence[Row_co]: ...


class Reader:
    """Reads for the stages, off the event loop."""

    def __init__(self, engine: sa.Engine, get: Callable[[str], Awaitable[bytes]]) -> None:
        self._engine, self._get = engine, get
        self._catch_up = CatchUp(engine)

    async def wanted(self, request: Envelope, position: int) -> Wanted:
        """Tell whether the batch is to be done, once the read model shows its request.

        `answered`: it is recorded, or this attempt is no longer waited for. `stage_open`: it was
        the stage's last and is recorded, but the stage's own report was lost with its worker.
        """
        if not await self._catch_up.reach(request.key, position, CATCH_UP_WITHIN):
            return "not_there"
        return await in_thread(self._look, request)

    def _look(self, request: Envelope) -> Wanted:
        message = request.message
        assert isinstance(message, StageBatchRequested)
        account_id, run_id = request.account_id, request.run_id or ""
        with reading(self._engine) as tx:
            row = runs.batch(tx, account_id, message.batch_id)
            if row is None or row.run_id != run_id:
                return "answered"
            if row.status == "recorded" and message.last:
                run = runs.find(tx, account_id, run_id)
                is_open = run is not None and run.stages[message.stage - 1].status == "running"
                return "stage_open" if is_open else "answered"
            if row.status != "in_flight" or row.attempt != message.attempt:
                return "answered"
            is_running = runs.status(tx, account_id, run_id) == "running"
            return "yes" if is_running else "not_running"

    async def _rows(
        self, query: Query[Row_co], account_id: str, ids: Sequence[str]
    ) -> Sequence[Row_co]:
        def read() -> Sequence[Row_co]:
            with reading(self._engine) as tx:
                return query(tx, account_id, ids)

        rows = await in_thread(read)
        if len(rows) != len(ids):
            missing = len(ids) - len(rows)
            raise LookupError(
                f"{missing} of the batch's {len(ids)} items are not in the read model"
            )
        return rows

    async def _titles(
        self, query: Callable[[sa.Connection, str, str], tuple[str, ...]], batch: Batch
    ) -> tuple[str, ...]:
        def read() -> tuple[str, ...]:
            with reading(self._engine) as tx:
                return query(tx, batch.account_id, batch.site_id)

        return await in_thread(read)

    async def keywords(self, batch: Batch) -> tuple[KeywordItem, ...]:
        rows = await self._rows(planner.keywords_of, batch.account_id, batch.items)
        return tuple(_keyword(row) for row in rows)

    async def stage_keywords(self, batch: Batch) -> tuple[KeywordItem, ...]:
        """Return all keywords of the run's stage, in the order in which it took them."""

        def read() -> tuple[str, ...]:
            with reading(self._engine) as tx:
                return runs.stage_items(tx, batch.account_id, batch.run_id, batch.stage)

        ids = await in_thread(read)
        rows = await self._rows(planner.keywords_of, batch.account_id, ids)
        return tuple(_keyword(row) for row in rows)

    async def cluster_names(self, batch: Batch) -> dict[str, str]:
        """Return the names of the site's clusters, by id."""

        def read() -> dict[str, str]:
            with reading(self._engine) as tx:
                return planner.cluster_names(tx, batch.account_id, batch.site_id)

        return await in_thread(read)

    async def clusters(self, batch: Batch) -> tuple[ClusterItem, ...]:
        rows = await self._rows(planner.clusters_of, batch.account_id, batch.items)
        siblings = await self._titles(planner.idea_titles, batch)
        return tuple(
            ClusterItem(
                id=row.id,
                name=row.name,
                intent=row.intent,
                keywords=tuple(_keyword(one) for one in row.keywords),
                siblings=siblings,
            )
            for row in rows
        )

    async def ideas(self, batch: Batch) -> tuple[IdeaItem, ...]:
        rows = await self._rows(planner.ideas_of, batch.account_id, batch.items)
        return tuple(_idea(row) for row in rows)

    async def tasks(self, batch: Batch) -> tuple[TaskItem, ...]:
        rows = await self._rows(writer.tasks_of, batch.account_id, batch.items)
        ideas = await self._rows(planner.ideas_of, batch.account_id, [row.idea_id for row in rows])
        related = await self._articles(batch)
        revisions = await self._revisions(batch)
        return tuple(
            TaskItem(row.id, _idea(idea), related, revisions.get(row.id))
            for row, idea in zip(rows, ideas, strict=True)
        )

    async def _articles(self, batch: Batch) -> tuple[Link, ...]:
        def read() -> tuple[Link, ...]:
            with reading(self._engine) as tx:
                found = writer.newest(tx, batch.account_id, batch.site_id)
            return tuple(Link(title, f"/{slug}") for title, slug in found)

        return await in_thread(read)

    async def neighbours(self, batch: Batch, shingles: Sequence[str]) -> Neighbours:
        """Return the site's articles, and how many of these shingles each of them has."""

        def read() -> Neighbours:
            with reading(self._engine) as tx:
                shared = writer.sharing(tx, batch.account_id, batch.site_id, shingles)
                found = writer.articles(tx, batch.account_id, batch.site_id)
            return Neighbours(
                tuple(
                    Neighbour(
                        row.id,
                        row.title,
                        next(iter(row.keywords), ""),
                        f"/{row.slug}",
                        shared.get(row.id, 0),
                    )
                    for row in found
                )
            )

        return await in_thread(read)

    async def _revisions(self, batch: Batch) -> dict[str, Revision]:
        """Return what is to be written anew, by task."""

        def read() -> Sequence[writer.Returned]:
            with reading(self._engine) as tx:
                return writer.returned(tx, batch.account_id, batch.items)

        return {
            row.task_id: Revision(row.id, row.slug, await self._text(row.body), row.note)
            for row in await in_thread(read)
        }

    async def _text(self, digest: str) -> str:
        try:
            return (await self._get(digest)).decode()
        except LookupError:
            return ""  # erased: the note and the idea are left to write from

    async def drafts(self, batch: Batch) -> tuple[DraftItem, ...]:
        rows = await self._rows(writer.drafts_of, batch.account_id, batch.items)
        bodies = await asyncio.gather(*(self._get(row.body) for row in rows))
        return tuple(
            DraftItem(row.id, row.title, row.intent, body.decode(), row.keywords)
            for row, body in zip(rows, bodies, strict=True)
        )

    async def prompts(self, batch: Batch) -> tuple[PromptItem, ...]:
        rows = await self._rows(writer.prompts_of, batch.account_id, batch.items)
        return tuple(
            PromptItem(
                row.id,
                row.content_id,
                row.title,
                row.role,
                row.section,
                row.text,
                row.alt,
            )
            for row in rows
        )


def _keyword(row: planner.KeywordRow) -> KeywordItem:
    return KeywordItem(row.id, row.keyword, row.volume, row.intent)


def _idea(row: planner.IdeaRow) -> IdeaItem:
    return IdeaItem(row.id, row.cluster_id, row.title, row.intent, row.outline, row.target_keywords)
