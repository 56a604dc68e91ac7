"""The local provider's groups: good enough on labelled keywords, and always the same."""

import asyncio
import random

import numpy as np
import pytest

from benchmarks.clustering import adjusted_rand_index, measure, read_rows, v_measure
from services.stage_workers.ai.local import embeddings
from services.stage_workers.ai.local.clustering import cluster, halves, labels_of, without_strays
from services.stage_workers.ai.local.embeddings import Embedder, token_ids, vocabulary, words
from services.stage_workers.ai.local.intents import intent_of
from services.stage_workers.ai.local.names import name_groups
from services.stage_workers.ai.local.provider import LocalProvider, tokens
from services.stage_workers.ai.model import ClusterKeywords, Keyword, ModelUnavailable

ROWS = read_rows()
KEYWORDS = tuple(Keyword(f"kw-{at:03}", row["keyword"]) for at, row in enumerate(ROWS))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_labelled_keywords_are_grouped_as_people_group_them(embedder: Embedder):
    scores = measure(ROWS, embedder, 1.3)
    assert scores["ari"] >= 0.60
    assert scores["v_measure"] >= 0.88


def test_the_scores_are_those_of_known_examples():
    assert adjusted_rand_index([0, 0, 1, 1], [1, 1, 0, 0]) == 1
    assert adjusted_rand_index([0, 0, 1, 2], [0, 0, 1, 1]) == pytest.approx(0.5714, abs=1e-4)
    assert v_measure([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(0.8)


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

    async def ask() -> list[object]:
        return [(await provider.answer(question)).value for _ in range(3)]

    first, *others = asyncio.run(ask())
    assert all(other is first for other in others)
    assert len(texts) == 20


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
    left, right = halves(vectors)
    assert sorted([*left, *right]) == list(range(len(vectors)))
    monkeypatch.setattr("services.stage_workers.ai.local.clustering.AT_ONCE", 100)
    assert len(labels_of(vectors)) == len(vectors)


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
