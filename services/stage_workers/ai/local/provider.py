"""Answers every question in this process: the provider that works without a network or a key."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from events.brief import Brief, is_english
from services.stage_workers.ai.local.articles import write
from services.stage_workers.ai.local.cards import draw
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.embeddings import embedder
from services.stage_workers.ai.local.ideas import suggest
from services.stage_workers.ai.local.image_prompts import describe
from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    Call,
    ClusterKeywords,
    DescribeImages,
    DrawImage,
    Group,
    ItemFailed,
    Keyword,
    Question,
    SuggestIdeas,
    WriteArticle,
)
from services.stage_workers.threads import in_one_of, in_thread

IMAGES_AT_ONCE = 2
CHARACTERS = 4  # a token, by the usual estimate for English

T = TypeVar("T")


class LocalProvider:
    """Embeddings, clustering, templates and drawn cards; the same question, the same answer.

    The work is done in threads, so the event loop stays free. All batches of a stage ask for the
    same clustering, so the last one is kept.
    """

    model: ClassVar[str] = "local-1"

    def __init__(self) -> None:
        self.embed = embedder()
        self._images = ThreadPoolExecutor(IMAGES_AT_ONCE, thread_name_prefix="cards")
        self._clustering = threading.Lock()
        self._clustered: tuple[tuple[Keyword, ...], tuple[Group, ...]] | None = None

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        """Return the answer of one call, its tokens estimated from its letters.

        Raises ModelUnavailable when the embedding model's file is wrong, and AnswerRejected for a
        question of another kind, or for text in a language other than English.
        """
        started, value, error = time.monotonic(), None, None
        try:
            value = await self._work(question)
        except ItemFailed as failure:
            error = str(failure)
            raise
        finally:
            calls.append(
                Call(
                    model=self.model,
                    tokens_in=tokens(question),
                    tokens_out=tokens(value),
                    milliseconds=round((time.monotonic() - started) * 1000),
                    error=error,
                )
            )
        return cast("A", value)

    async def _work(self, question: Question[Any]) -> object:
        if isinstance(question, SuggestIdeas | WriteArticle | DescribeImages):
            refuse_other_languages(question.brief)
        match question:
            case ClusterKeywords():
                return await in_thread(self._cluster, question)
            case SuggestIdeas():
                return await in_thread(suggest, question, self.embed)
            case WriteArticle():
                return await in_thread(write, question)
            case DescribeImages():
                return await in_thread(describe, question)
            case DrawImage():
                return await in_one_of(self._images, partial(draw, question))
            case _:
                raise AnswerRejected(f"the local provider cannot answer {question.function}")

    def _cluster(self, question: ClusterKeywords) -> tuple[Group, ...]:
        with self._clustering:
            if self._clustered is None or self._clustered[0] != question.keywords:
                self._clustered = question.keywords, cluster(question.keywords, self.embed)
            return self._clustered[1]


def refuse_other_languages(brief: Brief) -> None:
    """Raise AnswerRejected unless the site's language is a kind of English.

    Keywords of any language are grouped, and cards drawn for any title.
    """
    if not is_english(brief.language):
        raise AnswerRejected(
            f"the local provider writes English only, and the language of this site is"
            f" {brief.language}: choose English, or a provider with a language model"
        )


def tokens(value: object) -> int:
    """Return about how many tokens the text within a question or an answer has."""
    return -(-letters(value) // CHARACTERS)


def letters(value: object) -> int:
    """Return the length of all text in strings, tuples and dataclasses; bytes count nothing."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, tuple):
        return sum(letters(part) for part in value)
    if is_dataclass(value):
        return sum(letters(getattr(value, field.name)) for field in fields(value))
    return 0
