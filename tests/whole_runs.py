"""A run from keywords to review, for tests of what keeps it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from events.chain import Head, digest_of, extend, first
from events.commands import RunRequested
from events.content import Draft, Fact, Image
from events.run import StageBatchCompleted, StageBatchRequested
from events.topics import Placed, is_published
from services.artifacts import Artifacts
from services.orchestrator.store import Store
from tests.builders import RUN, SITE, Scene, answer, report, stage_report

Keep = Callable[[StageBatchCompleted], StageBatchCompleted]


def whole_run(
    store: Store | None = None, keep: Keep = lambda said: said, between: Callable[[], None] = list
) -> Scene:
    """Return a scene in which one run of two keywords has come to its end.

    `keep` is given each report before it is said; `between` is called once, after the set-up.
    """
    scene = Scene(store).furnish()
    between()
    scene.submit("k1", "k2")
    scene.send(RunRequested(), site=SITE, run=RUN)
    while requests := list(scene.open_requests()):
        asked = requests[0].message
        assert isinstance(asked, StageBatchRequested)
        together = dict.fromkeys(asked.items, "cl") if asked.stage == 1 else None
        said = keep(report(asked, clusters=together, prompts=2))
        scene.handle(answer(requests[0], said, scene.now))
        if asked.last:
            scene.handle(answer(requests[0], stage_report(asked), scene.now))
    return scene


def kept_in(artifacts: Artifacts) -> Keep:
    """Return what keeps an article or an image for each fact that names one."""

    def keep(said: StageBatchCompleted) -> StageBatchCompleted:
        return said.model_copy(update={"made": tuple(_kept(fact) for fact in said.made)})

    def _kept(fact: Fact) -> Fact:
        match fact:
            case Draft():
                return fact.model_copy(update={"body": _put(f"# {fact.id}")})
            case Image():
                return fact.model_copy(update={"file": _put(f"image {fact.id}")})
            case _:
                return fact

    def _put(text: str) -> str:
        return asyncio.run(artifacts.put(text.encode()))

    return keep


def chained(store: Store) -> list[Placed]:
    """Return the published events of a store with their places in the chain, as the relay says."""
    heads, found = dict[str, Head](), list[Placed]()
    for one in store.stored():
        placed, shown = one.placed, is_published(one.placed.envelope.message)
        before = heads.get(placed.key) or first(placed.key)
        heads[placed.key] = extend(before, digest_of(one.name, one.body), shown=shown)
        if shown:
            found.append(replace(placed, head=Head(heads[placed.key].chain, before.unseen)))
    return found
