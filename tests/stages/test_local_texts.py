"""The local provider's titles, drafts and prompts over the whole labelled file."""

import asyncio
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations

import numpy as np
import pytest

from benchmarks.content import placeholders, read_rows, shingles
from events.brief import Brief
from events.ids import fold
from services.stage_workers.ai.local.articles import meta_title_of, noted, write
from services.stage_workers.ai.local.casing import title_case
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.embeddings import Embedder
from services.stage_workers.ai.local.ideas import suggest, unlike_first
from services.stage_workers.ai.local.image_prompts import describe, sections_of
from services.stage_workers.ai.local.nouns import said, topic_of
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.local.stock import (
    ALSO,
    OPENERS,
    REMINDERS,
    SCOPES,
    SEARCHED,
    SECOND_ANSWERS,
    STANCES,
    STOCK,
    TAILS,
)
from services.stage_workers.ai.local.titles import first_free, lead_of, question_of, shorten
from services.stage_workers.ai.model import (
    AnswerRejected,
    Article,
    Call,
    ClusterKeywords,
    DescribeImages,
    Keyword,
    Link,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)

DANGLING = re.compile(
    r"(?<!-)\b(a|an|and|at|by|for|from|in|of|or|the|to|vs\.?|with)(?=[:?]|$)", re.I
)
DOUBLED = re.compile(r"\b(\w+) \1\b", re.I)
COMPLETE = ("What to Look For", "Fill It In", "The Case For", "Who It Is For", "What to Budget For")
OTHER = Link("Other: A", "/blog/other-a")


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
    return WriteArticle(idea.title, idea.intent, idea.outline, idea.target_keywords, (OTHER,))


def every() -> list[tuple[Suggestion, Article]]:
    return [pair for _, pairs in written() for pair in pairs]


def test_all_titles_of_the_labelled_file_differ():
    titles = [idea.title.casefold() for idea, _ in every()]
    assert len(set(titles)) == len(titles) > 70


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
        body = fold(article.body)
        assert all(fold(keyword) in body for keyword in idea.target_keywords)
        assert [one.heading for one in sections_of(article.body)][: len(idea.outline)] == list(
            idea.outline
        )


def test_a_draft_is_an_article_and_no_scaffold():
    for _, article in every():
        assert 500 <= len(article.body.split()) <= 1500
        assert placeholders(article.body) == []
        assert "  " not in article.body
        assert "- [Other: A](/blog/other-a)" in article.body
        assert not re.search(r"draft|editor|writer|keyword|scaffold", article.body, re.I)


def test_text_stands_under_every_heading_and_questions_are_answered_in_a_few_sentences():
    for _, article in every():
        blocks = article.body.strip().split("\n\n")
        assert not blocks[0].startswith(("#", "-"))
        for block, after in pairwise([*blocks, "#"]):
            if block.startswith("### "):
                assert block.endswith("?")
                assert 2 <= len(re.findall(r"[.;!?](?: |$)", after)) <= 5
            if block.startswith("#") and not block.startswith("## Frequently"):
                assert not after.startswith("#"), block
        assert sum(block.startswith("### ") for block in blocks) >= 3


def test_no_sentence_stands_twice_in_a_draft():
    for _, article in every():
        sentences = re.split(r"(?<=[.?!:])\s+", article.body)
        long = [one.casefold() for one in sentences if len(one.split()) > 5]
        assert len(set(long)) == len(long)


def test_two_drafts_of_a_site_are_not_near_duplicates():
    runs = [shingles(article.body) for _, article in every()]
    for one, other in permutations(runs, 2):
        assert len(one & other) < 0.3 * len(one)


def test_titles_of_a_site_say_different_things():
    titles = [idea.title for idea, _ in every()]
    vectors = Embedder()(titles)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    assert cosines.max() <= 0.9


