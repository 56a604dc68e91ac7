"""Stage 2: topic clusters to content ideas, by AI."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from events.brief import Brief, is_english
from events.content import AiCall, Idea
from events.ids import derive, fold
from services.stage_workers.ai.model import Keyword, ProviderOf, SuggestIdeas, Suggestion
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, ClusterItem, ReadItems
from services.stage_workers.lines import apart, cut, first_of_each, key_of, line, title_of
from services.stage_workers.threads import in_thread

MOST = 3  # ideas for one cluster
LOOKED_AT = 20  # suggestions of one answer
HEADINGS = 12
TITLE, HEADING = 120, 100  # characters
ALIKE = 0.9  # cosine of two titles above which they are the same article
NEAREST = 50  # titles of the site that the provider is shown
OUTLINE = ("Overview", "Frequently Asked Questions")  # for a suggestion without headings

Cosines = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Cosines]


@dataclass(frozen=True)
class MakeIdeas:
    """Asks for articles that serve the clusters, and makes sure that they serve every keyword.

    `embed` returns a unit vector per text. It knows English only (it finds Chinese titles on coffee
    and on shoes alike, cosine .995), so in other languages titles are compared by their words alone
    and what no suggestion took goes to the first.
    """

    read: ReadItems[ClusterItem]
    provider: ProviderOf
    embed: Embed

    number = 2

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return ideas whose titles are unlike each other's and the site's others.

        Clusters are asked about at once and answers judged in the order of the batch, so that an
        idea of one is unlike those of another.
        """
        ask = await Ask.of(self.provider, batch, calls)
        embed = self.embed if is_english(batch.brief.language) else meaningless
        answers: dict[str, tuple[Suggestion, ...]] = {}

        async def suggestions_for(cluster: ClusterItem) -> tuple[Idea, ...]:
            question = await in_thread(question_about, cluster, batch.brief, embed)
            answers[cluster.id] = await ask(question)
            return ()

        clusters = {cluster.id: cluster for cluster in await self.read(batch)}
        work = await each(list(clusters.items()), suggestions_for, batch.seconds)
        made = await in_thread(
            plan,
            [
                (clusters[outcome.item], answers[outcome.item])
                for outcome in work.outcomes
                if outcome.error is None
            ],
            batch.run_id,
            batch.brief.language,
            embed,
        )
        return replace(
            work,
            outcomes=tuple(
                one.model_copy(update={"made": tuple(idea.id for idea in made.get(one.item, ()))})
                for one in work.outcomes
            ),
            made=tuple(idea for ideas in made.values() for idea in ideas),
        )


def question_about(cluster: ClusterItem, brief: Brief, embed: Embed) -> SuggestIdeas:
    """Return the question for one cluster, with the site's titles that are nearest to it."""
    return SuggestIdeas(
        cluster=cluster.name,
        intent=cluster.intent,
        keywords=tuple(Keyword(item.id, item.keyword, item.intent) for item in cluster.keywords),
        volumes=tuple(item.volume for item in cluster.keywords),
        taken=nearest(cluster.name, cluster.siblings, embed),
        brief=brief,
    )


def nearest(text: str, titles: Sequence[str], embed: Embed) -> tuple[str, ...]:
    """Return the fifty titles that are nearest to the text in meaning, in their order."""
    if len(titles) <= NEAREST:
        return tuple(titles)
    cosines = embed(titles) @ embed([text])[0]
    rows = np.argsort(-cosines, kind="stable")[:NEAREST]
    return tuple(titles[row] for row in sorted(rows))


def plan(
    answers: Sequence[tuple[ClusterItem, tuple[Suggestion, ...]]],
    run_id: str,
    language: str,
    embed: Embed,
) -> dict[str, tuple[Idea, ...]]:
    """Return the ideas of each cluster, by its id: unlike those before it and the site's others."""
    taken = list(dict.fromkeys(title for cluster, _ in answers for title in cluster.siblings))
    ideas: dict[str, tuple[Idea, ...]] = {}
    for cluster, suggestions in answers:
        ideas[cluster.id] = to_ideas(suggestions, cluster, run_id, taken, language, embed)
        taken += [idea.title for idea in ideas[cluster.id]]
    return ideas


