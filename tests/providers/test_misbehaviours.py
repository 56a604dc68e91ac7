import asyncio
import logging
from typing import Any

import pytest

from services.stage_workers.ai.model import (
    Call,
    ClusterKeywords,
    DrawImage,
    ItemFailed,
    Keyword,
    ProviderHalted,
    Question,
    SuggestIdeas,
)
from tests.providers.misbehaviours import KEY, ROWS, Row
from tests.providers.page import PAGE, page
from tests.providers.worlds import world

TEA = (Keyword("k1", "tea"), Keyword("k2", "tea pot"), Keyword("k3", "bicycle"))
QUESTIONS: dict[str, Question[Any]] = {
    "ideas": SuggestIdeas("Tea", "informational", TEA[:1]),
    "clusters": ClusterKeywords(TEA, ("k1",)),
    "image": DrawImage("Tea", "", "A cup of tea.", "Site"),
}


def entered(call: Call) -> str:
    return ("failed" if call.error else "succeeded") + ("" if call.cost_known else ", cost unknown")


async def outcome_of(row: Row) -> tuple[str, str, list[Call], list[BaseException]]:
    async with world(*row.answers, key=KEY, seconds=row.timeout) as it:
        raised: list[BaseException] = []
        try:
            await it.provider.answer(QUESTIONS[row.asks], it.calls)
        except ProviderHalted as stop:
            raised.append(stop)
            return stop.halt.kind, stop.halt.detail, it.calls, raised
        except ItemFailed as failure:
            raised.append(failure)
            return type(failure).__name__, str(failure), it.calls, raised
        return "answered", "", it.calls, raised


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_becomes_of_a_misbehaviour(row: Row, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    outcome, detail, calls, raised = asyncio.run(outcome_of(row))
    assert (outcome, [entered(call) for call in calls]) == (row.outcome, list(row.calls))
    assert row.says in detail
    assert all(call.model in ("writer", "painter", "embedder") for call in calls)
    assert all(len(call.prompt_hash) == 64 for call in calls)
    shown = [repr(calls), detail, caplog.text]
    for error in raised:
        seen: BaseException | None = error
        while seen is not None:
            shown += [str(seen), repr(seen)]
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    assert [text for text in shown if KEY in text] == []


def test_the_page_says_what_is_tested():
    assert page(PAGE.read_text()) == PAGE.read_text(), "run python -m tests.providers.page"