def test_a_title_that_says_the_same_as_a_known_one_comes_last():
    titles = ["How to Choose the Best Espresso Machine", "Espresso Machine Maintenance"]
    assert unlike_first(titles, (), Embedder()) == titles
    known = ("How to Choose the Best Espresso Machines",)
    assert unlike_first(titles, known, Embedder()) == titles[::-1]


def test_a_draft_has_no_banned_word_of_its_own():
    idea, article = every()[0]
    body = fold(article.body)
    banned = tuple(
        word for word in ("note", "date", "with pen", "CHECK", "aim") if fold(word) in body
    )
    assert len(banned) >= 3
    other = write(replace(order(idea), brief=Brief(banned_words=banned)))
    said = f"{other.body} {other.meta_title} {other.meta_description}"
    assert not re.search(rf"\b(?:{'|'.join(banned)})\b", said, re.I)
    assert len(other.body.split()) >= 400


def test_a_banned_word_is_a_whole_word():
    idea, article = every()[0]
    assert write(replace(order(idea), brief=Brief(banned_words=("ote", "e")))) == article


def test_a_draft_written_again_has_other_sentences_and_takes_up_the_note():
    idea, article = every()[0]
    note = "Please add a section about water quality. Thanks!"
    again = write(replace(order(idea), previous=article.body, note=note))
    assert "## More on Water Quality" in again.body
    assert note not in again.body
    one, other = shingles(article.body), shingles(again.body)
    assert len(one & other) < 0.5 * len(one)
    assert write(replace(order(idea), previous=article.body, note=note)) == again


@pytest.mark.parametrize(
    ("note", "topic"),
    [
        ("", ""),
        ("Too long.", ""),
        ("Please write more on the grind size, and less on brands.", "grind size"),
        ("explain water temperature", "water temperature"),
        ("Put right what was found in this text:\n- Missing: “a b” is not in the text.", ""),
    ],
)
def test_a_note_asks_for_a_topic_where_a_rule_finds_one(note: str, topic: str):
    assert noted(note) == topic


def test_links_go_to_related_articles_only_by_their_path_nearest_first():
    idea, _ = every()[0]
    related = (
        Link("Running Shoes [2025]", "/c"),
        Link("Cold Brew Coffee Jars", "/b"),
        Link(idea.title, "/itself"),
    )
    body = write(replace(order(idea), related=related)).body
    assert re.findall(r"\]\((.*?)\)", body) == ["/b", "/c"]
    assert r"[Running Shoes \[2025\]](/c)" in body
    assert "](" not in write(replace(order(idea), related=())).body


@pytest.mark.parametrize("language", ["de", "pt-BR", "eng"])
def test_text_in_another_language_is_refused_with_its_name(language: str):
    provider, brief = LocalProvider(), Brief(language=language)
    question, pairs = written()[0]
    asked = [
        replace(question, brief=brief),
        replace(order(pairs[0][0]), brief=brief),
        DescribeImages("A Title", "informational", "", (), brief),
    ]
    for one in asked:
        calls: list[Call] = []
        with pytest.raises(AnswerRejected, match=rf"English only.*\b{language}\b"):
            asyncio.run(provider.answer(one, calls))
        assert [bool(call.error) for call in calls] == [True]
    groups = asyncio.run(provider.answer(ClusterKeywords((Keyword("k", "kaffee"),), (), brief), []))
    assert len(groups) == 1


@pytest.mark.parametrize("language", ["en", "en-GB", "EN-us"])
def test_every_english_is_written(language: str):
    idea, article = every()[0]
    asked = replace(order(idea), brief=Brief(language=language))
    assert asyncio.run(LocalProvider().answer(asked, [])) == article


