"""What the provider makes of a willing model's answers, and of a half-hearted one's."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from events.brief import Brief
from events.prices import Models
from services.stage_workers.ai.model import (
    A,
    Article,
    Call,
    ClusterKeywords,
    DescribeImages,
    DrawImage,
    Group,
    ItemFailed,
    Keyword,
    Link,
    ProviderHalted,
    Question,
    SuggestIdeas,
    WriteArticle,
)
from services.stage_workers.ai.openai.clusters import Name, named, usable
from services.stage_workers.ai.openai.ideas import nearest, title_of
from services.stage_workers.ai.openai.pictures import is_same_server
from services.stage_workers.ai.openai.shapes import KnownGroup, NamedGroup
from tests.providers.author import reply, willing
from tests.providers.misbehaviours import image, png, vectors
from tests.providers.server import Answer, Asked, chats, completion, fails, response, says
from tests.providers.worlds import local, world

TEXT = Models(text="writer")
WORDS = ("running shoes", "best running shoes", "trail running shoes", "coffee maker",
         "drip coffee maker", "espresso coffee maker")  # fmt: skip
KEYWORDS = tuple(Keyword(f"k{at}", text) for at, text in enumerate(WORDS))
ARTICLE = WriteArticle(
    "Trail Running Shoes",
    "commercial",
    ("What to Look For", "Shoes for Wet Trails", "Frequently Asked Questions"),
    ("trail running shoes", "wet trail shoes"),
    (Link("Wet Weather Trails", "/wet-trails"), Link("Bread", "/bread")),
)


def answered(
    question: Question[A], *answers: Answer, models: Models = TEXT
) -> tuple[A, list[Call], list[Asked]]:
    async def story() -> tuple[A, list[Call], list[Asked]]:
        async with world(*answers, models=models) as it:
            return await it.provider.answer(question, it.calls), it.calls, it.server.asked

    return asyncio.run(story())


def but(change: Callable[[str, Any], Any]) -> Answer:
    """Be a willing model whose answer to a task is changed; None is content null."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        task = asked.body["messages"][-1]["content"]
        said = change(task, reply(task))
        if isinstance(said, dict) and "choices" in said:
            body = said
        else:
            body = completion(said if isinstance(said, str) else json.dumps(said))
        writer.write(response(200, json.dumps(body).encode()))

    return answer


def test_groups_with_the_batchs_own_keywords_are_named_in_one_call():
    groups, calls, _ = answered(ClusterKeywords(KEYWORDS, ("k0", "k1")), willing())
    names = {group.members: group.name for group in groups}
    assert names == {
        ("k0", "k1", "k2"): "About running shoes",
        ("k3", "k4", "k5"): "Coffee Maker",
    }
    assert [(call.prompt, call.model) for call in calls] == [("name_clusters@1", "writer")]


def test_the_same_groups_are_named_once_for_all_batches():
    async def story() -> None:
        async with world(willing(), models=TEXT) as it:
            for own in (("k0",), ("k1",), ("k2", "k0")):
                groups = await it.provider.answer(ClusterKeywords(KEYWORDS, own), it.calls)
                assert groups[0].name == "About running shoes"
            assert len(it.server.asked) == 1

    asyncio.run(story())


def test_without_a_usable_name_a_group_keeps_its_own():
    def nothing(task: str, said: Any) -> Any:  # noqa: ARG001
        return {"groups": [{"group": 7, "name": "Invented"}, {"group": 1, "name": "  "}]}

    for answer in (but(nothing), chats("no JSON"), fails(400, "content_policy_violation")):
        groups, calls, _ = answered(ClusterKeywords(KEYWORDS, ("k0",)), answer)
        assert [group.name for group in groups] == ["Running Shoes", "Coffee Maker"]
        assert calls


def test_in_another_language_the_model_says_the_intent_unless_it_came_with_a_keyword():
    german = Brief(language="de-AT")
    groups, _, asked = answered(ClusterKeywords(KEYWORDS, ("k0",), german), willing())
    assert groups[0].intent == "commercial"
    assert "German (de-AT)" in asked[0].body["messages"][-1]["content"]
    given = tuple(Keyword(one.id, one.text, "transactional") for one in KEYWORDS)
    groups, _, _ = answered(ClusterKeywords(given, ("k0",), german), willing())
    assert groups[0].intent == "transactional"


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ([NamedGroup(group=1, name='  "Tea  Pots." ')], {1: Name("Tea Pots")}),
        ([NamedGroup(group=1, name="A"), NamedGroup(group=1, name="B")], {1: Name("A")}),
        ([NamedGroup(group=0, name="A"), NamedGroup(group=3, name="B")], {}),
        ([NamedGroup(group=2, name="x" * 61), NamedGroup(group=1, name="123")], {}),
        (
            [KnownGroup(group=2, name="Pots", intent="transactional")],
            {2: Name("Pots", "transactional")},
        ),
    ],
)
def test_which_names_are_any(found: list[NamedGroup], names: dict[int, Name]):
    assert usable(found, 2) == names


