"""Stage 1: keywords to topic clusters, by AI. Every batch groups the stage's whole list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.content import AiCall, Cluster, Intent, Outcome
from events.ids import derive
from services.stage_workers.ai.model import (
    AnswerRejected,
    ClusterKeywords,
    Group,
    Keyword,
    ModelUnavailable,
    Provider,
)
from services.stage_workers.batch import Ask, Work
from services.stage_workers.items import Batch, KeywordItem, ReadItems

INTENTS: Mapping[str, Intent] = {
    "informational": "informational",
    "commercial": "commercial",
    "transactional": "transactional",
    "navigational": "navigational",
}


@dataclass(frozen=True)
class MakeClusters:
    """Reports the membership of the batch's own keywords in clusters of the whole stage.

    Batch by batch, related keywords would land in different clusters, so `read_stage` returns all
    keywords of the stage, in the order of its items. One question a batch is asked and paid.
    """

    read: ReadItems[KeywordItem]
    read_stage: ReadItems[KeywordItem]
    provider: Provider

    number = 1

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return an outcome per keyword; when the question fails, all fail with its error."""
        own = await self.read(batch)
        every = await self.read_stage(batch)
        keywords = tuple(Keyword(item.id, item.keyword, item.intent) for item in every)
        try:
            groups = await Ask(self.provider, batch.prices, calls)(ClusterKeywords(keywords))
        except (ModelUnavailable, AnswerRejected) as error:
            return Work(tuple(Outcome(item=item.id, error=str(error)) for item in own), ())
        return membership(own, to_clusters(groups, every, own, batch.run_id))


def to_clusters(
    groups: Sequence[Group],
    every: Sequence[KeywordItem],
    own: Sequence[KeywordItem],
    run_id: str,
) -> dict[str, Cluster]:
    """Return the cluster of each keyword of the stage, by keyword id.

    Ids that the provider invented are dropped, a keyword in two groups stays in the first, and a
    forgotten one gets a cluster of its own. The id follows from the members, in any order.
    """
    items = {item.id: item for item in (*every, *own)}
    order = {item_id: at for at, item_id in enumerate(items)}
    clusters: dict[str, Cluster] = {}
    for group in groups:
        members = [one for one in dict.fromkeys(group.members) if one in items]
        free = [one for one in members if one not in clusters]
        if not free:
            continue
        first = min(free, key=order.__getitem__)
        name = " ".join(group.name.split()) or items[first].keyword
        cluster = cluster_of(run_id, name, group.intent, free, first)
        clusters |= dict.fromkeys(free, cluster)
    for item in items.values():
        if item.id not in clusters:
            intent = INTENTS.get((item.intent or "").lower(), "informational")
            clusters[item.id] = cluster_of(run_id, item.keyword, intent, [item.id], item.id)
    return clusters


def cluster_of(
    run_id: str, name: str, intent: Intent, members: Sequence[str], first: str
) -> Cluster:
    """Return the fact, with an id that follows from the run and the members."""
    cluster_id = derive("cluster", run_id, 1, *sorted(members))
    return Cluster(id=cluster_id, name=name, intent=intent, first=first)


def membership(own: Sequence[KeywordItem], clusters: Mapping[str, Cluster]) -> Work:
    """Return an outcome for each of the batch's keywords, and their clusters, once each."""
    found = [clusters[item.id] for item in own]
    return Work(
        outcomes=tuple(
            Outcome(item=item.id, made=(cluster.id,))
            for item, cluster in zip(own, found, strict=True)
        ),
        made=tuple({cluster.id: cluster for cluster in found}.values()),
    )
