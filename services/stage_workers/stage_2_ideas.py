"""Stage 2: topic clusters to content ideas, by AI."""

from collections.abc import Iterable
from dataclasses import dataclass

from events.content import AiCall, Fact, Idea
from events.ids import derive, fold
from services.stage_workers.ai.model import Keyword, Provider, SuggestIdeas, Suggestion
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, ClusterItem, ReadItems

MOST = 3  # ideas for one cluster
OUTLINE = (
    "Overview",
    "Frequently Asked Questions",
)  # for a suggestion without headings


@dataclass(frozen=True)
class MakeIdeas:
    """Asks for articles that serve the clusters, and makes sure that they serve every keyword."""

    read: ReadItems[ClusterItem]
    provider: Provider

    number = 2

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return ideas whose titles are unlike each other's and the site's others."""
        ask = Ask(self.provider, batch.prices, calls)

        async def ideas_of(cluster: ClusterItem) -> tuple[Idea, ...]:
            return to_ideas(await ask(question_about(cluster)), cluster, batch.run_id)

        clusters = await self.read(batch)
        work = await each([(cluster.id, cluster) for cluster in clusters], ideas_of)
        taken = [title for cluster in clusters for title in cluster.siblings]
        return Work(work.outcomes, distinct(work.made, taken))


def question_about(cluster: ClusterItem) -> SuggestIdeas:
    """Return the question for one cluster."""
    keywords = (Keyword(item.id, item.keyword, item.intent) for item in cluster.keywords)
    return SuggestIdeas(
        cluster=cluster.name,
        intent=cluster.intent,
        keywords=tuple(keywords),
        volumes=tuple(item.volume for item in cluster.keywords),
        taken=cluster.siblings,
    )


def to_ideas(
    suggestions: tuple[Suggestion, ...], cluster: ClusterItem, run_id: str
) -> tuple[Idea, ...]:
    """Return one idea at least, three at most; each keyword of the cluster is a target of one.

    Titles said twice and keywords that the cluster does not have are dropped; keywords that no
    suggestion took go to the first. Without a usable suggestion the cluster's name is the title.
    """
    usable = {fold(one.title): one for one in reversed(suggestions) if one.title.strip()}
    chosen = [one for one in suggestions if usable.get(fold(one.title)) is one][:MOST]
    if not chosen:
        chosen = [Suggestion(cluster.name, cluster.intent, OUTLINE, ())]
    texts = {fold(item.keyword): item.keyword for item in cluster.keywords}
    targets = [known(one.target_keywords, texts) for one in chosen]
    served = {text for target in targets for text in target}
    targets[0] += [text for text in texts.values() if text not in served]
    return tuple(
        Idea(
            id=derive("idea", run_id, 2, cluster.id, " ".join(one.title.split())),
            cluster_id=cluster.id,
            title=" ".join(one.title.split()),
            intent=one.intent,
            outline=tuple(known(one.outline)) or OUTLINE,
            target_keywords=tuple(target),
        )
        for one, target in zip(chosen, targets, strict=True)
    )


def known(texts: Iterable[str], allowed: dict[str, str] | None = None) -> list[str]:
    """Return the texts once each, spaces folded, as they are written in `allowed` where given."""
    found = {fold(text): " ".join(text.split()) for text in texts if text.strip()}
    if allowed is None:
        return list(found.values())
    return [allowed[text] for text in found if text in allowed]


def distinct(made: Iterable[Fact], taken: Iterable[str]) -> tuple[Fact, ...]:
    """Return the ideas with a number after each title that another idea of the site has.

    Clusters are asked about at once, so two of them may get the same title. Ids stay as they are.
    """
    used = {fold(title) for title in taken}
    renamed: list[Fact] = []
    for fact in made:
        if not isinstance(fact, Idea):
            renamed.append(fact)
            continue
        title, number = fact.title, 2
        while fold(title) in used:
            title, number = f"{fact.title} ({number})", number + 1
        used.add(fold(title))
        renamed.append(fact if title == fact.title else fact.model_copy(update={"title": title}))
    return tuple(renamed)
