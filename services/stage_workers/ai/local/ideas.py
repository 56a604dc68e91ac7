"""Suggests articles for a cluster: which keywords each serves, its title and its outline."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from events.content import Intent
from services.stage_workers.ai.local.embeddings import Vectors
from services.stage_workers.ai.local.forms import ASKING
from services.stage_workers.ai.local.intents import intent_of, intent_of_group
from services.stage_workers.ai.local.meanings import Embed
from services.stage_workers.ai.local.names import content_words, head_term, plain
from services.stage_workers.ai.local.titles import (
    first_free,
    form_of,
    heading_of,
    is_question,
    titles_of,
)
from services.stage_workers.ai.model import Keyword, SuggestIdeas, Suggestion

TWO_FROM = 8  # keywords; a cluster of as many gets two articles
AT_MOST = 8  # keywords of an article when there are two, unless both would be full
SHARE = 0.6  # of the keywords, the most that one of two articles takes
HEADINGS = 6  # between the opening and the frequent questions
FEWEST = 3
SHORT = 4  # words of a cluster's name that fits into a heading
SAME = 0.9  # cosine of titles that a reader takes for the same
ALIKE = 0.7  # share of words that two headings may not have in common
FAQ = "Frequently Asked Questions"

CLOSINGS: dict[Intent, str] = {
    "informational": "Key Points to Remember",
    "commercial": "How to Decide",
    "transactional": "Next Steps",
    "navigational": "If You Are Still Stuck",
}
BROAD = ("how to", "best", "question", "versus", "price", "template", "alternatives")
BUYING = ("order", "buy online", "deal", "price", "near me", "purchase")

Numbers = npt.NDArray[np.float32]


def suggest(question: SuggestIdeas, embed: Embed) -> tuple[Suggestion, ...]:
    """Return one suggestion, two for a large cluster, none for an empty one.

    Every keyword is a target of one of them. The order of the keywords changes nothing.
    """
    volumes = dict(zip((k.id for k in question.keywords), question.volumes, strict=False))
    keywords = sorted({plain(k.text): k for k in question.keywords}.values(), key=lambda k: k.text)
    if not keywords:
        return ()
    vectors = embed([keyword.text for keyword in keywords])
    weights = main_scores(keywords, vectors, volumes, question.intent)
    known = list(question.taken)
    taken = {title.casefold() for title in known}
    suggestions = []
    for rows in angles(vectors, weights):
        part = sorted(rows, key=lambda row: -float(weights[row]))
        chosen = [keywords[row] for row in part]
        title = first_free(unlike_first(_titles(chosen), known, embed), taken)
        taken.add(title.casefold())
        known.append(title)
        intent = question.intent if len(part) == len(keywords) else _intent(chosen, question)
        suggestions.append(
            Suggestion(
                title=title,
                intent=intent,
                outline=outline_of([k.text for k in chosen], title, question.cluster, intent),
                target_keywords=tuple(keyword.text for keyword in chosen),
            )
        )
    return tuple(suggestions)


def main_scores(
    keywords: Sequence[Keyword],
    vectors: Vectors,
    volumes: dict[str, int | None],
    intent: Intent,
) -> Numbers:
    """Return how well each keyword would stand for all: the most searched one, or the most central.

    Without volumes: cosine to the centroid, more with the head term, the cluster's intent and a
    form that an article is easily written for, less per word. The weights were chosen by reading
    the titles of 110 clusters.
    """
    head = head_term([keyword.text for keyword in keywords])
    centre = vectors.mean(0)
    scores: Numbers = vectors @ (centre / max(float(np.linalg.norm(centre)), 1e-9))
    for row, keyword in enumerate(keywords):
        text = plain(keyword.text)
        scores[row] += 0.06 * (head in text) - 0.03 * len(text.split())
        scores[row] += 0.08 * (form_of(text).name in BROAD)
        scores[row] += 0.05 * (intent_of(keyword.text, keyword.intent) == intent)
        scores[row] += 10 * (volumes.get(keyword.id) or 0) / (1 + max(_known(volumes)))
    return scores


def angles(vectors: Vectors, scores: Numbers) -> list[list[int]]:
    """Return the rows that each article serves: all, or two lots round two unlike keywords."""
    count = len(vectors)
    if count < TWO_FROM:
        return [list(range(count))]
    first = int(scores.argmax())
    to_first = vectors @ vectors[first]
    second = int((2 * vectors @ vectors.mean(0) - to_first).argmax())
    second = second if second != first else int(to_first.argmin())
    leaning = to_first - vectors @ vectors[second]
    full = max(min(AT_MOST, math.ceil(SHARE * count)), math.ceil(count / 2))
    lots: tuple[list[int], list[int]] = ([first], [second])
    others = [row for row in range(count) if row not in (first, second)]
    for row in sorted(others, key=lambda row: (-abs(float(leaning[row])), row)):
        near, far = lots if leaning[row] >= 0 else lots[::-1]
        (near if len(near) < full else far).append(row)
    return [sorted(lot) for lot in lots]


def outline_of(
    keywords: Sequence[str], title: str, cluster: str, intent: Intent
) -> tuple[str, ...]:
    """Return the H2 headings for the keywords, of which the first is the article's own.

    None of them repeats what the title says.
    """
    form = form_of(keywords[0])
    opening, closing = _opening(form.name, cluster, intent), _closing(form.name, intent)
    opening = "At a Glance" if opening in title else opening
    closing = "Next Steps" if closing in title else closing
    known = [opening, closing, heading_of(keywords[0])]
    middle: list[str] = []
    for heading in (heading_of(text) for text in keywords[1:] if not is_question(text)):
        if len(middle) < HEADINGS and not any(_alike(heading, other) for other in known):
            middle.append(heading)
            known.append(heading)
    wanted = max(FEWEST - len(middle), 0)
    spare = [
        one for one in form.sections if one not in title and not any(_alike(one, k) for k in known)
    ]
    return (opening, *spare[:wanted], *middle, FAQ, closing)


def unlike_first(titles: Sequence[str], known: Sequence[str], embed: Embed) -> list[str]:
    """Return the titles that say something else than the known ones, then the others.

    The others are in the order of their highest cosine to one that is known.
    """
    if not known or not titles:
        return list(titles)
    nearest = (embed(titles) @ embed(known).T).max(1)
    ranks = {title: max(float(cosine), SAME) for title, cosine in zip(titles, nearest, strict=True)}
    return sorted(titles, key=lambda title: ranks[title])


def _titles(keywords: Sequence[Keyword]) -> list[str]:
    return [title for keyword in keywords[:3] for title in titles_of(keyword.text)]


def _intent(keywords: Sequence[Keyword], question: SuggestIdeas) -> Intent:
    votes = [(keyword.text, keyword.intent) for keyword in keywords]
    return intent_of_group([*votes, (question.cluster, question.intent)])


def _known(volumes: dict[str, int | None]) -> list[int]:
    return [0, *(volume for volume in volumes.values() if volume)]


def _opening(form: str, cluster: str, intent: Intent) -> str:
    if intent == "navigational":
        return "Before You Start"
    if form == "price":
        return "What You Get and What It Costs"
    if intent == "commercial" and form not in ("versus", "difference"):
        return "What to Look For"
    if intent == "transactional" and form in BUYING:
        return "What You Get and What It Costs"
    words = cluster.lower().split()
    is_topic = 0 < len(words) <= SHORT and words[0] not in ASKING | {
        "best",
        "top",
        "buy",
    }
    return f"{cluster} at a Glance" if is_topic and "vs." not in words else "At a Glance"


def _closing(form: str, intent: Intent) -> str:
    if intent == "transactional" and form in BUYING:
        return "Before You Commit"
    return CLOSINGS[intent]


def _alike(one: str, other: str) -> bool:
    if one.casefold() == other.casefold():
        return True
    left, right = content_words(one), content_words(other)
    return len(left & right) > ALIKE * max(len(left | right), 1)
