"""Judges the drafts of a batch beside the site's articles, and has one that fails written again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from events.prices import PER_CALL
from events.quality import Measure, Quality
from services.stage_workers.ai.model import Article, ItemFailed, ProviderHalted, WriteArticle
from services.stage_workers.items import Batch, TaskItem
from services.stage_workers.quality.duplicates import shingles
from services.stage_workers.quality.grammar import Check, nobody
from services.stage_workers.quality.judge import better, findings, is_worth_a_rewrite, judge
from services.stage_workers.quality.markdown import parse, without_unknown_links
from services.stage_workers.quality.written import Neighbour, Neighbours, Written
from services.stage_workers.threads import in_thread

OF_THE_TIME = 0.9  # that a batch has, after which a rewrite is cut off, so the first is kept

Write = Callable[[WriteArticle], Awaitable[Article]]
"""Asks for an article with a body. Raises ItemFailed or ProviderHalted."""


class ReadNeighbours(Protocol):
    """Read the site's other articles, and how many of these shingles each of them has."""

    async def __call__(self, batch: Batch, shingles: Sequence[str]) -> Neighbours: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """An article as it would be kept, what was measured of it, and its shingles."""

    article: Article
    quality: Quality | None = None
    shingles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gates:
    """What is needed to judge: the site's other articles, and a grammar checker."""

    neighbours: ReadNeighbours
    check: Check = nobody


@dataclass(frozen=True, slots=True)
class _Mine:
    title: str
    keyword: str
    shingles: frozenset[str]


@dataclass
class Desk:
    """The gates for one batch: the read model does not show its drafts to each other yet.

    Of two that are alike the later in the batch's order fails, whichever was ready first, so that
    the same input has the same verdict. A rewrite is compared with all the others. What counts of
    another draft is its first version. `until` is a time of the event loop.
    """

    gates: Gates
    batch: Batch
    until: float | None = None
    _halfway: float | None = field(default=None, init=False)
    _firsts: dict[str, asyncio.Future[_Mine | None]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Take a place for the first version of each item. It needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._firsts = {item: loop.create_future() for item in self.batch.items}
        if self.until is not None:
            self._halfway = (loop.time() + self.until) / 2

    async def accept(self, task: TaskItem, question: WriteArticle, write: Write) -> Judged:
        """Return the article, or the better of two when the first one failed for its wording.

        The first one is kept when the second cannot be had: it is paid for, and a person will
        decide. A model of ours is not asked again: it writes by rules, and nobody should pay twice
        for that.
        Raises what the first asking raises.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        article, own = await self._first(task, question, write)
        took = clock() - began
        # One that hangs holds the others up for half of the time: then they do without it.
        earlier = await self._written(self._before(task), self._halfway)
        first = await self._judged(task, question, article, own, earlier)
        assert first.quality is not None
        if not is_worth_a_rewrite(first.quality):
            return first
        if self.batch.models.text in PER_CALL:
            return _kept(
                first, f"{self.batch.models.text} writes by rules, which findings do not change"
            )
        if self.until is not None and self.until - clock() < took:
            return _kept(first, "there was no time left for it")
        try:
            async with asyncio.timeout_at(self.until):
                article = await write(with_findings(question, first.article, first.quality))
        except (ItemFailed, ProviderHalted) as error:
            return _kept(first, str(error))
        except TimeoutError:
            return _kept(first, "it was not done in time")
        others = await self._written(
            [one for one in self.batch.items if one != task.id], self.until
        )
        own = await _shingles_of(article, question)
        second = await self._judged(task, question, article, own, others)
        assert second.quality is not None
        best = first if better(first.quality, second.quality) is first.quality else second
        assert best.quality is not None
        return replace(best, quality=best.quality.model_copy(update={"rewritten": True}))

    async def _first(
        self, task: TaskItem, question: WriteArticle, write: Write
    ) -> tuple[Article, tuple[str, ...]]:
        """Return the first version and its shingles; those that wait hear of it, or of none."""
        mine: _Mine | None = None
        try:
            article = await write(question)
            own = await _shingles_of(article, question)
            keyword = next(iter(task.idea.target_keywords), "")
            mine = _Mine(task.idea.title, keyword, frozenset(own))
        finally:
            self._firsts[task.id].set_result(mine)
        return article, own

    def _before(self, task: TaskItem) -> tuple[str, ...]:
        return self.batch.items[: self.batch.items.index(task.id)]

    async def _written(self, items: Sequence[str], until: float | None) -> list[tuple[str, _Mine]]:
        """Return the first versions of these items that are there by then."""
        waited = [self._firsts[item] for item in items]
        pending = [one for one in waited if not one.done()]
        if pending:
            now = asyncio.get_running_loop().time()
            await asyncio.wait(pending, timeout=None if until is None else max(0.0, until - now))
        found = [
            (item, one.result()) for item, one in zip(items, waited, strict=True) if one.done()
        ]
        return [(item, mine) for item, mine in found if mine is not None]

    async def _judged(
        self,
        task: TaskItem,
        question: WriteArticle,
        article: Article,
        own: tuple[str, ...],
        batch: Sequence[tuple[str, _Mine]],
    ) -> Judged:
        site = beside(await self.gates.neighbours(self.batch, own), task, batch, own)
        return await in_thread(judged, question, article, site, own, self.gates.check)


async def _shingles_of(article: Article, question: WriteArticle) -> tuple[str, ...]:
    language = question.brief.language
    return await in_thread(lambda: shingles(parse(article.body), language))


def beside(
    site: Neighbours, task: TaskItem, batch: Sequence[tuple[str, _Mine]], own: Sequence[str]
) -> Neighbours:
    """Return the articles that a draft is compared with: neither itself nor what it replaces."""
    before = task.revision.draft_id if task.revision else None
    others = [one for one in site.articles if one.id != before]
    mine = [
        Neighbour(id_, one.title, one.keyword, shared=len(one.shingles.intersection(own)))
        for id_, one in batch
    ]
    return Neighbours((*others, *mine))


def judged(
    question: WriteArticle,
    article: Article,
    site: Neighbours,
    own: tuple[str, ...],
    check: Check,
) -> Judged:
    """Judge an article whose links to pages that the site does not have are taken out."""
    paths = [link.path for link in question.related]
    paths += [article.path for article in site.articles if article.path]
    body = without_unknown_links(article.body, tuple(paths))
    written = Written(
        title=question.title,
        body=body,
        meta_title=article.meta_title,
        meta_description=article.meta_description,
        keywords=question.target_keywords,
        links=tuple(paths),
    )
    quality = judge(written, question.brief, site, check)
    return Judged(replace(article, body=body), quality, own)


def with_findings(question: WriteArticle, article: Article, quality: Quality) -> WriteArticle:
    """Return the question for a rewrite; what a reviewer asked for stays asked for."""
    note = "\n\n".join(part for part in (question.note, findings(quality)) if part)
    return replace(question, previous=article.body, note=note)


def _kept(first: Judged, why: str) -> Judged:
    """Return the first one with the reason why there is no second."""
    assert first.quality is not None
    sentence = why.rstrip(".")
    missing = Measure(
        name="rewrite",
        value=None,
        passed=False,
        advisory=True,
        detail=f"It was not written again: {sentence}.",
    )
    measures = (*first.quality.measures, missing)
    return replace(first, quality=first.quality.model_copy(update={"measures": measures}))
