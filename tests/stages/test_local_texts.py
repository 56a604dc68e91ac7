"""The local provider's titles, drafts and prompts over the whole labelled file."""

import asyncio
import re
from dataclasses import replace
from functools import cache

import pytest

from benchmarks.clustering import read_rows
from services.stage_workers.ai.local.articles import meta_title_of, write
from services.stage_workers.ai.local.casing import title_case
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.embeddings import Embedder
from services.stage_workers.ai.local.ideas import suggest
from services.stage_workers.ai.local.image_prompts import describe, sections_of
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.local.titles import first_free, lead_of, question_of, shorten
from services.stage_workers.ai.model import (
    Article,
    DescribeImages,
    Keyword,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)

DANGLING = re.compile(
    r"(?<!-)\b(a|an|and|at|by|for|from|in|of|or|the|to|vs\.?|with)(?=[:?]|$)", re.I
)
DOUBLED = re.compile(r"\b(\w+) \1\b", re.I)
COMPLETE = ("What to Look For", "Fill It In", "The Case For", "Who It Is For", "What to Budget For")
PLACEHOLDER = re.compile(r"[{}]|\bTODO\b|\blorem\b|\bNone\b", re.I)


@cache
def written() -> tuple[tuple[SuggestIdeas, tuple[tuple[Suggestion, Article], ...]], ...]:
    """All ideas and drafts for the labelled keywords, once."""
    keywords = [Keyword(f"kw-{at:03}", row["keyword"]) for at, row in enumerate(read_rows())]
    text = {keyword.id: keyword for keyword in keywords}
    embedder, found = Embedder(), []
    for group in cluster(keywords, embedder):
        members = tuple(text[member] for member in group.members)
        question = SuggestIdeas(group.name, group.intent, members)
        ideas = suggest(question, embedder)
        found.append((question, tuple((idea, write(order(idea))) for idea in ideas)))
    return tuple(found)


def dangles(text: str) -> bool:
    return not text.endswith(COMPLETE) and bool(DANGLING.search(text))


def order(idea: Suggestion) -> WriteArticle:
    return WriteArticle(idea.title, idea.intent, idea.outline, idea.target_keywords, ("Other: A",))


def every() -> list[tuple[Suggestion, Article]]:
    return [pair for _, pairs in written() for pair in pairs]


def test_all_titles_of_the_labelled_file_differ():
    titles = [idea.title.casefold() for idea, _ in every()]
    assert len(set(titles)) == len(titles) > 90


def test_titles_and_headings_read_well():
    for idea, _ in every():
        for text in (idea.title, *idea.outline):
            assert text == " ".join(text.split())
            assert text[0].isupper() or text[0].isdigit()
            assert not DOUBLED.search(text), text
            assert not dangles(text), text
            assert text.count("?") <= 1
        assert len(idea.title) <= 90


def test_headings_of_an_outline_differ_and_do_not_repeat_the_title():
    for idea, _ in every():
        assert len({heading.casefold() for heading in idea.outline}) == len(idea.outline) >= 5
        assert not [heading for heading in idea.outline if heading in idea.title]


def test_every_keyword_is_served_and_a_large_cluster_gets_two_articles():
    for question, pairs in written():
        served = [text for idea, _ in pairs for text in idea.target_keywords]
        assert sorted(served) == sorted(keyword.text for keyword in question.keywords)
        assert len(pairs) == (2 if len(question.keywords) >= 8 else 1)
        if len(pairs) == 2:
            assert all(3 <= len(idea.target_keywords) <= 8 for idea, _ in pairs)


def test_every_draft_uses_all_its_keywords_and_names_every_heading():
    for idea, article in every():
        body = article.body.casefold()
        assert all(keyword.casefold() in body for keyword in idea.target_keywords)
        assert [one.heading for one in sections_of(article.body)][: len(idea.outline)] == list(
            idea.outline
        )


def test_a_draft_says_what_it_is_and_has_no_placeholders():
    for idea, article in every():
        assert article.body.startswith("> **Draft scaffold, not an article.**")
        assert not PLACEHOLDER.search(article.body)
        assert "  " not in article.body
        assert ("### Comparison Table" in article.body) == (idea.intent == "commercial")
        assert "- See also: Other: A" in article.body


def test_metas_are_within_the_limits():
    for _, article in every():
        assert 5 <= len(article.meta_title) <= 60
        assert 40 <= len(article.meta_description) <= 155
        assert "  " not in article.meta_title + article.meta_description
        assert not dangles(article.meta_title)


