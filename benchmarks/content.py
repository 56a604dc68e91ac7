"""How good is what the local provider makes? Takes labelled keywords through clusters to drafts.

Prints one JSON object: how its clusters agree with hand-made ones, how its intents do, how unlike
its ideas are, whether keywords are served and written, and what of a template is left. Run it as
`python -m benchmarks.content`; docs/local-provider.md says what the figures mean.
"""

import csv
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from events.brief import PLAIN
from events.ids import fold
from services.stage_workers.ai.local.articles import write
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.embeddings import Embedder
from services.stage_workers.ai.local.ideas import suggest
from services.stage_workers.ai.local.intents import intent_of
from services.stage_workers.ai.local.meanings import Embed
from services.stage_workers.ai.model import (
    Article,
    Group,
    Keyword,
    Link,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)
from services.stage_workers.quality.duplicates import shingles as sampled
from services.stage_workers.quality.grammar import Check
from services.stage_workers.quality.grammar_process import GrammarProcess
from services.stage_workers.quality.judge import judge
from services.stage_workers.quality.markdown import parse
from services.stage_workers.quality.unfinished import left_over
from services.stage_workers.quality.written import Neighbour, Neighbours, Written

DATA = Path(__file__).parent / "data"
LABELLED = DATA / "keywords-labelled.csv"
DEVELOPMENT = DATA / "keywords-development.csv"
LINKS = 3  # articles of the site that a draft may link to
RUN = 5  # words of a shingle
# What our own templates could leave, beside what the gate finds in anybody's text.
TEMPLATE = re.compile(r"\{\w*\}|\[(?![^\]]*\]\()[^\]]*\]|\bNone\b|<[^>]*>|_{3,}|\bX{2,}\b")

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Made:
    """One cluster with its ideas, each with the question for its draft and the draft."""

    group: Group
    keywords: tuple[str, ...]
    drafts: tuple[tuple[Suggestion, WriteArticle, Article], ...]


