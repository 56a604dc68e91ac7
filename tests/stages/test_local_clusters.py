"""The local provider's groups: good enough on labelled keywords, and always the same."""

import asyncio
import random

import numpy as np
import pytest

from benchmarks.content import clustering, halves, read_rows
from services.stage_workers.ai.local import clustering as grouping
from services.stage_workers.ai.local import embeddings
from services.stage_workers.ai.local.clustering import cluster, labels_of, without_strays
from services.stage_workers.ai.local.embeddings import Embedder, token_ids, vocabulary, words
from services.stage_workers.ai.local.intents import intent_of
from services.stage_workers.ai.local.meanings import (
    by_words,
    content_words_in_order,
    drawn_together,
    nearest_rows,
    unit,
    without_common,
)
from services.stage_workers.ai.local.names import name_groups
from services.stage_workers.ai.local.provider import LocalProvider, tokens
from services.stage_workers.ai.model import ClusterKeywords, Keyword, ModelUnavailable

ROWS = read_rows()
KEYWORDS = tuple(Keyword(f"kw-{at:03}", row["keyword"]) for at, row in enumerate(ROWS))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_labelled_keywords_are_grouped_as_people_group_them(embedder: Embedder):
    scores = clustering(ROWS, embedder)
    assert scores["ari"] >= 0.70
    assert scores["v_measure"] >= 0.90


def test_keywords_that_nothing_was_chosen_on_are_grouped_as_well(embedder: Embedder):
    _, only_measured = halves(ROWS)
    scores = clustering(only_measured, embedder)
    assert scores["ari"] >= 0.68
    assert scores["v_measure"] >= 0.88


def test_the_order_of_the_keywords_changes_no_group(embedder: Embedder):
    shuffled = list(KEYWORDS)
    random.Random(7).shuffle(shuffled)
    assert cluster(shuffled, embedder) == cluster(KEYWORDS, embedder)


def test_every_keyword_is_in_one_group_and_names_are_distinct(embedder: Embedder):
    groups = cluster(KEYWORDS, embedder)
    assert sorted(one for group in groups for one in group.members) == [k.id for k in KEYWORDS]
    assert len({group.name for group in groups}) == len(groups)


def test_a_vector_is_the_same_alone_and_in_company(embedder: Embedder):
    texts = [keyword.text for keyword in KEYWORDS[:40]]
    together = embedder(texts)
    alone = Embedder()(texts[3:4])
    assert np.array_equal(alone[0], together[3])
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_stage_is_grouped_once_for_all_its_batches(monkeypatch: pytest.MonkeyPatch):
    texts: list[str] = []
    learn = Embedder._learn
    monkeypatch.setattr(Embedder, "_learn", lambda self, new: (texts.extend(new), learn(self, new)))
    provider, question = LocalProvider(), ClusterKeywords(KEYWORDS[:20])
    provider.embed = Embedder()  # which knows no text yet, as the shared one may

    async def ask() -> list[object]:
        return [await provider.answer(question, []) for _ in range(3)]

    first, *others = asyncio.run(ask())
    assert all(other is first for other in others)
    assert len(texts) == len(set(texts))
    assert {keyword.text for keyword in KEYWORDS[:20]} <= set(texts)


def test_a_model_file_of_other_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embeddings, "MODEL_SHA256", "0" * 64)
    with pytest.raises(ModelUnavailable):
        Embedder()(["a"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Crème brûlée!", ["creme", "brulee", "!"]),
        ("a\u200bb\tc\u00a0d", ["ab", "c", "d"]),
        ("冷brew", ["冷", "brew"]),
        ("a/b-test", ["a", "/", "b", "-", "test"]),
        ("", []),
    ],
)
def test_words_are_split_as_the_model_was_trained(text: str, found: list[str]):
    assert words(text) == found


def test_word_pieces_have_the_ids_of_the_published_vocabulary():
    assert len(vocabulary()) == 30_522
    assert token_ids("embeddings", vocabulary()) == [101, 7861, 8270, 4667, 2015, 102]
    assert token_ids("x" * 101, vocabulary()) == [101, 100, 102]
    assert len(token_ids("word " * 500, vocabulary())) == 256


def test_few_or_no_keywords_are_grouped_too(embedder: Embedder):
    assert cluster((), embedder) == ()
    (group,) = cluster(KEYWORDS[:1], embedder)
    assert group.members == ("kw-000",)


