"""What the seven stages report, with providers that forget, invent, repeat and fail."""

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar, cast

import PIL.Image
import pytest

from events.content import AiCall, Cluster, Draft, Idea, Image, Prompt, Task
from events.prices import Models, list_price
from services.stage_workers.ai.instant import reply
from services.stage_workers.ai.model import (
    A,
    Article,
    Call,
    ClusterKeywords,
    DrawImage,
    Group,
    ItemFailed,
    Link,
    ModelUnavailable,
    Picture,
    ProviderHalted,
    Question,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)
from services.stage_workers.batch import Stage, Work
from services.stage_workers.items import (
    Batch,
    ClusterItem,
    DraftItem,
    IdeaItem,
    KeywordItem,
    PromptItem,
    TaskItem,
)
from services.stage_workers.stage_1_clusters import MakeClusters
from services.stage_workers.stage_2_ideas import MakeIdeas, meaningless
from services.stage_workers.stage_3_tasks import MakeTasks
from services.stage_workers.stage_4_content import WriteDrafts
from services.stage_workers.stage_5_prompts import WritePrompts
from services.stage_workers.stage_6_images import LARGEST, RenderImages
from services.stage_workers.stage_7_review import HandOver

T = TypeVar("T")
BATCH = Batch("acc-1", "site-1", "run-1", "batch-1", 1, ("a", "b"), 1, "Daily Grind")
KEYWORDS = tuple(KeywordItem(one, f"keyword {one}", None, None) for one in "abcd")
IDEA = IdeaItem(
    "idea-1", "cl-1", "Cold Brew: A Guide", "informational", ("Basics",), ("cold brew",)
)
RELATED = (Link(IDEA.title, "/cold-brew"), Link("Other", "/other"))
DRAFT = DraftItem("draft-1", "Cold Brew", "informational", "## Basics\n\nText.\n", ("cold brew",))
PROMPT = PromptItem("prompt-1", "draft-1", "Cold Brew", "featured", "", "A glass", "A glass")


@dataclass
class Scripted:
    """A provider that answers by a function, which may raise; it keeps what it was asked."""

    script: Callable[[Any], object]
    asked: list[Question[Any]] = field(default_factory=list)

    async def __call__(self, account_id: str, models: Models) -> Self:  # noqa: ARG002
        return self

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        self.asked.append(question)
        error = "it raised"
        try:
            answer = self.script(question)
            error = ""
        except (ItemFailed, ProviderHalted) as failure:
            error = str(failure)
            raise
        finally:
            calls.append(Call("instant", 7, 3, error=error or None))
        return cast("A", answer)


@dataclass(frozen=True)
class Reads(Generic[T]):
    """The same items for every batch."""

    items: tuple[T, ...]

    async def __call__(self, batch: Batch) -> tuple[T, ...]:
        del batch
        return self.items


async def no_names(batch: Batch) -> dict[str, str]:
    del batch
    return {}