def to_ideas(
    suggestions: Sequence[Suggestion],
    cluster: ClusterItem,
    run_id: str,
    taken: Sequence[str],
    language: str,
    embed: Embed,
) -> tuple[Idea, ...]:
    """Return one idea at least, three at most; each keyword of the cluster is a target of one.

    Dropped are suggestions that are too like another or one of the `taken`, those that serve no
    keyword which another does not, and keywords that the cluster does not have. Keywords that no
    suggestion took go to the one with the nearest title. Without a usable suggestion the cluster's
    name is the title.
    """
    usable = usable_of(suggestions, language) or [plain_one(cluster, language)]
    titles = [one.title for one in usable]
    vectors = embed([*taken, *titles])
    chosen = [usable[at] for at in unlike(titles, taken, vectors[len(taken) :] @ vectors.T)]
    keywords = [item.keyword for item in cluster.keywords]
    near = embed(keywords) @ embed([one.title for one in chosen]).T
    targets = shared_out(keywords, [one.target_keywords for one in chosen], near)
    lots = [lot for lot in zip(chosen, targets, strict=True) if lot[1]] or [(chosen[0], [])]
    if len(lots) == 1:  # it may be the one that is left of several which were all too like
        used = {key_of(title) for title in taken}
        title = apart(lots[0][0].title, keywords, used, TITLE)
        lots = [(replace(lots[0][0], title=title), lots[0][1])]
    return tuple(
        Idea(
            id=derive("idea", run_id, 2, cluster.id, one.title),
            cluster_id=cluster.id,
            title=one.title,
            intent=one.intent,
            outline=outline_of(one, language),
            target_keywords=tuple(target),
        )
        for one, target in lots
    )


def plain_one(cluster: ClusterItem, language: str) -> Suggestion:
    """Return what is written for a cluster that nothing usable was suggested for."""
    title = title_of(cluster.name, TITLE, language) or cut(line(cluster.name), TITLE)
    return Suggestion(title, cluster.intent, OUTLINE, ())


def usable_of(suggestions: Sequence[Suggestion], language: str) -> list[Suggestion]:
    """Return the suggestions that have a title, cleaned, each title once."""
    found: dict[str, Suggestion] = {}
    for one in suggestions[:LOOKED_AT]:
        if title := title_of(one.title, TITLE, language):
            found.setdefault(key_of(title), replace(one, title=title))
    return list(found.values())


def unlike(titles: Sequence[str], taken: Sequence[str], cosines: Cosines) -> list[int]:
    """Return the rows of at most three titles that differ from the taken and from each other.

    `cosines` has a row per title; its columns are the taken and then the titles. When all are too
    near, it is the least near one, if possible one whose words are not taken.
    """
    used = {key_of(title) for title in taken}
    columns, chosen = list(range(len(taken))), list[int]()
    for row, title in enumerate(titles):
        is_new = key_of(title) not in used and not (cosines[row, columns] > ALIKE).any()
        if is_new and len(chosen) < MOST:
            chosen.append(row)
            columns.append(len(taken) + row)
    if chosen:
        return chosen
    nearness = cosines[:, : len(taken)].max(1)
    rows = range(len(titles))
    return [min(rows, key=lambda row: (key_of(titles[row]) in used, float(nearness[row])))]


def shared_out(
    keywords: Sequence[str], claims: Sequence[Sequence[str]], near: Cosines
) -> list[list[str]]:
    """Return the keywords of each claim: each goes to the first that names it, or to the nearest.

    `near` has a row per keyword and a column per claim. Two articles for one keyword would compete
    with each other in a search.
    """
    exact, loose = dict[str, int](), dict[str, int]()
    for at, claim in enumerate(claims):
        for text in claim:
            exact.setdefault(fold(text), at)
            loose.setdefault(key_of(title_of(text, TITLE)), at)
    lots: list[list[str]] = [[] for _ in claims]
    for row, text in enumerate(keywords):
        at = exact.get(fold(text), loose.get(key_of(text), int(near[row].argmax())))
        lots[at].append(text)
    return lots


def outline_of(suggestion: Suggestion, language: str) -> tuple[str, ...]:
    """Return at most twelve headings, each once, none of which is the title."""
    headings = [title_of(one, HEADING, language) for one in suggestion.outline]
    own = key_of(suggestion.title)
    kept = [one for one in first_of_each(headings) if key_of(one) != own]
    return tuple(kept[:HEADINGS]) or OUTLINE


def meaningless(texts: Sequence[str]) -> Cosines:
    """Return vectors by which nothing is like anything, where meanings are not compared."""
    return np.zeros((len(texts), 1), np.float32)
