"""What becomes of answers in which a model forgot, invented, repeated or garbled something."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.content import read_rows
from events.content import Idea
from events.ids import fold
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.embeddings import Embedder
from services.stage_workers.ai.local.ideas import suggest
from services.stage_workers.ai.model import (
    AnswerRejected,
    Group,
    ImageIdea,
    Keyword,
    SuggestIdeas,
    Suggestion,
)
from services.stage_workers.items import ClusterItem, DraftItem, KeywordItem
from services.stage_workers.lines import apart, key_of, line, title_of
from services.stage_workers.stage_1_clusters import NAME, to_clusters, told_apart
from services.stage_workers.stage_2_ideas import (
    ALIKE,
    HEADING,
    HEADINGS,
    MOST,
    TITLE,
    Embed,
    meaningless,
    nearest,
    plan,
    shared_out,
    to_ideas,
    unlike,
)
from services.stage_workers.stage_4_content import cut, slug_of, words_in
from services.stage_workers.stage_5_prompts import ALT, TEXT, headings_of, to_prompts

KEYWORDS = tuple(KeywordItem(one, f"keyword {one}", None, None) for one in "abcd")
CLUSTER = ClusterItem("cl-1", "Keywords", "commercial", KEYWORDS)
DRAFT = DraftItem(
    "draft-1",
    "Cold Brew",
    "informational",
    "Text.\n\n## Basics\n\n### 2. **Steps** ##\n\n```\n## Code\n```\n\n## More\n",
    (),
)
GARBLED = st.one_of(
    st.text(max_size=40),
    st.text("*_`#\"'. ab1:-\x00\ud800\u202e\u200d\u2028", max_size=30),
    st.sampled_from(["", " ", "**Title**", "1. Title", 'TITLE: "Title."', "x" * 5_000, "\ud83d"]),
)


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Cold  Brew\nat Home", "Cold Brew at Home"),
        ("**Cold Brew**", "Cold Brew"),
        ("# Cold Brew", "Cold Brew"),
        ("1. Cold Brew", "Cold Brew"),
        ("2) **Title: \u201cCold Brew.\u201d**", "Cold Brew"),
        ("- *Cold* `Brew`", "Cold Brew"),
        ("Cluster name: Cold Brew", "Cold Brew"),
        ("H2: Cold Brew", "Cold Brew"),
        ("<b>Cold Brew</b>", "Cold Brew"),
        ("[Cold Brew](https://example.org)", "Cold Brew"),
        ("Introduction:", "Introduction"),
        ("Cold Brew...", "Cold Brew"),
        ("Cold Brew in the U.S.", "Cold Brew in the U.S."),
        ("What Is Cold Brew?", "What Is Cold Brew?"),
        ("cold brew at home", "Cold Brew at Home"),
        ("COLD BREW AT HOME", "Cold Brew at Home"),
        ("best vpn for iphone", "Best VPN for iPhone"),
        ("NASA", "NASA"),
        ("How to brew at home", "How to brew at home"),
        ("C# and F#: 2 ** 8", "C# and F#: 2 ** 8"),
        ("10 Ways to Brew", "10 Ways to Brew"),
        ("3.5 mm Jacks", "3.5 mm Jacks"),
        ("snake_case_names in Python", "snake_case_names in Python"),
        ('"Fast" and "Slow"', '"Fast" and "Slow"'),
        ("Cold\x00 Brew\ud800\u202e", "Cold Brew"),
        ("\u200d \U0001f680 !", ""),
        ("***", ""),
        ("one two " * 30, ("One Two " * 15).strip()),
    ],
)
def test_a_title_is_one_line_without_marks(said: str, title: str):
    assert title_of(said, TITLE) == title


@pytest.mark.parametrize("title", ["kalt gebrühter Kaffee", "KALTER KAFFEE FÜR ALLE", "冷萃咖啡"])
def test_another_language_is_written_as_it_was_said(title: str):
    assert title_of(f"**{title}**", TITLE, "de-AT") == title


@given(GARBLED, st.sampled_from(["en", "en-GB", "ja"]))
@example("-`a", "en")
def test_a_title_can_be_kept_whatever_was_said(said: str, language: str):
    title = title_of(said, NAME, language)
    title.encode()
    assert len(title) <= NAME
    assert title == line(title)
    assert not title or any(map(str.isalnum, title))
    assert title_of(title, NAME, language) == title


def test_what_makes_titles_the_same_are_their_words():
    assert key_of("Cold Brew: A Guide!") == key_of("cold-brew \u2014 a guide")
    assert key_of("冷萃咖啡") != key_of("咖啡")
    assert key_of("!") != key_of("?")


def test_titles_are_told_apart_by_a_hint_and_then_by_a_number():
    assert apart("Brew", ["at home"], set(), 80) == "Brew"
    assert apart("Brew", ["brew", "at home"], {"brew"}, 80) == "Brew: At Home"
    assert apart("Brew", ["at home"], {"brew", "brew at home"}, 80) == "Brew (2)"
    assert apart("Brew", [], {"brew", "brew 2"}, 80) == "Brew (3)"
    assert len(apart("x" * 80, ["y" * 80], {"x" * 80}, 80)) <= 80


def members(*groups: Group) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item, one in to_clusters(groups, KEYWORDS, (), "run-1").items():
        found.setdefault(one.name, []).append(item)
    return found


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([("**One**", "ab"), ('2. "Two."', "cd")], {"One": ["a", "b"], "Two": ["c", "d"]}),
        ([("One", "abc")], {"One": ["a", "b", "c"], "Keyword D": ["d"]}),
        ([("One", "abxyz"), ("Two", "cd")], {"One": ["a", "b"], "Two": ["c", "d"]}),
        ([("One", "abc"), ("Two", "cd")], {"One": ["a", "b", "c"], "Two": ["d"]}),
        (
            [("One", "aab"), ("Two", "ab"), (" **", "cd")],
            {"One": ["a", "b"], "Keyword C": ["c", "d"]},
        ),
        ([], {f"Keyword {one.upper()}": [one] for one in "abcd"}),
    ],
)
def test_every_keyword_is_in_exactly_one_cluster(
    groups: list[tuple[str, str]], expected: dict[str, list[str]]
):
    asked = [Group(name, "commercial", tuple(ids)) for name, ids in groups]
    assert members(*asked) == expected


def test_a_cluster_id_follows_from_run_and_members_in_any_order():
    def ids(order: str, run_id: str = "run-1") -> set[str]:
        groups = [Group("One", "commercial", tuple(order))]
        return {cluster.id for cluster in to_clusters(groups, KEYWORDS, (), run_id).values()}

    assert ids("abcd") == ids("dcba")
    assert not ids("abcd") & ids("abc")
    assert not ids("abcd") & ids("abcd", "run-2")


def test_a_forgotten_keyword_keeps_its_given_intent():
    shop = KeywordItem("a", "buy beans", None, "Transactional")
    assert to_clusters((), (shop,), (), "run-1")["a"].intent == "transactional"


GROUPS = st.lists(
    st.builds(
        Group,
        GARBLED,
        st.sampled_from(["commercial", "informational"]),
        st.lists(st.sampled_from("aabbcdxyz"), max_size=9).map(tuple),
    ),
    max_size=6,
)


@given(GROUPS, st.integers(0, 4))
def test_any_grouping_becomes_clusters_that_differ_in_name_and_hold_each_keyword_once(
    groups: list[Group], count: int
):
    clusters = to_clusters(groups, KEYWORDS, KEYWORDS[:count], "run-1")
    assert set(clusters) == set("abcd")
    for one in clusters.values():
        one.name.encode()
        assert 0 < len(one.name) <= NAME
        assert clusters[one.first] == one
    shown = told_apart(clusters, KEYWORDS[:count], {"cl-0": "Title"})
    assert {item: one.id for item, one in shown.items()} == {
        item.id: clusters[item.id].id for item in KEYWORDS[:count]
    }
    made = {one.id: key_of(one.name) for one in shown.values()}
    assert len({*made.values(), "title"}) == len(made) + 1


def test_the_same_name_for_all_clusters_of_a_stage_is_told_apart():
    groups = [Group("Coffee", "commercial", (one,)) for one in "abcd"]
    clusters = to_clusters(groups, KEYWORDS, (), "run-1")
    first = told_apart(clusters, KEYWORDS[:2], {})
    assert [one.name for one in first.values()] == ["Coffee", "Coffee: Keyword B"]
    names = {one.id: one.name for one in first.values()}
    later = told_apart(clusters, KEYWORDS[1:], names)
    assert [one.name for one in later.values()] == [
        "Coffee: Keyword B",
        "Coffee: Keyword C",
        "Coffee: Keyword D",
    ]


def test_a_keyword_that_is_no_title_names_its_cluster_nevertheless():
    odd = KeywordItem("a", "++ !", None, None)
    assert to_clusters((), (odd,), (), "run-1")["a"].name == "++ !"


def ideas_of(
    *suggestions: Suggestion,
    cluster: ClusterItem = CLUSTER,
    taken: Sequence[str] = (),
    language: str = "en",
    embed: Embed = meaningless,
) -> tuple[Idea, ...]:
    return to_ideas(suggestions, cluster, "run-1", taken, language, embed)


def suggested(title: str, *targets: str, outline: tuple[str, ...] = ("H",)) -> Suggestion:
    return Suggestion(title, "commercial", outline, targets)


def test_every_keyword_is_a_target_and_invented_ones_are_not():
    first, second = ideas_of(
        suggested("First", "Keyword  A", "made up", outline=("H", "h ", "")),
        suggested("Second", "1. **Keyword B**", "keyword a", outline=()),
    )
    assert first.target_keywords == ("keyword a", "keyword c", "keyword d")
    assert second.target_keywords == ("keyword b",)
    assert first.outline == ("H",)
    assert second.outline == ("Overview", "Frequently Asked Questions")


def test_a_keyword_is_the_target_of_one_idea_and_an_idea_without_any_is_not_made():
    ideas = ideas_of(
        suggested("First", "keyword a", "keyword b"),
        suggested("Second", "keyword b", "keyword a"),
        suggested("Third", "keyword c"),
    )
    assert [(idea.title, idea.target_keywords) for idea in ideas] == [
        ("First", ("keyword a", "keyword b", "keyword d")),
        ("Third", ("keyword c",)),
    ]


def test_a_keyword_that_no_idea_took_goes_to_the_nearest():
    near = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4]], np.float32)
    assert shared_out(["a", "b", "c"], [["c"], []], near) == [["a", "c"], ["b"]]


def test_keywords_that_differ_by_a_sign_are_not_taken_for_each_other():
    near = np.array([[0, 1], [0, 1]], np.float32)
    assert shared_out(["c jobs", "c++ jobs"], [["c++ jobs"], ["c jobs"]], near) == [
        ["c++ jobs"],
        ["c jobs"],
    ]


def test_titles_said_twice_or_not_at_all_are_dropped():
    one, again = suggested("A Title"), suggested("**a  title**.", "keyword b")
    assert [idea.title for idea in ideas_of(suggested("  "), one, again)] == ["A Title"]


@pytest.mark.parametrize("count", [0, 1, 9, 400])
def test_a_cluster_gets_one_idea_at_least_and_three_at_most(count: int):
    many = [suggested(f"Title {at}", f"keyword {'abcd'[at % 4]}") for at in range(count)]
    ideas = ideas_of(*many)
    assert len(ideas) == min(max(count, 1), MOST)
    assert len({idea.id for idea in ideas}) == len(ideas)
    assert {text for idea in ideas for text in idea.target_keywords} == {
        item.keyword for item in KEYWORDS
    }


def test_an_outline_has_each_heading_once_and_not_the_title():
    headings = (
        "Introduction:",
        "",
        "## Introduction",
        "A title",
        *(f"Part {n}" for n in range(300)),
    )
    (idea,) = ideas_of(suggested("A Title", outline=headings))
    assert idea.outline[:3] == ("Introduction", "Part 0", "Part 1")
    assert len(idea.outline) == HEADINGS


TEXTS = st.lists(GARBLED, max_size=6).map(tuple)
SUGGESTIONS = st.lists(
    st.builds(
        Suggestion,
        GARBLED,
        st.just("commercial"),
        TEXTS,
        st.one_of(TEXTS, st.lists(st.sampled_from([one.keyword for one in KEYWORDS])).map(tuple)),
    ),
    max_size=8,
)


@given(SUGGESTIONS, st.lists(GARBLED, max_size=4), st.sampled_from(["en", "zh"]))
def test_any_suggestions_become_ideas_that_serve_each_keyword_once(
    suggestions: list[Suggestion], taken: list[str], language: str
):
    ideas = ideas_of(*suggestions, taken=taken, language=language)
    assert 1 <= len(ideas) <= MOST
    served = [text for idea in ideas for text in idea.target_keywords]
    assert sorted(served) == [item.keyword for item in KEYWORDS]
    keys = [key_of(idea.title) for idea in ideas]
    assert len({*keys, *map(key_of, taken)}) == len(keys) + len(set(map(key_of, taken)))
    for idea in ideas:
        idea.model_dump_json()
        assert 0 < len(idea.title) <= TITLE
        assert 1 <= len(idea.outline) <= HEADINGS
        assert all(0 < len(heading) <= HEADING for heading in idea.outline)


def test_a_cluster_without_keywords_gets_an_idea_all_the_same():
    empty = ClusterItem("cl-1", "Keywords", "commercial", ())
    assert len(ideas_of(suggested("One"), suggested("Two"), cluster=empty)) == 1


def test_an_idea_like_one_before_or_like_one_of_the_site_is_not_made():
    at = ALIKE + 0.01
    cosines = np.array([[0, 1, at, 0], [0, at, 1, 0], [at, 0, 0, 1]], np.float32)
    assert unlike(["one", "two", "three"], ["there"], cosines) == [0]
    cosines = np.array([[0, 1, ALIKE, 0], [0, ALIKE, 1, 0], [0, 0, 0, 1]], np.float32)
    assert unlike(["one", "two", "three"], ["there"], cosines) == [0, 1, 2]


def test_when_all_are_too_like_the_least_like_whose_words_are_free_is_made():
    cosines = np.array([[0.99, 1, 0], [0.95, 0, 1]], np.float32)
    assert unlike(["one", "two"], ["there"], cosines) == [1]
    assert unlike(["one", "There!"], ["there"], cosines) == [0]


def test_the_only_idea_of_a_cluster_gets_a_title_that_the_site_does_not_have():
    (idea,) = ideas_of(suggested("Keywords"), taken=["keywords"])
    assert idea.title == "Keywords: Keyword A"
    (again,) = ideas_of(taken=["Keywords", idea.title])
    assert again.title == "Keywords: Keyword B"


@cache
def embedder() -> Embedder:
    return Embedder()


def test_titles_of_one_meaning_are_one_idea_in_english_and_two_clusters_share_none():
    guide, other = suggested("Cold Brew: A Guide", "keyword a"), suggested("A Guide to Cold Brew")
    far = suggested("How to Choose Running Shoes", "keyword b")
    ideas = ideas_of(guide, other, far, embed=embedder())
    assert [idea.title for idea in ideas] == [guide.title, far.title]
    clusters = [ClusterItem(one, one, "commercial", KEYWORDS) for one in ("cl-1", "cl-2")]
    planned = plan(
        [(one, (guide, far)) for one in clusters[:1]]
        + [(clusters[1], (other, suggested("Espresso at Home", "keyword c")))],
        "run-1",
        "en",
        embedder(),
    )
    assert [idea.title for idea in planned["cl-2"]] == ["Espresso at Home"]


def test_a_provider_is_shown_the_titles_of_the_site_that_are_nearest():
    titles = [f"Running Shoes, Part {at}" for at in range(60)]
    titles[40] = "Espresso Machines for Beginners"
    shown = nearest("Coffee Makers", titles, embedder())
    assert len(shown) == 50
    assert titles[40] in shown
    assert nearest("Coffee", titles[:50], meaningless) == tuple(titles[:50])


def test_what_the_local_provider_answers_needs_no_repair():
    keywords = [Keyword(f"kw-{at:03}", row["keyword"]) for at, row in enumerate(read_rows())]
    texts = {one.id: one for one in keywords}
    for group in cluster(keywords, embedder()):
        assert title_of(group.name, NAME) == group.name
        members = tuple(texts[one] for one in group.members)
        for idea in suggest(SuggestIdeas(group.name, group.intent, members), embedder()):
            assert title_of(idea.title, TITLE) == idea.title
            assert [title_of(one, HEADING) for one in idea.outline] == list(idea.outline)
            assert {*map(fold, idea.target_keywords)} <= {fold(one.text) for one in members}


def test_there_is_one_featured_prompt_and_no_section_twice():
    ideas = (
        ImageIdea("in_article", "**Basics:**", "one", "a" * 10),
        ImageIdea("in_article", "basics ", "two", ""),
        ImageIdea("Featured", "Basics", "three\x00", "word " * 40),
        ImageIdea("featured", "", "four", ""),
        ImageIdea("in_article", "Made Up", "five", ""),
        ImageIdea("in_article", "Code", "six", ""),
        ImageIdea("hero", "Steps", "seven", "\ud800"),
        ImageIdea("in_article", "More", "One.", ""),
        ImageIdea("in_article", "More", " ", ""),
    )
    prompts = to_prompts(ideas, DRAFT, "run-1")
    assert [(prompt.role, prompt.section, prompt.text) for prompt in prompts] == [
        ("featured", "", "three"),
        ("in_article", "Basics", "one"),
        ("in_article", "Steps", "seven"),
    ]
    assert [prompt.alt for prompt in prompts[1:]] == ["a" * 10, "Steps"]
    assert len(prompts[0].alt) <= ALT


def test_the_first_prompt_is_featured_when_none_says_so():
    (prompt,) = to_prompts((ImageIdea("in_article", "Basics", "one", ""),), DRAFT, "run-1")
    assert (prompt.role, prompt.section, prompt.alt) == ("featured", "", "Cold Brew")


def test_a_draft_without_a_described_image_is_rejected():
    with pytest.raises(AnswerRejected):
        to_prompts((ImageIdea("featured", "", "", ""),), DRAFT, "run-1")


def test_there_are_at_most_two_images_within_an_article():
    ideas = [ImageIdea("in_article", one, one, "") for one in ("Basics", "Steps", "More")]
    prompts = to_prompts((ImageIdea("featured", "", "one", ""), *ideas), DRAFT, "run-1")
    assert [prompt.section for prompt in prompts] == ["", "Basics", "Steps"]


IDEAS = st.lists(
    st.builds(
        ImageIdea,
        st.sampled_from(["featured", "in_article", "banner", ""]),
        st.one_of(st.sampled_from(["Basics", "Steps", "More", "Code"]), GARBLED),
        GARBLED,
        GARBLED,
    ),
    max_size=8,
)


@given(IDEAS)
def test_any_description_with_a_word_gives_one_featured_prompt_and_others_under_headings(
    ideas: list[ImageIdea],
):
    if not any(any(map(str.isalnum, idea.text)) for idea in ideas):
        with pytest.raises(AnswerRejected):
            to_prompts(tuple(ideas), DRAFT, "run-1")
        return
    prompts = to_prompts(tuple(ideas), DRAFT, "run-1")
    assert [prompt.role for prompt in prompts].count("featured") == 1
    assert len({prompt.id for prompt in prompts}) == len(prompts) <= 3
    inside = [prompt.section for prompt in prompts[1:]]
    assert len(set(inside)) == len(inside)
    assert set(inside) <= {"Basics", "Steps", "More"}
    for prompt in prompts:
        prompt.model_dump_json()
        assert 0 < len(prompt.text) <= TEXT
        assert 0 < len(prompt.alt) <= ALT


def test_headings_are_those_that_a_reader_sees():
    assert headings_of(DRAFT.body) == ["Basics", "Steps", "More"]


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("What Is a Gantt Chart?", "what-is-a-gantt-chart"),
        ("Crème Brûlée & Größe: A Buyer's Guide", "creme-brulee-grosse-a-buyers-guide"),
        (
            "How to Choose the Best Project Management Tools for Small Business",
            "how-to-choose-the-best-project-management-tools-for-small",
        ),
        ("x" * 80, "x" * 60),
    ],
)
def test_a_slug_is_short_ascii_and_ends_with_a_word(title: str, slug: str):
    assert slug_of(title) == slug


def test_a_title_without_latin_letters_has_a_slug_nevertheless():
    assert slug_of("冷萃咖啡") != slug_of("咖啡")
    assert slug_of("冷萃咖啡").isascii()


def test_metas_are_cut_at_a_word():
    assert cut("one  two\nthree", 60) == "one two three"
    assert cut("one two, three", 9) == "one two"
    assert cut("x" * 70, 60) == "x" * 60


def test_marks_are_no_words():
    assert words_in("## A - b\n\n| --- | c |\n") == 3
