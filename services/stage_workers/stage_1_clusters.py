"""Stage 1: keywords to topic clusters, by AI. Every batch groups the stage's whole list."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from events.content import AiCall, Cluster, Intent, Outcome
from events.ids import derive
from services.stage_workers.ai.model import (
    ClusterKeywords,
    Group,
    ItemFailed,
    Keyword,
    ProviderHalted,
    ProviderOf,
)
from services.stage_workers.batch import Ask, Work, too_slow
from services.stage_workers.items import Batch, KeywordItem, ReadItems
from services.stage_workers.lines import apart, cut, key_of, line, title_of

NAME = 80  # characters
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
    `read_names` returns the names of the site's clusters, by id.
    """

    read: ReadItems[KeywordItem]
    read_stage: ReadItems[KeywordItem]
    read_names: Callable[[Batch], Awaitable[Mapping[str, str]]]
    provider: ProviderOf

    number = 1

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return an outcome per keyword; when the question fails, all fail with its error."""
        own = await self.read(batch)
        every = await self.read_stage(batch)
        keywords = tuple(Keyword(item.id, item.keyword, item.intent) for item in every)
        question = ClusterKeywords(keywords, tuple(item.id for item in own), batch.brief)
        try:
            ask = await Ask.of(self.provider, batch, calls)
            async with asyncio.timeout(batch.seconds):
                groups = await ask(question)
        except ProviderHalted as stop:
            return Work((), (), tuple(item.id for item in own), stop.halt)
        except (ItemFailed, TimeoutError) as error:
            told = str(error) or too_slow(batch.seconds)
            return Work(tuple(Outcome(item=item.id, error=told) for item in own), ())
        clusters = to_clusters(groups, every, own, batch.run_id, batch.brief.language)
        return membership(own, told_apart(clusters, own, await self.read_names(batch)))


def to_clusters(
    groups: Sequence[Group],
    every: Sequence[KeywordItem],
    own: Sequence[KeywordItem],
    run_id: str,
    language: str = "en",
) -> dict[str, Cluster]:
    """Return the cluster of each keyword of the stage, by keyword id.

    Ids that the provider invented are dropped, a keyword in two groups stays in the first, and a
    forgotten one gets a cluster of its own. A name is one clean line; where nothing is left of it,
    it is the first keyword. The id follows from the members, in any order.
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
        name = title_of(group.name, NAME, language) or name_of(items[first], language)
        cluster = cluster_of(run_id, name, group.intent, free, first)
        clusters |= dict.fromkeys(free, cluster)
    for item in items.values():
        if item.id not in clusters:
            intent = INTENTS.get((item.intent or "").lower(), "informational")
            name = name_of(item, language)
            clusters[item.id] = cluster_of(run_id, name, intent, [item.id], item.id)
    return clusters


def name_of(keyword: KeywordItem, language: str) -> str:
    """Return the keyword as a cluster's name."""
    return title_of(keyword.keyword, NAME, language) or cut(line(keyword.keyword), NAME)


def cluster_of(
    run_id: str, name: str, intent: Intent, members: Sequence[str], first: str
) -> Cluster:
    """Return the fact, with an id that follows from the run and the members."""
    cluster_id = derive("cluster", run_id, 1, *sorted(members))
    return Cluster(id=cluster_id, name=name, intent=intent, first=first)


def told_apart(
    clusters: Mapping[str, Cluster], own: Sequence[KeywordItem], names: Mapping[str, str]
) -> dict[str, Cluster]:
    """Return the clusters of the batch's keywords, none with the name of another of the site.

    One that was reported before keeps the name that it has: another batch may have got another.
    """
    used = {key_of(name) for name in names.values()}
    texts = {item.id: item.keyword for item in own}
    named: dict[str, Cluster] = {}
    for cluster in (clusters[item.id] for item in own):
        if cluster.id in named:
            continue
        hint = texts.get(cluster.first, "")
        name = names.get(cluster.id) or apart(cluster.name, [hint], used, NAME)
        used.add(key_of(name))
        named[cluster.id] = cluster.model_copy(update={"name": name})
    return {item.id: named[clusters[item.id].id] for item in own}


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
