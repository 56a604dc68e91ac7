"""The provider that asks an address, before a real model: small, quick and often wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from events.prices import LOCAL, Models
from services.settings import Settings
from services.stage_workers.ai.choice import provider_of
from services.stage_workers.ai.model import (
    AnswerRejected,
    Article,
    Call,
    ClusterKeywords,
    DescribeImages,
    Group,
    ImageIdea,
    Keyword,
    Provider,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)
from tests.llm.conftest import MODEL, starting

A = TypeVar("A")
KEYWORDS = (
    Keyword("a", "cold brew coffee ratio"),
    Keyword("b", "how to make cold brew coffee"),
    Keyword("c", "best espresso machine"),
)
SECTIONS = "Text.\n\n## First Steps\n\nGrind the beans.\n\n## What Matters\n\nWater and time.\n"


def asking(url: str, ask: Callable[[Provider], Awaitable[A]]) -> A:
    """Return what the provider of these settings answers, in a loop of its own."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        ai_provider="openai",
        ai_base_url=url,
        ai_text_model=MODEL,
        ai_timeout_seconds=600,
        ai_calls_at_once=1,
    )
    models = Models(text=MODEL, image=LOCAL.image, embedding=LOCAL.embedding)

    async def run() -> A:
        return await ask(await provider_of(settings)("acc-1", models))

    return asyncio.run(run())


def checked(calls: list[Call]) -> None:
    """Each call names its prompt and what was sent, and has the tokens that the server counted."""
    assert calls
    for call in calls:
        assert call.model == MODEL
        name, _, version = call.prompt.partition("@")
        assert name
        assert version.isdigit()
        assert len(call.prompt_hash) == 64
        assert min(call.tokens_in, call.tokens_out) > 0


def test_keywords_come_back_in_groups_that_hold_each_once(llm: str):
    calls: list[Call] = []
    question = ClusterKeywords(KEYWORDS, ("a", "b", "c"))
    groups = asking(llm, lambda provider: provider.answer(question, calls))
    assert all(isinstance(group, Group) and group.name.strip() for group in groups)
    assert sorted(member for group in groups for member in group.members) == ["a", "b", "c"]
    checked(calls)


def test_ideas_are_typed(llm: str):
    calls: list[Call] = []
    question = SuggestIdeas("Cold Brew", "informational", KEYWORDS[:2])
    ideas = answered(llm, question, calls)
    assert all(isinstance(idea, Suggestion) and isinstance(idea.title, str) for idea in ideas)
    checked(calls)


def test_an_article_is_typed_and_made_of_calls_that_are_all_told(llm: str):
    calls: list[Call] = []
    outline = ("First Steps", "What Matters")
    question = WriteArticle("Cold Brew at Home", "informational", outline, ("cold brew",))
    article = asking(llm, lambda provider: provider.answer(question, calls))
    assert isinstance(article, Article)
    assert len(article.body.split()) > 30
    assert "## First Steps" in article.body
    assert 0 < len(article.meta_title) <= 60
    assert 0 < len(article.meta_description) <= 155
    assert len(calls) >= 3
    checked(calls)


def test_image_ideas_are_typed(llm: str):
    calls: list[Call] = []
    question = DescribeImages("Cold Brew", "informational", SECTIONS, ("cold brew",))
    ideas = answered(llm, question, calls)
    assert all(isinstance(idea, ImageIdea) for idea in ideas)
    checked(calls)


def answered(llm: str, question: SuggestIdeas | DescribeImages, calls: list[Call]) -> list[object]:
    """Return the answer; so small a model may also fail the shape twice, and is told typed then."""
    try:
        return list(asking(llm, lambda provider: provider.answer(question, calls)))
    except AnswerRejected:
        return [] if len(calls) == 2 and all(call.error for call in calls) else [None]


def test_a_server_that_is_still_loading_is_waited_for(tmp_path: Path):
    with starting(tmp_path) as url:
        health = url.removesuffix("/v1") + "/health"
        if httpx.get(health).status_code != 503:
            pytest.fail("it had loaded before it could be asked")
        calls: list[Call] = []
        question = ClusterKeywords(KEYWORDS, ("a", "b", "c"))
        groups = asking(url, lambda provider: provider.answer(question, calls))
        assert sorted(member for group in groups for member in group.members) == ["a", "b", "c"]
        assert calls[0].error is not None
        assert "503" in calls[0].error
        assert calls[-1].error is None