def test_no_two_groups_get_the_same_name():
    groups = tuple(Group(f"Old {one}", "informational", (one,)) for one in "abc")
    given = {("a",): Name("New"), ("b",): Name("new"), ("c",): Name("Old b")}
    names = [group.name for group in named(groups, given, set())]
    assert names == ["New", "Old b", "Old c"]


def test_vectors_come_in_batches_and_each_text_once():
    models = Models(text="writer", embedding="embedder")

    async def story() -> None:
        async with world(vectors(), models=models) as it:
            many = tuple(Keyword(f"k{at}", f"word{at % 150}") for at in range(200))
            for _ in range(2):
                await it.provider.answer(ClusterKeywords(many, ("k1",)), it.calls)
            sent = [one.body["input"] for one in it.server.asked if "input" in one.body]
            assert [len(texts) for texts in sent] == [24, 96, 54]
            made = [call for call in it.calls if call.model == "embedder"]
            assert [(call.tokens_in, call.tokens_out, call.prompt) for call in made] == [
                (7, 0, "")
            ] * 3

    asyncio.run(story())


def test_a_bad_vector_asked_for_again_is_good():
    models = Models(text="writer", embedding="embedder")
    once = [vectors(lambda rows: rows[1:]), vectors()]
    groups, calls, _ = answered(ClusterKeywords(KEYWORDS, ("k0",)), *once, models=models)
    assert sorted(member for group in groups for member in group.members) == [
        f"k{at}" for at in range(6)
    ]
    assert [bool(call.error) for call in calls][:2] == [True, False]


def test_ideas_are_told_which_titles_are_taken():
    taken = (*(f"Bread Number {at}" for at in range(60)), "Running Shoes for Winter")
    question = SuggestIdeas("Running Shoes", "commercial", KEYWORDS[:3], (5, 900, None), taken)
    ideas, _, asked = answered(question, willing())
    task = asked[0].body["messages"][-1]["content"]
    assert "- Running Shoes for Winter" in task
    assert task.count("Bread Number") == 24
    assert task.index("best running shoes") < task.index("- running shoes")
    assert [(idea.title, idea.intent) for idea in ideas] == [
        ("Running Shoes in Practice", "commercial")
    ]
    assert len(nearest(question, local().embed, 3)) == 3
    assert nearest(question, local().embed, 3)[0] == "Running Shoes for Winter"


def test_a_cluster_without_keywords_asks_nobody():
    assert answered(SuggestIdeas("Tea", "commercial", ()), willing()) == ((), [], [])


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ('"How to Brew Tea."', "How to Brew Tea"),
        ("**Tea: A Guide**", "Tea: A Guide"),
        ("Title: Is Tea Good?", "Is Tea Good?"),
        ("x" * 200, "x" * 120),
    ],
)
def test_a_title_is_only_a_title(said: str, title: str):
    assert title_of(said) == title


def test_an_article_is_written_section_by_section_in_reading_order():
    article, calls, asked = answered(ARTICLE, willing())
    assert article == Article(
        body=(
            "It is simple. Read on.\n\n"
            "## What to Look For\n\nOf trail running shoes and elsewhere.\n\n"
            "## Shoes for Wet Trails\n\nOf wet trail shoes and elsewhere. "
            "[Wet Weather Trails](/wet-trails)\n\n"
            "## Frequently Asked Questions\n\n### Is it hard?\n\nYes.\n\n### Who helps?\n\nYes.\n"
        ),
        meta_title="A Title",
        meta_description="What the reader gets, in a sentence.",
    )
    assert [call.prompt for call in calls] == [
        "plan_article@1",
        "write_introduction@1",
        "write_section@1",
        "write_section@1",
        "write_faq@1",
        "write_metas@1",
    ]
    tasks = [one.body["messages"][-1]["content"] for one in asked]
    assert "What to Look For: It tells all about What to Look For." in tasks[2]
    assert "It is simple. Read on." in tasks[2]  # what it continues
    assert "Of trail running shoes and elsewhere." in tasks[3]
    assert "/bread" not in "".join(tasks)


