"""An article is many calls: one that comes to nothing is mended, and none is paid for twice."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from events.prices import Models
from services.stage_workers.ai.model import AnswerRejected, ProviderHalted, WriteArticle
from tests.providers.author import between, willing
from tests.providers.server import Answer, Asked, fails
from tests.providers.test_answers import answered, but
from tests.providers.worlds import world

ARTICLE = WriteArticle("Cold Brew", "informational", ("What It Is", "How to Begin"), ("cold brew",))


def empty(times: int) -> Answer:
    """Be a model that answers a section with its heading alone, so many times."""
    left = Counter({"empty": times})

    def change(task: str, said: Any) -> Any:
        if "Now write the section" in task and left["empty"]:
            left["empty"] -= 1
            return f"## {between(task, 'heading')[0]}"
        return said

    return but(change)


def test_a_section_of_nothing_is_asked_for_once_more():
    article, calls, asked = answered(ARTICLE, empty(1))
    assert article.body.count("\n## ") >= 2
    prompts = [call.prompt.partition("@")[0] for call in calls]
    assert prompts.count("write_section") == 3
    assert "no whole sentence" in asked[3].body["messages"][-1]["content"]


def test_a_section_of_nothing_twice_fails_the_article():
    with pytest.raises(AnswerRejected, match="wrote nothing about 'What It Is'"):
        answered(ARTICLE, empty(2))


def test_an_article_that_a_halt_cut_short_goes_on_where_it_was():
    good = willing()
    refuse = fails(401, "no such key", "invalid_api_key")
    is_refused = [True]

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        task = asked.body["messages"][-1]["content"]
        is_second = between(task, "heading") == ["How to Begin"]
        await (refuse if is_second and is_refused[0] else good)(asked, writer)

    async def story() -> None:
        async with world(answer, models=Models(text="writer")) as it:
            with pytest.raises(ProviderHalted):
                await it.provider.answer(ARTICLE, it.calls)
            paid = [call.prompt_hash for call in it.calls if call.error is None]
            is_refused[0] = False
            after: list[Any] = []
            article = await it.provider.answer(ARTICLE, after)
            assert "## How to Begin" in article.body
            assert len(paid) == 3
            assert not {call.prompt_hash for call in after} & set(paid)
            again: list[Any] = []
            await it.provider.answer(ARTICLE, again)
            assert len(again) == len(paid) + len(after)  # what is done is not kept

    asyncio.run(story())
