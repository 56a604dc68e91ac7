"""The measures of benchmarks/content.py, against tables that were worked out by hand."""

import math

import numpy as np
import pytest

from benchmarks.content import (
    LABELLED,
    Made,
    adjusted_rand_index,
    coverage,
    diversity,
    entropy,
    gates,
    halves,
    intents,
    placeholders,
    read_rows,
    share,
    shingles,
    texts,
    v_measure,
)
from services.stage_workers.ai.model import Article, Group, Suggestion, WriteArticle
from services.stage_workers.quality.grammar import nobody


@pytest.mark.parametrize(
    ("truth", "found", "index"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 1, 2, 3], 0.0),
        # pairs together 1, of truth 1, of found 2, of all 6: (1 - 1/3) / (3/2 - 1/3)
        ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7),
        # pairs together 0, of truth 2, of found 2: (0 - 2/3) / (2 - 2/3)
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        # pairs together 4, of truth 6, of found 7, of all 15: (4 - 2.8) / (6.5 - 2.8)
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], 1.2 / 3.7),
        ([0, 0], [5, 5], 1.0),
    ],
)
def test_the_adjusted_rand_index_is_that_of_the_table(
    truth: list[int], found: list[int], index: float
):
    assert adjusted_rand_index(truth, found) == pytest.approx(index)
    assert adjusted_rand_index(found, truth) == pytest.approx(index)


@pytest.mark.parametrize(
    ("truth", "found", "value"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 0, 0, 0], 0.0),
        # independent: H(C) = H(K) = ln 2, together 2 ln 2
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.0),
        # H(C) = ln 2, H(K) and both together 1.5 ln 2: 2 (2.5 - 1.5) / 2.5
        ([0, 0, 1, 1], [0, 0, 1, 2], 0.8),
        # H(K) and both together 2 ln 2: 2 (3 - 2) / 3
        ([0, 0, 1, 1], [0, 1, 2, 3], 2 / 3),
        ([0, 0], [5, 5], 1.0),
    ],
)
def test_the_v_measure_is_that_of_the_table(truth: list[int], found: list[int], value: float):
    assert v_measure(truth, found) == pytest.approx(value)


def test_entropy_is_in_nats():
    assert entropy([1, 1, 2, 2]) == pytest.approx(math.log(2))
    assert entropy(["a"] * 5) == 0


def test_the_halves_share_no_topic_and_hold_every_keyword_once():
    rows = read_rows(LABELLED)
    chosen_on, measured = halves(rows)
    assert sorted(row["keyword"] for row in chosen_on + measured) == sorted(
        row["keyword"] for row in rows
    )
    topics = [{row["topic"] for row in half} - {"misc"} for half in (chosen_on, measured)]
    assert not topics[0] & topics[1]
    assert topics[0] == {"dog-training", "running", "solar"}
    assert halves(rows[::-1])[0] == chosen_on[::-1]


def made_of(*bodies: str) -> list[Made]:
    """One cluster with an idea and a draft for each body, about the keywords a b and c."""
    drafts = []
    for at, body in enumerate(bodies):
        idea = Suggestion(f"Title {at}", "informational", (), ("a b", "c"))
        ask = WriteArticle(idea.title, idea.intent, (), idea.target_keywords)
        drafts.append((idea, ask, Article(body, "Meta", "Description")))
    return [Made(Group("Name", "informational", ("1", "2")), ("a b", "c"), tuple(drafts))]


def test_coverage_folds_case_and_spaces_and_misses_what_is_not_there():
    rows = [{"keyword": "a b"}, {"keyword": "c"}, {"keyword": "d"}]
    assert coverage(rows, made_of("Of A  B."))["served_by_an_idea"] == round(2 / 3, 4)
    assert coverage(rows, made_of("Of A  B."))["in_the_draft"] == 0.5
    assert coverage(rows, made_of("Of A\nB and C."))["in_the_draft"] == 1


def test_shared_wording_is_the_share_of_runs_of_five_words():
    assert shingles("One, two three four five six.") == {
        ("one", "two", "three", "four", "five"),
        ("two", "three", "four", "five", "six"),
    }
    found = texts(made_of("one two three four five six", "zero one two three four five", "else"))
    assert found["highest_shared_wording"] == 0.5
    assert found["mean_shared_wording"] == pytest.approx(1 / 6, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "Hi {name}",
        "[Your brand]",
        "TODO: write",
        "Lorem ipsum",
        "- [ ] done",
        "<b>",
        "____",
        "None",
    ],
)
def test_what_a_template_leaves_is_counted(text: str):
    assert placeholders(text)
    assert texts(made_of(text))["template_placeholders"] > 0


def test_a_link_is_no_placeholder():
    assert not placeholders("See [Cold Brew](/cold-brew), and add the date.")


def test_titles_are_compared_within_clusters_and_in_all():
    def embed(titles: list[str]) -> np.ndarray:
        angles = {"Title 0": 0.0, "Title 1": 1.5, "Title 2": 0.5}
        return np.array([[math.cos(angles[t]), math.sin(angles[t])] for t in titles], np.float32)

    two, (one,) = made_of("", ""), made_of("", "", "")
    apart = Made(one.group, one.keywords, one.drafts[2:])
    found = diversity([*two, apart], embed)
    assert (found["ideas"], found["distinct_titles"]) == (3, 3)
    assert found["highest_similarity_in_a_cluster"] == pytest.approx(math.cos(1.5), abs=1e-4)
    assert found["highest_similarity"] == pytest.approx(math.cos(0.5), abs=1e-4)
    assert found["mean_similarity"] == pytest.approx(
        (math.cos(0.5) + math.cos(1) + math.cos(1.5)) / 3, abs=1e-4
    )


def test_the_gates_judge_a_draft_beside_the_others():
    body = "Of a b and c, many words. " * 40
    found = gates(made_of(body, body), nobody)
    assert found["pass_rate"] == 0
    assert found["failed"]["cannibalisation"] == found["failed"]["headings"] == 2


def test_intents_are_right_by_keyword_and_by_cluster():
    rows = [
        {"keyword": "a b", "intent": "informational"},
        {"keyword": "c", "intent": "commercial"},
    ]
    assert intents(rows, made_of("")) == {"of_keywords": 0.5, "by_cluster": 0.5}


def test_a_share_of_nothing_is_all():
    assert share([]) == 1
    assert share([True, False, False, False]) == 0.25