def test_an_article_needs_neither_a_plan_nor_metas_of_the_models():
    def only_text(task: str, said: Any) -> Any:  # noqa: ARG001
        return said if isinstance(said, str) else "I do not speak JSON."

    article, _, _ = answered(ARTICLE, but(only_text))
    assert "## Shoes for Wet Trails\n\nOf wet trail shoes" in article.body
    assert "Frequently" not in article.body
    assert article.meta_title == "Trail Running Shoes"
    assert article.meta_description.startswith("It is simple. Read on.")


def test_metas_that_are_too_long_are_asked_for_once_more():
    said_already: list[str] = []

    def long_first(task: str, said: Any) -> Any:
        if "meta_title:" in task and not said_already:
            said_already.append(task)
            return {"meta_title": "x" * 80, "meta_description": "y"}
        return said

    article, calls, asked = answered(ARTICLE, but(long_first))
    assert article.meta_title == "A Title"
    assert "at most 60 characters" in asked[-1].body["messages"][-1]["content"]
    assert [bool(call.error) for call in calls[-2:]] == [True, False]


def test_a_section_that_was_cut_off_ends_with_a_sentence():
    def cut(task: str, said: Any) -> Any:
        if "Now write the section" in task:
            return completion("One is whole. The next is not wh", "length")
        return said

    article, _, _ = answered(ARTICLE, but(cut))
    assert "## What to Look For\n\nOne is whole.\n\n" in article.body
    assert "not wh" not in article.body


def test_an_article_with_a_section_of_nothing_fails():
    def mute(task: str, said: Any) -> Any:
        return (
            "## Shoes for Wet Trails" if "wet trail shoes" in task and "Now write" in task else said
        )

    with pytest.raises(ItemFailed, match="Shoes for Wet Trails"):
        answered(ARTICLE, but(mute))


def test_an_article_that_the_provider_halts_at_goes_on_where_it_was():
    async def story() -> None:
        limit = fails(429, Retry_After="300")
        async with world(*[willing()] * 3, limit, willing(), models=TEXT) as it:
            with pytest.raises(ProviderHalted):
                await it.provider.answer(ARTICLE, it.calls)
            assert [call.prompt for call in it.calls[:3]] == [
                "plan_article@1",
                "write_introduction@1",
                "write_section@1",
            ]
            it.clock.at += 301
            again: list[Call] = []
            article = await it.provider.answer(ARTICLE, again)
            assert [call.prompt for call in again] == [
                "write_section@1",
                "write_faq@1",
                "write_metas@1",
            ]
            assert article.body.count("## ") == 5
            anew: list[Call] = []
            await it.provider.answer(ARTICLE, anew)
            assert len(anew) == 6  # an article that is done is written anew when it is asked for

    asyncio.run(story())


def test_a_short_text_is_revised_in_one_answer():
    question = WriteArticle(
        ARTICLE.title, "commercial", ARTICLE.outline, ARTICLE.target_keywords,
        previous="## A\n\nSee [x](/y).\n", note="Say more.",
    )  # fmt: skip
    article, calls, asked = answered(question, willing())
    assert article.body == "## A\n\nSee [x](/y).\n\nMended.\n"
    assert [call.prompt for call in calls] == ["revise_article@1", "write_metas@1"]
    assert "<note>\nSay more.\n</note>" in asked[0].body["messages"][-1]["content"]


def test_a_long_text_is_revised_part_by_part_and_one_that_comes_to_no_end_stays():
    def second_never_ends(task: str, said: Any) -> Any:
        return (
            completion(said, "length") if "part two" in task and "reviewer wants" in task else said
        )

    body = f"Hello.\n\n## A\n\npart one {'tea ' * 1800}\n\n## B\n\npart two {'pot ' * 1800}\n"
    question = WriteArticle(
        ARTICLE.title, "commercial", ARTICLE.outline, (), previous=body, note="Say more."
    )
    article, calls, _ = answered(question, but(second_never_ends))
    assert [call.prompt for call in calls] == ["revise_article@1"] * 3 + ["write_metas@1"]
    first, second, third = article.body.split("\n\n## ")
    assert first == "Hello.\n\nMended."
    assert second.endswith("Mended.")
    assert third.startswith("B\n\npart two pot")
    assert "Mended" not in third


