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

    Of two that are alike the one that was written later fails. `until` is a time of the event loop.
    """

    gates: Gates
    batch: Batch
    until: float | None = None
    _mine: dict[str, _Mine] = field(default_factory=dict, init=False)

    async def accept(self, task: TaskItem, question: WriteArticle, write: Write) -> Judged:
        """Return the article, or the better of two when the first one failed for its wording.

        The first one is kept when the second cannot be had: it is paid for, and a person will
        decide. A model of ours is not asked again: it writes by rules, and nobody should pay twice
        for that.
        Raises what the first asking raises.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        first = await self._judged(task, question, await write(question))
        assert first.quality is not None
        if not is_worth_a_rewrite(first.quality):
            return first
        if self.batch.models.text in PER_CALL:
            return _kept(
                first, f"{self.batch.models.text} writes by rules, which findings do not change"
            )
        if self.until is not None and self.until - clock() < clock() - began:
            return _kept(first, "there was no time left for it")
        try:
            async with asyncio.timeout_at(self.until):
                article = await write(with_findings(question, first.article, first.quality))
        except (ItemFailed, ProviderHalted) as error:
            return _kept(first, str(error))
        except TimeoutError:
            return _kept(first, "it was not done in time")
        second = await self._judged(task, question, article)
        assert second.quality is not None
        best = first if better(first.quality, second.quality) is first.quality else second
        assert best.quality is not None
        self._enter(task, best.shingles)
        return replace(best, quality=best.quality.model_copy(update={"rewritten": True}))

    async def _judged(self, task: TaskItem, question: WriteArticle, article: Article) -> Judged:
        language = question.brief.language
        own = await asyncio.to_thread(lambda: shingles(parse(article.body), language))
        others = await self.gates.neighbours(self.batch, own)
        site = beside(others, task, self._enter(task, own), own)
        return await asyncio.to_thread(judged, question, article, site, own, self.gates.check)

    def _enter(self, task: TaskItem, own: Sequence[str]) -> list[tuple[str, _Mine]]:
        """Enter a draft of the batch as it is now, and return the others that are there."""
        keyword = next(iter(task.idea.target_keywords), "")
        self._mine.pop(task.id, None)
        others = list(self._mine.items())
        self._mine[task.id] = _Mine(task.idea.title, keyword, frozenset(own))
        return others


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
