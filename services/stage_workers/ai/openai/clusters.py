"""Clusters: by vectors first, then the model names those that the batch is about."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from events.brief import Brief, is_english
from events.content import Intent
from events.ids import fold
from services.stage_workers.ai.local.clustering import cluster
from services.stage_workers.ai.local.meanings import needed
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import Call, ClusterKeywords, Group, ItemFailed, Keyword
from services.stage_workers.ai.openai.asking import Asker
from services.stage_workers.ai.openai.briefs import told
from services.stage_workers.ai.openai.shapes import KnownGroup, KnownGroups, NamedGroup, NamedGroups
from services.stage_workers.ai.openai.vectors import Vectorizer
from services.stage_workers.ai.prompts.reading import prompt
from services.stage_workers.threads import in_thread

AT_ONCE = 12  # groups named in one call
SHOWN = 8  # keywords of a group
LONGEST = 60  # characters of a name
TOKENS = 40  # for each group
REMEMBERED = 20_000  # names

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """What a model calls a group, and what it says that its searchers want."""

    text: str
    intent: Intent | None = None


@dataclass
class Clusterer:
    """Groups keywords; names are kept, as all batches of a stage ask about the same groups."""

    local: LocalProvider
    vectorizer: Vectorizer | None
    names: OrderedDict[Key, Name] = field(default_factory=OrderedDict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: tuple[tuple[Keyword, ...], tuple[Group, ...]] | None = None

    async def __call__(
        self, question: ClusterKeywords, asker: Asker, calls: list[Call]
    ) -> tuple[Group, ...]:
        """Return the groups, those with keywords of the batch named. Raises as Provider.answer.

        Without a usable answer a group keeps the name that the local rules give it.
        """
        async with self._lock:
            groups = await self._groups(question, calls)
        own = frozenset(question.own)
        texts = {keyword.id: keyword.text for keyword in question.keywords}
        keys = {
            group.members: key_of(group, texts, question.brief)
            for group in groups
            if own.intersection(group.members)
        }
        new = [one for one in groups if one.members in keys and keys[one.members] not in self.names]
        await self._learn(new, question, texts, asker)
        given = {members: self.names[key] for members, key in keys.items() if key in self.names}
        while len(self.names) > REMEMBERED:
            self.names.popitem(last=False)
        intents = {keyword.id for keyword in question.keywords if keyword.intent}
        return named(groups, given, intents)

    async def _groups(self, question: ClusterKeywords, calls: list[Call]) -> tuple[Group, ...]:
        if self.vectorizer is None or not question.keywords:
            return await self.local.answer(question, [])  # it is no provider's call
        if self._last is None or self._last[0] != question.keywords:
            texts = needed([keyword.text for keyword in question.keywords])
            vectors = await self.vectorizer(texts, calls)
            rows = dict(zip(texts, vectors, strict=True))
            groups = await in_thread(
                cluster,
                question.keywords,
                lambda asked: np.stack([rows[text] for text in asked]),
            )
            self._last = question.keywords, groups
        return self._last[1]

    async def _learn(
        self,
        groups: Sequence[Group],
        question: ClusterKeywords,
        texts: Mapping[str, str],
        asker: Asker,
    ) -> None:
        for at in range(0, len(groups), AT_ONCE):
            some = groups[at : at + AT_ONCE]
            try:
                said = await names_of(some, texts, question.brief, asker)
            except ItemFailed:
                continue  # the call is entered, and the names of the local rules do
            for number, name in said.items():
                self.names[key_of(some[number - 1], texts, question.brief)] = name


async def names_of(
    groups: Sequence[Group], texts: Mapping[str, str], brief: Brief, asker: Asker
) -> dict[int, Name]:
    """Return usable names by the group's number from 1. Raises ItemFailed or ProviderHalted."""
    lines = "\n".join(
        f"{number}: {'; '.join(texts[one] for one in group.members[:SHOWN])}"
        for number, group in enumerate(groups, start=1)
    )
    most = 100 + TOKENS * len(groups)
    found: Sequence[NamedGroup]
    if is_english(brief.language):  # whose intents the local rules know better than a small model
        asked = prompt("name_clusters").filled(brief=told(brief), groups=lines)
        found = (await asker.typed(asked, NamedGroups, most)).groups
    else:
        asked = prompt("name_clusters_with_intent").filled(brief=told(brief), groups=lines)
        found = (await asker.typed(asked, KnownGroups, most)).groups
    return usable(found, len(groups))


def usable(found: Sequence[NamedGroup], count: int) -> dict[int, Name]:
    """Return the names that are any, by number; of invented numbers and second names none."""
    names: dict[int, Name] = {}
    for one in found:
        text = " ".join(one.name.split()).strip("\"'*#.:- ")
        is_name = 0 < len(text) <= LONGEST and any(map(str.isalpha, text))
        if is_name and 1 <= one.group <= count and one.group not in names:
            names[one.group] = Name(text, one.intent if isinstance(one, KnownGroup) else None)
    return names


def named(
    groups: Sequence[Group], given: Mapping[Key, Name], with_intent: set[str]
) -> tuple[Group, ...]:
    """Return the groups with the names given by their members, no two the same.

    Of two with the same name the second keeps the one that it had. An intent that came with
    keywords stands.
    """
    taken = {fold(group.name) for group in groups if group.members not in given}
    result: list[Group] = []
    for group in groups:
        name = given.get(group.members)
        if name is None:
            result.append(group)
            continue
        choices = (name.text, group.name, f"{name.text}: {group.name}")
        text = next((one for one in choices if fold(one) not in taken), choices[-1])
        taken.add(fold(text))
        intent = group.intent if with_intent.intersection(group.members) else name.intent
        result.append(replace(group, name=text, intent=intent or group.intent))
    return tuple(result)


def key_of(group: Group, texts: Mapping[str, str], brief: Brief) -> Key:
    """Return what a name is kept by: the same keywords in the same language have the same."""
    return (brief.language, *sorted(texts[one] for one in group.members))
