"""Stage 4: writing tasks to drafts, by AI. A body is an artifact; its fact carries the hash."""

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from events.brief import Brief
from events.content import AiCall, Draft
from events.ids import derive
from services.stage_workers.ai.model import (
    AnswerRejected,
    Article,
    ProviderOf,
    WriteArticle,
)
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, ReadItems, TaskItem
from services.stage_workers.quality.gates import OF_THE_TIME, Desk, Gates, Judged

SLUG = 60  # characters
META_TITLE = 60  # what search results show
META_DESCRIPTION = 155


@dataclass(frozen=True)
class WriteDrafts:
    """Asks for an article per task. `put` keeps bytes and returns their SHA-256 in hex.

    Without gates nothing is judged.
    """

    read: ReadItems[TaskItem]
    provider: ProviderOf
    put: Callable[[bytes], Awaitable[str]]
    gates: Gates | None = None

    number = 4

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return one draft per task, new or written anew; one whose article is empty fails."""
        ask = await Ask.of(self.provider, batch, calls)
        until = batch.seconds and asyncio.get_running_loop().time() + batch.seconds * OF_THE_TIME
        desk = None if self.gates is None else Desk(self.gates, batch, until)

        async def write(question: WriteArticle) -> Article:
            return tidy(await ask(question), question.title)

        async def draft_of(task: TaskItem) -> tuple[Draft, ...]:
            question = question_about(task, batch.brief)
            if desk is None:
                made = Judged(await write(question))
            else:
                made = await desk.accept(task, question, write)
            digest = await self.put(made.article.body.encode())
            return (to_draft(made, digest, task, batch.run_id),)

        return await each(
            [(task.id, task) for task in await self.read(batch)], draft_of, batch.seconds
        )


def question_about(task: TaskItem, brief: Brief) -> WriteArticle:
    """Return the question for one task; its own title is no related one."""
    idea, revision = task.idea, task.revision
    return WriteArticle(
        title=idea.title,
        intent=idea.intent,
        outline=idea.outline,
        target_keywords=idea.target_keywords,
        related=tuple(link for link in task.related if link.title != idea.title),
        previous=revision.body if revision else "",
        note=revision.note if revision else "",
        brief=brief,
        task=task.id,
    )


def tidy(article: Article, title: str) -> Article:
    """Return the article with metas that are not empty and not too long.

    Its body has Unix line ends and one at its end. Raises AnswerRejected when there is none.
    """
    body = article.body.replace("\r\n", "\n").strip()
    if not body:
        raise AnswerRejected("the article has no body")
    return replace(
        article,
        body=f"{body}\n",
        meta_title=cut(article.meta_title or title, META_TITLE),
        meta_description=cut(article.meta_description or title, META_DESCRIPTION),
    )


def to_draft(made: Judged, digest: str, task: TaskItem, run_id: str) -> Draft:
    """Return the draft's fact; one that is written anew keeps its id and its slug."""
    title, revision, article = task.idea.title, task.revision, made.article
    return Draft(
        id=revision.draft_id if revision else derive("draft", run_id, 4, task.id, digest),
        task_id=task.id,
        title=title,
        slug=revision.slug if revision else slug_of(title),
        body=digest,
        meta_title=article.meta_title,
        meta_description=article.meta_description,
        word_count=words_in(article.body),
        keywords=task.idea.target_keywords,
        quality=made.quality,
        shingles=made.shingles,
    )


def slug_of(title: str) -> str:
    """Return lower-case ASCII words joined by hyphens, at most 60 characters, never empty.

    A title without a Latin letter has no such words, so its slug follows from a digest.
    """
    plain = unicodedata.normalize("NFKD", title.replace("ß", "ss"))
    plain = re.sub(r"['\u2019]", "", plain).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(words) > SLUG:
        whole = words[: SLUG + 1].rpartition("-")[0]
        words = whole or words[:SLUG]
    return words or derive("article", title)


def cut(text: str, limit: int) -> str:
    """Return the text with single spaces, cut at a word where it is longer than the limit."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    whole = text[: limit + 1].rpartition(" ")[0]
    return (whole or text[:limit]).rstrip(" ,;:-")


def words_in(body: str) -> int:
    """Return the number of words of a Markdown body: runs with a letter or digit, marks aside."""
    return sum(any(map(str.isalnum, word)) for word in body.split())