def test_prompts_are_one_featured_and_one_or_two_for_sections_of_the_draft():
    for idea, article in every():
        ask = DescribeImages(idea.title, idea.intent, article.body, idea.target_keywords)
        featured, *inside = describe(ask)
        headings = [one for one in sections_of(article.body) if not one.is_apart]
        assert featured.role == "featured"
        assert len(inside) == (2 if len(headings) >= 8 else 1)
        assert all(image.section in idea.outline for image in inside)
        assert all(image.alt and len(image.alt) <= 125 for image in (featured, *inside))
        assert all("Mood:" in image.text and "Colours:" in image.text for image in inside)


def test_taken_titles_are_not_suggested_again():
    question, pairs = written()[0]
    taken = tuple(idea.title for idea, _ in pairs)
    again = suggest(replace(question, taken=taken), Embedder())
    assert not {idea.title for idea in again} & set(taken)


def test_the_most_searched_keyword_leads_when_volumes_are_known():
    keywords = tuple(Keyword(text, text) for text in ("gantt chart", "gantt chart template"))
    question = SuggestIdeas("Gantt Chart", "informational", keywords, (10, 900))
    (idea,) = suggest(question, Embedder())
    assert idea.title.startswith("Gantt Chart Template:")


def test_the_same_question_has_the_same_answer_in_another_provider():
    question, pairs = written()[1]

    async def answers() -> list[object]:
        provider = LocalProvider()
        asked = await provider.answer(question)
        return [asked.value, (await provider.answer(order(asked.value[0]))).value]

    assert asyncio.run(answers()) == [tuple(idea for idea, _ in pairs), pairs[0][1]]


def test_odd_questions_are_answered_too():
    embedder = Embedder()
    assert suggest(SuggestIdeas("Empty", "commercial", ()), embedder) == ()
    (idea,) = suggest(SuggestIdeas("?", "commercial", (Keyword("k", "2025"),)), embedder)
    assert idea.target_keywords == ("2025",)
    bare = write(WriteArticle("A Title", "informational", (), ()))
    assert describe(DescribeImages("A Title", "informational", bare.body, ()))[0].role == "featured"


@pytest.mark.parametrize(
    ("keyword", "lead"),
    [
        ("how to make a gantt chart in excel", "How to Make a Gantt Chart in Excel"),
        ("best running shoes for flat feet", "How to Choose the Best Running Shoes for Flat Feet"),
        ("top rated espresso makers 2025", "How to Choose the Best Espresso Makers"),
        ("how long to steep cold brew", "How Long Should You Steep Cold Brew?"),
        ("how much caffeine in a cup of coffee", "How Much Caffeine Is in a Cup of Coffee?"),
        ("hario v60 vs kalita wave", "Hario V60 vs. Kalita Wave"),
        ("buy coffee beans online", "Buying Coffee Beans Online"),
        ("grow email list fast", "How to Grow Your Email List Fast"),
        ("dog trainer near me", "Dog Trainer Near You"),
        ("raci matrix template excel", "RACI Matrix Template for Excel"),
        ("best best vpn", "How to Choose the Best VPN"),
        ("blooming coffee grounds why", "Blooming Coffee Grounds"),
    ],
)
def test_keywords_become_what_a_person_would_write(keyword: str, lead: str):
    assert lead_of(keyword) == lead


@pytest.mark.parametrize(
    ("keyword", "question"),
    [
        ("how to use a chemex", "How do I use a chemex?"),
        ("best vpn for travel", "How do I choose the best VPN for travel?"),
        (
            "hand grinder for travel",
            "What should I look for when comparing hand grinder options for travel?",
        ),
        ("get a solar quote", "What should I check before I get a solar quote?"),
        ("do solar panels work at night", "Do solar panels work at night?"),
    ],
)
def test_keywords_become_questions(keyword: str, question: str):
    assert question_of(keyword) == question


@pytest.mark.parametrize(
    ("text", "cased"),
    [
        ("10kwh battery for your ev", "10kWh Battery for Your EV"),
        ("seo for ecommerce", "SEO for Ecommerce"),
        ("what it is for", "What It Is For"),
        ("symptoms of vitamin d deficiency", "Symptoms of Vitamin D Deficiency"),
        ("double opt in vs single opt in", "Double Opt-In vs. Single Opt-In"),
        ("16 week plan", "16-Week Plan"),
    ],
)
def test_titles_are_cased_as_a_person_would(text: str, cased: str):
    assert title_case(text) == cased


def test_texts_are_shortened_at_a_word_that_may_end_them():
    assert shorten("A Guide to the Best of All", 18) == "A Guide"
    assert meta_title_of("What Is It? A Clear Answer to All the Questions That People Ask Us") == (
        "What Is It?"
    )


def test_a_free_title_is_found_when_all_are_taken():
    assert first_free(["A", "B"], {"a"}) == "B"
    assert first_free(["A"], {"a", "a (part 2)"}) == "A (Part 3)"