@pytest.mark.parametrize(
    ("keyword", "phrase"),
    [
        ("how to clean solar panels", "cleaning solar panels"),
        ("how to tie a bow tie", "tying a bow tie"),
        ("how to get more email subscribers", "getting more email subscribers"),
        ("how to true a wheel", "the question “how to true a wheel”"),
        ("best espresso machine", "the best espresso machine"),
        ("gantt chart template", "a gantt chart template"),
        ("spf dkim dmarc setup", "an SPF DKIM DMARC setup"),
        ("hour by hour plan", "an hour by hour plan"),
        ("solar panel maintenance", "solar panel maintenance"),
        ("loose leash walking", "loose leash walking"),
        ("solar panels snow removal", "solar panels snow removal"),
        ("insoles for flat footed runners", "insoles for flat-footed runners"),
        ("order ethiopian coffee beans", "ordering ethiopian coffee beans"),
        ("dog trainer near me", "a dog trainer near you"),
        ("hoka vs brooks", "Hoka vs Brooks"),
        ("dog barks at night", "the problem “dog barks at night”"),
        ("do bark collars work", "the question “do bark collars work”"),
        ("asana alternatives", "Asana alternatives"),
    ],
)
def test_keywords_are_said_as_noun_phrases(keyword: str, phrase: str):
    assert said(keyword) == phrase


@pytest.mark.parametrize(
    ("keywords", "topic"),
    [
        ((), "the topic"),
        (("worm bin for beginners",), "the bin"),
        (("best mattress for back pain",), "the mattress"),
        (("how to clean solar panels",), "the task"),
        (("what is it",), "the question"),
        (("gantt chart template", "gantt chart maker"), "a gantt chart"),
        (("dog barking at night", "dog barking at strangers"), "dog barking"),
    ],
)
def test_an_article_has_a_short_name_for_what_it_is_about(keywords: tuple[str, ...], topic: str):
    assert topic_of(keywords) == topic


def test_no_sentence_of_the_stock_stands_there_twice():
    stock = [s for kind in STOCK.values() for s in (*kind.points, *kind.actions, *kind.answers)]
    shared = [*OPENERS, *TAILS, *SCOPES, *STANCES, *ALSO, *SEARCHED, *SECOND_ANSWERS, *REMINDERS]
    assert len(set(stock + shared)) == len(stock) + len(shared)
    assert all(text[0].isupper() for text in (*shared[:30], *STANCES, *REMINDERS))
    actions = [action for kind in STOCK.values() for action in kind.actions]
    assert all(action[0].islower() and action[-1] != "." for action in actions)


def test_metas_are_within_the_limits():
    for _, article in every():
        assert 15 <= len(article.meta_title) <= 60
        assert 50 <= len(article.meta_description) <= 155
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
        asked = await provider.answer(question, [])
        return [asked, await provider.answer(order(asked[0]), [])]

    assert asyncio.run(answers()) == [tuple(idea for idea, _ in pairs), pairs[0][1]]


def test_odd_questions_are_answered_too():
    embedder = Embedder()
    assert suggest(SuggestIdeas("Empty", "commercial", ()), embedder) == ()
    (idea,) = suggest(SuggestIdeas("?", "commercial", (Keyword("k", "2025"),)), embedder)
    assert idea.target_keywords == ("2025",)
    bare = write(WriteArticle("A Title", "informational", (), ()))
    assert describe(DescribeImages("A Title", "informational", bare.body, ()))[0].role == "featured"


@pytest.mark.parametrize("keyword", ["!!!", "?!", "?", ".", "...", "-", "—", "\u2615", "\u00b7"])
def test_a_keyword_of_marks_alone_is_written_about_too(keyword):
    """People import what they have; one such row must not end a stage."""
    (group,) = cluster((Keyword("k", keyword),), Embedder())
    question = SuggestIdeas(group.name, group.intent, (Keyword("k", keyword),))
    (idea,) = suggest(question, Embedder())
    assert any(map(str.isalnum, idea.title))
    made = write(order(idea))
    assert describe(DescribeImages(idea.title, idea.intent, made.body, idea.target_keywords))


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
        "What Is It? A Practical Guide"
    )
    assert meta_title_of("Caffeine") == "Caffeine: A Practical Guide"


def test_a_free_title_is_found_when_all_are_taken():
    assert first_free(["A", "B"], {"a"}) == "B"
    assert first_free(["A"], {"a", "a (part 2)"}) == "A (Part 3)"