def test_a_long_list_is_halved_before_it_is_grouped(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
):
    vectors = embedder([keyword.text for keyword in KEYWORDS])
    left, right = grouping.halves(vectors)
    assert sorted([*left, *right]) == list(range(len(vectors)))
    monkeypatch.setattr("services.stage_workers.ai.local.clustering.AT_ONCE", 100)
    assert len(labels_of(vectors)) == len(vectors)


def test_words_that_few_keywords_have_count_for_more(embedder: Embedder):
    texts = ("solar panel cost", "solar panel price", "solar panel cleaning")
    cost, price, cleaning = by_words(texts, embedder)
    shared = embedder(["solar panel"])[0]
    assert cost @ price > cost @ cleaning
    assert all(
        row @ shared < whole @ shared
        for row, whole in zip(by_words(texts, embedder), embedder(texts), strict=True)
    )


def test_small_words_have_no_part_in_a_keywords_words():
    assert content_words_in_order("how to clean a solar panel") == ["clean", "solar", "panel"]
    assert content_words_in_order("what is it") == ["what", "is", "it"]
    assert content_words_in_order("???") == ["???"]


def test_what_all_keywords_have_in_common_says_nothing():
    common = np.array([[3, 1], [3, -1]] * 50, np.float32)
    assert np.allclose(without_common(unit(common))[:2], [[0.14, 0.99], [0.14, -0.99]], atol=0.02)


def test_a_keyword_moves_towards_the_nearest_others_and_not_towards_the_rest():
    near = np.array([[1, 0.1 * at] for at in range(8)], np.float32)
    vectors = unit(np.concatenate([near, -near]))
    moved = drawn_together(vectors)
    before, after = vectors @ vectors.T, moved @ moved.T
    assert after[0, 7] > before[0, 7]
    assert after[0, 8] <= before[0, 8] + 1e-5
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)


def test_the_nearest_rows_are_found_block_by_block(monkeypatch: pytest.MonkeyPatch):
    vectors = unit(np.random.default_rng(7).standard_normal((40, 6)).astype(np.float32))
    rows, cosines = nearest_rows(vectors)
    monkeypatch.setattr("services.stage_workers.ai.local.meanings.BLOCK", 7)
    again, _ = nearest_rows(vectors)
    assert [set(row) for row in rows] == [set(row) for row in again]
    every = vectors @ vectors.T
    np.fill_diagonal(every, -1)
    assert np.allclose(np.sort(cosines, 1), np.sort(every, 1)[:, -5:])


def test_what_is_near_nothing_leaves_its_cluster():
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert without_strays(vectors, [0, 0, 0]) == [0, 0, 1]


def test_navigational_keywords_stand_apart_by_where_they_lead(embedder: Embedder):
    texts = ("asana login", "asana sign in", "trello login", "asana alternatives")
    groups = cluster([Keyword(text, text) for text in texts], embedder)
    assert {group.members for group in groups if group.intent == "navigational"} == {
        ("asana login", "asana sign in"),
        ("trello login",),
    }


@pytest.mark.parametrize(
    ("keyword", "given", "intent"),
    [
        ("gmail sign in", None, "navigational"),
        ("how much do solar panels cost", None, "informational"),
        ("buy coffee beans online", None, "transactional"),
        ("best espresso machine", None, "commercial"),
        ("cold brew ratio", None, "informational"),
        ("project timeline template download", None, "transactional"),
        ("best espresso machine", "Transactional", "transactional"),
        ("best espresso machine", "unsure", "commercial"),
    ],
)
def test_intents_follow_from_the_words_unless_given(keyword: str, given: str | None, intent: str):
    assert intent_of(keyword, given) == intent


def test_names_are_what_a_group_shares_and_others_do_not():
    groups = [
        ["gantt chart template", "what is a gantt chart", "gantt chart in excel"],
        ["project budget template", "project plan template", "project charter template"],
        ["vpn for travel"],
    ]
    assert name_groups(groups) == ["Gantt Chart", "Project Template", "VPN for Travel"]


def test_usage_is_estimated_from_letters():
    assert tokens(ClusterKeywords((Keyword("k", "abcdefg"),))) == 2
    assert tokens(b"bytes are no text") == 0
