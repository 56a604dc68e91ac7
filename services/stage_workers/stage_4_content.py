"""Stage 4: writing tasks to drafts, by AI. A body is an artifact; its fact carries the hash."""

import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from events.content import AiCall, Draft
from events.ids import derive
from services.stage_workers.ai.model import (
    AnswerRejected,
    Article,
    Provider,
    WriteArticle,
)
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, ReadItems, TaskItem

SLUG = 60  # characters
META_TITLE = 60  # what search results show
META_DESCRIPTION = 155


@dataclass(frozen=True)
class WriteDrafts:
    """Asks for an article per task. `put` keeps bytes and returns their SHA-256 in hex."""

    read: ReadItems[TaskItem]
    provider: Provider
    put: Callable[[bytes], Awaitable[str]]

    number = 4

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return one draft per task; a task whose article is empty fails."""
        ask = Ask(self.provider, batch.prices, calls)

        async def draft_of(task: TaskItem) -> tuple[Draft, ...]:
            article = await ask(question_about(task))
            body = body_of(article)
            digest = await self.put(body.encode())
            return (to_draft(article, body, digest, task, batch.run_id),)

        return await each([(task.id, task) for task in await self.read(batch)], draft_of)


def question_about(task: TaskItem) -> WriteArticle:
    """Return the question for one task; its own title is no related one."""
    idea = task.idea
    return WriteArticle(
        title=idea.title,
        intent=idea.intent,
        outline=idea.outline,
        target_keywords=idea.target_keywords,
        related=tuple(title for title in task.related if title != idea.title),
    )


def body_of(article: Article) -> str:
    """Return the body with Unix line ends and one at its end. Raises AnswerRejected for none."""
    body = article.body.replace("\r\n", "\n").strip()
    if not body:
        raise AnswerRejected("the article has no body")
    return f"{body}\n"


def to_draft(article: Article, body: str, digest: str, task: TaskItem, run_id: str) -> Draft:
    """Return the draft's fact, with metas that are not empty and not too long."""
    title = task.idea.title
    return Draft(
        id=derive("draft", run_id, 4, task.id, digest),
        task_id=task.id,
        title=title,
        slug=slug_of(title),
        body=digest,
        meta_title=cut(article.meta_title or title, META_TITLE),
        meta_description=cut(article.meta_description or title, META_DESCRIPTION),
        word_count=words_in(body),
        keywords=task.idea.target_keywords,
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
