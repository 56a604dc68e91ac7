"""Answers every question by models behind an address that speaks OpenAI's API."""

from typing import Any, cast

from events.prices import PER_CALL, Models
from services.stage_workers.ai.credential import Credential
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    Call,
    ClusterKeywords,
    DescribeImages,
    DrawImage,
    Question,
    SuggestIdeas,
    WriteArticle,
)
from services.stage_workers.ai.openai.articles import Writer
from services.stage_workers.ai.openai.asking import Asker
from services.stage_workers.ai.openai.clusters import Clusterer
from services.stage_workers.ai.openai.ideas import suggest
from services.stage_workers.ai.openai.line import Line, line_of
from services.stage_workers.ai.openai.pictures import describe, draw
from services.stage_workers.ai.openai.vectors import Vectorizer


class OpenAIProvider:
    """Asks the models of a run at one address; what is local in them is done here.

    All providers of a process with the same credential share its line: places, rate limit, circuit.
    """

    def __init__(
        self,
        credential: Credential,
        models: Models,
        local: LocalProvider,
        line: Line | None = None,
    ) -> None:
        """`line` is for tests, whose time passes otherwise."""
        self._line = line or line_of(credential)
        self._models, self._local = models, local
        remote = models.embedding not in PER_CALL
        vectorizer = Vectorizer(self._line, models.embedding) if remote else None
        self._clusterer = Clusterer(local, vectorizer)
        self._write = Writer()

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        """Return the answer, after each of its calls has been entered, failed ones too.

        Raises ItemFailed or ProviderHalted.
        """
        if self._models.of(question.function) in PER_CALL:
            return await self._local.answer(question, calls)
        return cast("A", await self._asked(question, calls))

    async def aclose(self) -> None:
        """Close the connections of everybody with this credential."""
        await self._line.aclose()

    async def _asked(self, question: Question[Any], calls: list[Call]) -> object:
        asker = Asker(self._line, self._models.text, calls)
        match question:
            case ClusterKeywords():
                return await self._clusterer(question, asker, calls)
            case SuggestIdeas():
                return await suggest(question, asker, self._local.embed)
            case WriteArticle():
                return await self._write(question, asker)
            case DescribeImages():
                return await describe(question, asker)
            case DrawImage():
                return await draw(question, self._line, self._models.image, calls)
            case _:
                raise AnswerRejected(f"the AI provider cannot answer {question.function}")