def drawn(kind: str) -> bytes:
    """Return an image file of 4 x 3 pixels."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 3)).save(file, kind)
    return file.getvalue()


def fails(question: object) -> object:
    del question
    raise ModelUnavailable("no answer")


def shelf() -> tuple[dict[str, bytes], Callable[[bytes], Awaitable[str]]]:
    kept: dict[str, bytes] = {}

    async def put(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        kept[digest] = content
        return digest

    return kept, put


def run(stage: Stage) -> tuple[Work, list[AiCall]]:
    calls: list[AiCall] = []
    return asyncio.run(stage.process(BATCH, calls)), calls


def clusters_with(script: Callable[[ClusterKeywords], object]) -> tuple[Work, list[AiCall]]:
    own: Reads[KeywordItem] = Reads(KEYWORDS[:2])
    return run(MakeClusters(own, Reads(KEYWORDS), no_names, Scripted(script)))


def test_a_batch_reports_its_own_keywords_in_clusters_of_the_whole_stage():
    groups = (Group("One", "commercial", ("a", "c")), Group("Two", "informational", ("b", "d")))
    work, calls = clusters_with(lambda _: groups)
    assert [outcome.item for outcome in work.outcomes] == ["a", "b"]
    assert [outcome.made for outcome in work.outcomes] == [(fact.id,) for fact in work.made]
    assert [(fact.name, fact.first) for fact in work.made if isinstance(fact, Cluster)] == [
        ("One", "a"),
        ("Two", "b"),
    ]
    assert [(call.function, call.credits_used, call.tokens_in) for call in calls] == [
        ("cluster_keywords", list_price(BATCH.prices, "cluster_keywords"), 7)
    ]


def test_two_batches_of_a_stage_name_the_same_cluster_which_counts_where_its_first_is():
    provider = Scripted(lambda _: (Group("All", "commercial", ("d", "b", "a", "c")),))
    works = [
        run(MakeClusters(Reads(own), Reads(KEYWORDS), no_names, provider))[0]
        for own in (KEYWORDS[:2], KEYWORDS[2:])
    ]
    assert works[0].made == works[1].made
    assert [fact.first for fact in works[0].made if isinstance(fact, Cluster)] == ["a"]


def test_all_keywords_of_a_batch_fail_when_the_grouping_fails_and_it_costs_nothing():
    work, calls = clusters_with(fails)
    assert [(one.item, one.error) for one in work.outcomes] == [
        ("a", "no answer"),
        ("b", "no answer"),
    ]
    assert work.made == ()
    assert [(call.status, call.credits_used) for call in calls] == [("failed", 0)]


def test_a_cluster_whose_question_fails_stops_no_other():
    def script(question: SuggestIdeas) -> object:
        if question.cluster == "Bad":
            raise ModelUnavailable("no answer")
        return (Suggestion("Good Idea", "informational", ("H",), ("keyword a",)),)

    items = tuple(ClusterItem(name, name, "commercial", KEYWORDS) for name in ("Bad", "Good"))
    work, calls = run(MakeIdeas(Reads(items), Scripted(script), meaningless))
    assert [outcome.error for outcome in work.outcomes] == ["no answer", None]
    assert [fact.title for fact in work.made if isinstance(fact, Idea)] == ["Good Idea"]
    price = list_price(BATCH.prices, "generate_ideas")
    assert sorted(call.credits_used for call in calls) == [0, price]


def test_a_cluster_that_another_batch_has_reported_keeps_its_name_and_new_ones_get_another():
    groups = (Group("One", "commercial", ("a",)), Group("Two", "commercial", ("b",)))
    before, _ = clusters_with(lambda _: groups)

    async def names(batch: Batch) -> dict[str, str]:
        del batch
        return {before.made[0].id: "Named Before", "cl-of-the-past": "Two"}

    own: Reads[KeywordItem] = Reads(KEYWORDS[:2])
    work, _ = run(MakeClusters(own, Reads(KEYWORDS), names, Scripted(lambda _: groups)))
    assert [fact.id for fact in work.made] == [fact.id for fact in before.made]
    assert [fact.name for fact in work.made if isinstance(fact, Cluster)] == [
        "Named Before",
        "Two: Keyword B",
    ]


def test_the_same_title_for_two_clusters_is_told_apart_and_outcomes_still_name_the_facts():
    same = (Suggestion("Same Title", "informational", ("H",), ()),)
    items = tuple(
        ClusterItem(name, name, "commercial", KEYWORDS, ("Same title",)) for name in ("x", "y")
    )
    work, _ = run(MakeIdeas(Reads(items), Scripted(lambda _: same), meaningless))
    titles = [fact.title for fact in work.made if isinstance(fact, Idea)]
    assert titles == ["Same Title: Keyword A", "Same Title: Keyword B"]
    assert [outcome.made for outcome in work.outcomes] == [(fact.id,) for fact in work.made]


def test_every_idea_becomes_one_task_without_a_call():
    work, calls = run(MakeTasks(Reads((IDEA, replace(IDEA, id="idea-2")))))
    tasks = [fact for fact in work.made if isinstance(fact, Task)]
    assert [(task.idea_id, task.title) for task in tasks] == [
        ("idea-1", IDEA.title),
        ("idea-2", IDEA.title),
    ]
    assert len({task.id for task in tasks}) == 2
    assert calls == []


def test_a_draft_carries_the_hash_of_the_body_that_was_put():
    kept, put = shelf()
    article = Article("\r\n\r\nOne two **three**.\r\n", "", "d " * 100)
    provider = Scripted(lambda _: article)
    links = (Link(IDEA.title, "/cold-brew-a-guide"), Link("Other", "/other"))
    work, _ = run(WriteDrafts(Reads((TaskItem("task-1", IDEA, links),)), provider, put))
    (draft,) = work.made
    assert isinstance(draft, Draft)
    assert kept[draft.body] == b"One two **three**.\n"
    assert (draft.slug, draft.word_count, draft.meta_title) == ("cold-brew-a-guide", 3, IDEA.title)
    assert len(draft.meta_description) <= 155
    (question,) = provider.asked
    assert isinstance(question, WriteArticle)
    assert question.related == links[1:]


def test_an_article_without_a_body_fails_its_task_and_keeps_nothing():
    kept, put = shelf()
    provider = Scripted(lambda _: Article("  \n", "t", "d"))
    work, _ = run(WriteDrafts(Reads((TaskItem("task-1", IDEA),)), provider, put))
    assert [outcome.error for outcome in work.outcomes] == ["the article has no body"]
    assert (work.made, kept) == ((), {})


def test_a_draft_gets_its_prompts_in_order():
    work, calls = run(WritePrompts(Reads((DRAFT,)), Scripted(reply)))
    assert [(fact.role, fact.content_id) for fact in work.made if isinstance(fact, Prompt)] == [
        ("featured", "draft-1")
    ]
    assert [call.function for call in calls] == ["write_image_prompts"]


def test_an_image_fact_has_the_measures_of_the_file_that_was_put():
    kept, put = shelf()
    content = drawn("WEBP")
    provider = Scripted(lambda _: Picture(content, "image/png", 0, 0))
    work, _ = run(RenderImages(Reads((PROMPT,)), provider, put))
    (image,) = work.made
    assert isinstance(image, Image)
    assert (image.width, image.height, image.size) == (4, 3, len(content))
    assert (image.media_type, kept[image.file]) == ("image/webp", content)
    (question,) = provider.asked
    assert isinstance(question, DrawImage)
    assert question.site_name == "Daily Grind"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the image is empty"),
        (b"<html>", "the answer is no image that can be read"),
        (drawn("PNG")[:20], "the answer is no image that can be read"),
        (drawn("GIF"), "GIF is no image type for pages"),
        (b"x" * (LARGEST + 1), "the image has 20000001 bytes, and may have 20000000"),
    ],
)
def test_an_answer_that_is_no_image_fails_its_prompt(content: bytes, error: str):
    kept, put = shelf()
    picture = Picture(content, "image/webp", 4, 3)
    work, _ = run(RenderImages(Reads((PROMPT,)), Scripted(lambda _: picture), put))
    assert [outcome.error for outcome in work.outcomes] == [error]
    assert kept == {}


def test_the_last_stage_hands_over_every_draft_and_makes_nothing():
    calls: list[AiCall] = []
    batch = replace(BATCH, items=("draft-1", "draft-2"))
    work = asyncio.run(HandOver().process(batch, calls))
    assert [(one.item, one.error, one.made) for one in work.outcomes] == [
        ("draft-1", None, ()),
        ("draft-2", None, ()),
    ]
    assert (work.made, calls) == ((), [])