def adjusted_rand_index(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Return the agreement of two labellings, 1 for the same and about 0 for chance.

    Hubert and Arabie (1985): (sum C(n_ij, 2) - expected) / (mean of both sums - expected).
    """
    together = sum(math.comb(n, 2) for n in Counter(zip(truth, found, strict=True)).values())
    of_truth = sum(math.comb(n, 2) for n in Counter(truth).values())
    of_found = sum(math.comb(n, 2) for n in Counter(found).values())
    expected = of_truth * of_found / max(math.comb(len(truth), 2), 1)
    most = (of_truth + of_found) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)


def v_measure(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Return the harmonic mean of homogeneity and completeness, 0 to 1.

    Rosenberg and Hirschberg (2007): h = 1 - H(C|K) / H(C), c = 1 - H(K|C) / H(K); both are the
    mutual information over an entropy, so V = 2 (H(C) + H(K) - H(C, K)) / (H(C) + H(K)).
    """
    apart = entropy(truth) + entropy(found)
    joint = entropy(list(zip(truth, found, strict=True)))
    return 1.0 if apart == 0 else 2 * (apart - joint) / apart


def entropy(labels: Sequence[Hashable]) -> float:
    """Return Shannon's entropy of the labels' shares, in nats."""
    n = len(labels)
    return -sum(count / n * math.log(count / n) for count in Counter(labels).values())


def read_rows(path: Path = LABELLED) -> list[Row]:
    """Return the labelled keywords: keyword, topic, cluster and, in the labelled file, intent."""
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows that parameters may be chosen on, and the rows that are only measured.

    Topics go to one half and the other in turn, in the order of their SHA-256, so nobody chooses.
    The keywords without a topic (misc) are clusters of one, and are dealt out the same way.
    """
    side: dict[tuple[str, str], int] = {}
    for is_misc in (False, True):
        units = {unit(row) for row in rows if (row["topic"] == "misc") == is_misc}
        dealt = sorted(units, key=lambda one: hashlib.sha256(one[1].encode()).digest())
        side.update((one, at % 2) for at, one in enumerate(dealt))
    chosen_on = [row for row in rows if side[unit(row)] == 0]
    return chosen_on, [row for row in rows if side[unit(row)] == 1]


def unit(row: Row) -> tuple[str, str]:
    """Return what stays together in one half."""
    return row["topic"], row["cluster"] if row["topic"] == "misc" else row["topic"]


def keywords_of(rows: Sequence[Row]) -> list[Keyword]:
    """Return the rows as a site's keywords, without their labels."""
    return [Keyword(f"kw-{at:05}", row["keyword"]) for at, row in enumerate(rows)]


def clustering(rows: Sequence[Row], embed: Embed) -> dict[str, float]:
    """Return how the clusters of these rows alone agree with the hand-made ones."""
    keywords = keywords_of(rows)
    label = {
        member: at for at, group in enumerate(cluster(keywords, embed)) for member in group.members
    }
    truth = [row["cluster"] for row in rows]
    found = [label[keyword.id] for keyword in keywords]
    return {
        "keywords": len(rows),
        "clusters": len(set(found)),
        "hand_made_clusters": len(set(truth)),
        "ari": round(adjusted_rand_index(truth, found), 4),
        "v_measure": round(v_measure(truth, found), 4),
    }


def make(rows: Sequence[Row], embed: Embed) -> list[Made]:
    """Take the keywords through clusters and ideas to drafts, as the stages do."""
    keywords = keywords_of(rows)
    text = {keyword.id: keyword for keyword in keywords}
    ideas: list[tuple[Group, tuple[Keyword, ...], tuple[Suggestion, ...]]] = []
    taken: list[str] = []
    for group in cluster(keywords, embed):
        members = tuple(text[member] for member in group.members)
        question = SuggestIdeas(group.name, group.intent, members, taken=tuple(taken))
        ideas.append((group, members, suggest(question, embed)))
        taken += [idea.title for idea in ideas[-1][2]]
    links = [Link(title, f"/articles/{at}") for at, title in enumerate(taken)]
    made = []
    for group, members, suggestions in ideas:
        drafts = []
        for idea in suggestions:
            own = taken.index(idea.title)
            ask = WriteArticle(
                title=idea.title,
                intent=idea.intent,
                outline=idea.outline,
                target_keywords=idea.target_keywords,
                related=tuple(links[(own + step) % len(links)] for step in range(1, LINKS + 1)),
            )
            drafts.append((idea, ask, write(ask)))
        made.append(Made(group, tuple(keyword.text for keyword in members), tuple(drafts)))
    return made


def intents(rows: Sequence[Row], made: Sequence[Made]) -> dict[str, float]:
    """Return the share of keywords whose intent is right: by its own words, and by its cluster."""
    truth = {row["keyword"]: row["intent"] for row in rows}
    of_cluster = {text: one.group.intent for one in made for text in one.keywords}
    return {
        "of_keywords": share(intent_of(text) == truth[text] for text in truth),
        "by_cluster": share(of_cluster[text] == truth[text] for text in truth),
    }


def diversity(made: Sequence[Made], embed: Embed) -> dict[str, float]:
    """Return how alike titles are: cosines of the embedding model, within clusters and in all."""
    titles = [idea.title for one in made for idea, _, _ in one.drafts]
    of_cluster = [at for at, one in enumerate(made) for _ in one.drafts]
    vectors = embed(titles)
    left, right = np.triu_indices(len(titles), 1)
    cosines = (vectors @ vectors.T)[left, right]
    same = cosines[np.array(of_cluster)[left] == np.array(of_cluster)[right]]
    return {
        "ideas": len(titles),
        "distinct_titles": len({fold(title) for title in titles}),
        "highest_similarity_in_a_cluster": rounded(same.max(initial=0)),
        "mean_similarity_in_a_cluster": rounded(same.mean() if same.size else 0),
        "highest_similarity": rounded(cosines.max(initial=0)),
        "mean_similarity": rounded(cosines.mean() if cosines.size else 0),
    }


def coverage(rows: Sequence[Row], made: Sequence[Made]) -> dict[str, float]:
    """Return the share of keywords that an idea serves, and of these that its draft has as typed.

    Case and spaces make no difference.
    """
    drafts = [draft for one in made for draft in one.drafts]
    served = {fold(text) for idea, _, _ in drafts for text in idea.target_keywords}
    return {
        "served_by_an_idea": share(fold(row["keyword"]) in served for row in rows),
        "in_the_draft": share(
            fold(text) in fold(article.body)
            for idea, _, article in drafts
            for text in idea.target_keywords
        ),
    }


def texts(made: Sequence[Made]) -> dict[str, Any]:
    """Return the drafts' length in words, what of a template is left, and how alike two are.

    Alike are two drafts by the share of the one's runs of five words that the other has too.
    """
    articles = [article for one in made for _, _, article in one.drafts]
    said = [f"{one.body}\n{one.meta_title}\n{one.meta_description}" for one in articles]
    runs = [shingles(article.body) for article in articles]
    shared = [
        len(one & other) / max(len(one), 1)
        for at, one in enumerate(runs)
        for to, other in enumerate(runs)
        if at != to
    ]
    lengths = [len(article.body.split()) for article in articles]
    return {
        "words_fewest": min(lengths),
        "words_most": max(lengths),
        "words_mean": round(sum(lengths) / len(lengths)),
        "template_placeholders": sum(len(placeholders(text)) for text in said),
        "highest_shared_wording": rounded(max(shared, default=0)),
        "mean_shared_wording": rounded(sum(shared) / max(len(shared), 1)),
    }


def placeholders(text: str) -> list[str]:
    """Return what a template has left in an English text."""
    return [*TEMPLATE.findall(text), *left_over(text, "en")]


def gates(made: Sequence[Made], check: Check) -> dict[str, Any]:
    """Return the share of drafts that pass the quality gates beside all others of the site.

    `failed` counts the drafts by gate, `advice` those by advisory measure; `reading_ease` is
    Flesch's.
    """
    drafts = [draft for one in made for draft in one.drafts]
    runs = [set(sampled(parse(article.body), PLAIN.language)) for _, _, article in drafts]
    judged = []
    for at, (_, ask, article) in enumerate(drafts):
        others = [
            Neighbour(
                id=f"draft-{to}",
                title=other.title,
                keyword=next(iter(other.target_keywords), ""),
                path=f"/articles/{to}",
                shared=len(runs[at] & runs[to]),
            )
            for to, (_, other, _) in enumerate(drafts)
            if to != at
        ]
        written = Written(
            title=ask.title,
            body=article.body,
            meta_title=article.meta_title,
            meta_description=article.meta_description,
            keywords=ask.target_keywords,
            links=tuple(link.path for link in ask.related),
        )
        judged.append(judge(written, PLAIN, Neighbours(tuple(others)), check))
    measures = [measure for quality in judged for measure in quality.measures]
    ease = [one.value for one in measures if one.name == "readability" and one.value is not None]
    return {
        "pass_rate": share(quality.passed for quality in judged),
        "failed": Counter(one.name for one in measures if not one.passed and not one.advisory),
        "advice": Counter(one.name for one in measures if not one.passed and one.advisory),
        "grammar_hints": sum(one.value or 0 for one in measures if one.name == "grammar"),
        "reading_ease_lowest": min(ease),
        "reading_ease_mean": round(sum(ease) / len(ease), 1),
        "reading_ease_highest": max(ease),
    }


def shingles(body: str) -> frozenset[tuple[str, ...]]:
    """Return the runs of five words of a text."""
    words = re.findall(r"[\w'’]+", body.casefold())  # noqa: RUF001
    return frozenset(tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1))


def share(hits: Iterable[bool]) -> float:
    """Return the share of those that are true, 1 when there are none."""
    counted = Counter(hits)
    return rounded(counted[True] / counted.total()) if counted else 1.0


def rounded(value: float) -> float:
    """Return four digits after the point."""
    return round(float(value), 4)


def main() -> None:
    """Print all measures of the labelled keywords, and the clustering of each half."""
    rows, embed = read_rows(), Embedder()
    chosen_on, measured = halves(rows)
    made = make(rows, embed)
    check = GrammarProcess()
    result = {
        "clustering": {
            "all": clustering(rows, embed),
            "half_that_parameters_were_chosen_on": clustering(chosen_on, embed),
            "half_that_was_only_measured": clustering(measured, embed),
            "development_keywords": clustering(read_rows(DEVELOPMENT), embed),
        },
        "intent_accuracy": intents(rows, made),
        "ideas": diversity(made, embed),
        "keyword_coverage": coverage(rows, made),
        "drafts": texts(made),
        "quality_gates": gates(made, check),
    }
    check.close()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
