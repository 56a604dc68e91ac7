"""What becomes of answers in which a model forgot, invented or repeated something."""

import pytest

from services.stage_workers.ai.model import AnswerRejected, Group, ImageIdea, Suggestion
from services.stage_workers.items import ClusterItem, DraftItem, KeywordItem
from services.stage_workers.stage_1_clusters import to_clusters
from services.stage_workers.stage_2_ideas import to_ideas
from services.stage_workers.stage_4_content import cut, slug_of, words_in
from services.stage_workers.stage_5_prompts import to_prompts

KEYWORDS = tuple(KeywordItem(one, f"keyword {one}", None, None) for one in "abcd")
CLUSTER = ClusterItem("cl-1", "Keywords", "commercial", KEYWORDS)
DRAFT = DraftItem("draft-1", "Cold Brew", "informational", "text", ())


def members(*groups: Group) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item, cluster in to_clusters(groups, KEYWORDS, (), "run-1").items():
        found.setdefault(cluster.name, []).append(item)
    return found


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([("One", "ab"), ("Two", "cd")], {"One": ["a", "b"], "Two": ["c", "d"]}),
        ([("One", "abc")], {"One": ["a", "b", "c"], "keyword d": ["d"]}),
        ([("One", "abxyz"), ("Two", "cd")], {"One": ["a", "b"], "Two": ["c", "d"]}),
        ([("One", "abc"), ("Two", "cd")], {"One": ["a", "b", "c"], "Two": ["d"]}),
        (
            [("One", "aab"), ("Two", "ab"), (" ", "cd")],
            {"One": ["a", "b"], "keyword c": ["c", "d"]},
        ),
        ([], {f"keyword {one}": [one] for one in "abcd"}),
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


def test_every_keyword_is_a_target_and_invented_ones_are_not():
    suggestions = (
        Suggestion("First", "commercial", ("H", "h ", ""), ("Keyword  A", "made up")),
        Suggestion("Second", "informational", (), ("keyword b",)),
    )
    first, second = to_ideas(suggestions, CLUSTER, "run-1")
    assert first.target_keywords == ("keyword a", "keyword c", "keyword d")
    assert second.target_keywords == ("keyword b",)
    assert first.outline == ("h",)
    assert second.outline == ("Overview", "Frequently Asked Questions")


def test_titles_said_twice_or_not_at_all_are_dropped():
    one = Suggestion("A Title", "commercial", ("H",), ())
    again = Suggestion("a  title", "commercial", ("H",), ())
    empty = Suggestion("  ", "commercial", ("H",), ())
    assert [idea.title for idea in to_ideas((empty, one, again), CLUSTER, "run-1")] == ["A Title"]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_cluster_gets_one_idea_at_least_and_three_at_most(count: int):
    many = tuple(Suggestion(f"Title {at}", "commercial", ("H",), ()) for at in range(count))
    ideas = to_ideas(many, CLUSTER, "run-1")
    assert len(ideas) == min(max(count, 1), 3)
    assert len({idea.id for idea in ideas}) == len(ideas)
    assert {text for idea in ideas for text in idea.target_keywords} == {
        item.keyword for item in KEYWORDS
    }


def test_there_is_one_featured_prompt_and_no_section_twice():
    ideas = (
        ImageIdea("in_article", "Basics", "one", "a" * 10),
        ImageIdea("in_article", "basics ", "two", ""),
        ImageIdea("featured", "Basics", "three", "word " * 40),
        ImageIdea("featured", "", "four", ""),
        ImageIdea("in_article", "Steps", "five", ""),
        ImageIdea("in_article", "More", "six", ""),
        ImageIdea("in_article", "None", " ", ""),
    )
    prompts = to_prompts(ideas, DRAFT, "run-1")
    assert [(prompt.role, prompt.section, prompt.text) for prompt in prompts] == [
        ("featured", "", "three"),
        ("in_article", "Basics", "one"),
        ("in_article", "Steps", "five"),
    ]
    assert [prompt.alt for prompt in prompts[1:]] == ["a" * 10, "Steps"]
    assert len(prompts[0].alt) <= 125


def test_the_first_prompt_is_featured_when_none_says_so():
    (prompt,) = to_prompts((ImageIdea("in_article", "Basics", "one", ""),), DRAFT, "run-1")
    assert (prompt.role, prompt.section, prompt.alt) == ("featured", "", "Cold Brew")


def test_a_draft_without_a_described_image_is_rejected():
    with pytest.raises(AnswerRejected):
        to_prompts((ImageIdea("featured", "", "", ""),), DRAFT, "run-1")


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