def test_a_note_on_an_erased_text_is_followed_when_it_is_written_anew():
    question = WriteArticle(
        ARTICLE.title, "commercial", ARTICLE.outline, ARTICLE.target_keywords, note="Less jargon."
    )
    _, calls, asked = answered(question, willing())
    assert calls[0].prompt == "plan_article@1"
    notes = ["Less jargon." in one.body["messages"][-1]["content"] for one in asked]
    assert notes == [True] * 5 + [False]


def test_pictures_are_described_for_sections_that_are_there():
    body = "Hello.\n\n## One\n\nText.\n\n## Two\n\nMore.\n"

    def invented(task: str, said: Any) -> Any:  # noqa: ARG001
        other = {"section": "two", "text": "A lamp.", "alt": "A lamp"}
        return said | {"others": [other, other | {"section": "Nine"}]}

    ideas, _, _ = answered(DescribeImages("T", "commercial", body, ("tea",)), but(invented))
    assert [(idea.role, idea.section) for idea in ideas] == [
        ("featured", ""),
        ("in_article", "Two"),
    ]


DRAW = DrawImage("T", "", "A cup.", "Site")
DRAWN = Models(text="writer", image="painter")


def test_an_images_bytes_are_passed_on_as_they_are():
    picture, calls, asked = answered(DRAW, image(png()), models=DRAWN)
    assert (picture.content, picture.media_type) == (png(), "image/png")
    assert (picture.width, picture.height) == (48, 32)
    assert [(call.model, call.images, call.prompt) for call in calls] == [
        ("painter", 1, "draw_image@1")
    ]
    assert asked[0].body["response_format"] == "b64_json"
    data = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    assert answered(DRAW, image(url=data), models=DRAWN)[0].content == png()


def test_an_image_on_the_same_server_is_fetched_without_the_key():
    async def story() -> None:
        async def both(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if asked.method == "GET":
                writer.write(response(200, png(), {"Content-Type": "image/png"}))
            else:
                await image(url=it.server.url.replace("/v1", "/files/1.png"))(asked, writer)

        async with world(both, models=DRAWN) as it:
            picture = await it.provider.answer(DRAW, it.calls)
            assert picture.content == png()
            asked = it.server.asked[1]
            assert (asked.method, asked.headers.get("authorization")) == ("GET", None)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("https://api.test/files/a.png", True),
        ("https://api.test:443/a.png", True),
        ("http://api.test/a.png", False),
        ("https://api.test:8443/a.png", False),
        ("https://api.test.evil.test/a.png", False),
        ("https://user@api.test/a.png", False),
        ("https://api.test@evil.test/a.png", False),
        ("//api.test/a.png", False),
        ("https://[api.test/a.png", False),
        ("file:///etc/passwd", False),
    ],
)
def test_which_addresses_are_of_the_same_server(url: str, is_same: bool):  # noqa: FBT001
    assert is_same_server(url, "https://api.test/v1") is is_same


def test_an_image_server_that_refuses_the_format_is_not_asked_for_it_again():
    def refusing() -> Answer:
        async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
            refusal = fails(400, "Unknown parameter: 'response_format'.")
            chosen = refusal if "response_format" in asked.body else image(png())
            await chosen(asked, writer)

        return answer

    async def story() -> None:
        async with world(refusing(), models=DRAWN) as it:
            await it.provider.answer(DRAW, it.calls)
            await it.provider.answer(DRAW, it.calls)
            asked = ["response_format" in one.body for one in it.server.asked]
            assert asked == [True, False, False]

    asyncio.run(story())


def test_what_is_local_in_a_runs_models_is_done_here():
    async def story() -> None:
        async with world(says(500), models=Models(text="writer")) as it:
            picture = await it.provider.answer(DRAW, it.calls)
            assert picture.media_type == "image/webp"
            assert [call.model for call in it.calls] == ["local-1"]
        async with world(says(500), models=Models()) as it:
            await it.provider.answer(ARTICLE, it.calls)
            assert [call.model for call in it.calls] == ["local-1"]
            assert it.server.asked == []

    asyncio.run(story())


def test_a_willing_model_is_asked_in_our_words_only():
    _, _, asked = answered(ARTICLE, willing())
    for one in asked:
        roles = [message["role"] for message in one.body["messages"]]
        assert roles == ["system", "user"]
        assert set(one.body) <= {"model", "messages", "stream", "max_tokens", "response_format"}
