"""Who acts: the services' own classes, each in a coroutine that a crash may end at every pause.

`world.random` decides how much one does at a time. An actor owns nothing but what a crash may take:
what is durable lives in the world's store, broker, tables and pending commands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from events.content import AiCall, Draft, Fact, Halt
from events.envelope import Envelope
from events.kafka.connection import LOST, AnswerLost, NothingSent
from events.run import StageBatchRequested
from events.topics import (
    COMMANDS,
    RUN_EVENTS,
    STAGE_REPORTS,
    Record,
    command_record,
    stage_topic,
)
from projections import projector
from services.orchestrator.chain import Chain
from services.orchestrator.consumer import Consumer
from services.orchestrator.relay import Relay
from services.orchestrator.scheduler import Scheduler, command_of_slot, command_of_timer
from services.stage_workers.batch import Work
from services.stage_workers.items import Batch
from services.stage_workers.reading import Wanted
from services.stage_workers.worker import Worker
from tests.builders import cluster_ids, report
from tests.simulation.pause import pause

if TYPE_CHECKING:
    from tests.simulation.world import World

AWAY = (*LOST, NothingSent, AnswerLost)
STAGES = tuple(stage_topic(number) for number in range(1, 8))
SEND_AGAIN_AFTER = timedelta(seconds=5)
CATCH_UP_WITHIN = 60  # looks at a read model that lags, before a batch is returned


async def consume(
    world: "World",
    me: str,
    topics: tuple[str, ...],
    handle: Callable[[Sequence[Record]], Awaitable[Any]],
    most: int,
) -> None:
    """Stand in for `events.kafka.consumer.consume`: commit what is handled, rejoin on errors."""
    broker = world.broker
    member = broker.member(me, topics)
    while True:
        await pause()
        found = broker.poll(member, most)
        if found is None:
            continue
        place, generation, records = found
        if world.bug == "ack_first" and place[0] in {COMMANDS, STAGE_REPORTS}:
            broker.commit(member, place, generation, records[-1].offset + 1)
            await pause()
        if world.bug == "projector_commits_first" and place[0] == RUN_EVENTS:
            broker.commit(member, place, generation, records[-1].offset + 1)
            await pause()
        try:
            kept = await handle(records)
        except AWAY:
            broker.leave(me)
            member = broker.member(me, topics)
            continue
        offsets = [one.offset for one in kept or () if (one.topic, one.partition) == place]
        if offsets:
            world.faults.sometimes("an append was read in two parts")
        await pause()
        broker.commit(member, place, generation, min([records[-1].offset + 1, *offsets]))
        world.mark.pop(me, None)


async def orchestrator(world: "World", me: str) -> None:
    """Decides what commands and reports lead to."""
    consumer: Any = Consumer(
        world.new_handler(me), world.broker.publish, asyncio.Event(), lambda: world.now(me)
    )
    if world.bug == "poison_dropped":
        consumer._set_aside = _drop
    await consume(world, me, (COMMANDS, STAGE_REPORTS), consumer, most=8)


async def _drop(_record: Record, _error: str) -> None:
    return


async def relay(world: "World", me: str) -> None:
    """Publishes when it has the lock, or believes to have it."""
    while world.relay_lock not in (None, me):
        await pause()
    world.relay_lock = me
    world.relaying.add(me)
    if len(world.relaying) > 1:
        world.faults.sometimes("two relays at once")
    await SimRelay(world, me).run(asyncio.Event(), lambda: None)


class SimRelay(Relay):
    """The relay, with small pages and without real waiting."""

    def __init__(self, world: "World", me: str) -> None:
        broker: Any = world.broker
        store = world.store_of(me)
        super().__init__(store, Chain(world.heads), broker, asyncio.Event(), lambda kind: kind)

    async def _wait(self) -> None:
        await pause()


class Paged:
    """The store as a relay reads it: a few events at a time."""

    def __init__(self, world: "World", me: str) -> None:
        self._world, self._me = world, me
        self.position_of = world.store.position_of

    def page(self, position: int) -> Any:
        world = self._world
        page = world.store.page(position, limit=world.random.randint(1, 8))
        if page and world.bug == "relay_saves_first":
            # What is planted may not be stopped by the check of the position alone.
            world.store.track(f"relay:epoch-{world.broker.epoch}", page[-1].placed.position)
        return page

    def track(self, reader: str, position: int) -> None:
        self._world.store.track(reader, position)
        self._world.mark.pop(self._me, None)


async def projector_(world: "World", me: str) -> None:
    """Folds the public topic into the tables."""
    tables: Any = world.tables
    sender: Any = Sends(world)
    store: Any = world.read_store  # what `World.project` refolds from
    worker: Any = projector.Worker(tables, sender, store, lambda: world.now(me))
    worker._remember = lambda _record: None  # names of a newer release: none comes here
    if world.bug == "half_appends":
        await consume(world, me, (RUN_EVENTS,), HalfAppends(world, worker), most=6)
    await consume(world, me, (RUN_EVENTS,), worker.take, most=6)


class Sends:
    """Stands in for a Producer."""

    def __init__(self, world: "World") -> None:
        self.publish = world.broker.publish


@dataclass
class HalfAppends:
    """A projector that does not remember what it has begun to read."""

    world: "World"
    worker: projector.Worker

    async def __call__(self, records: Sequence[Record]) -> Sequence[Record]:
        await self.worker.take(records)
        return []


async def worker(world: "World", me: str) -> None:
    """Does what the stages are asked for."""
    reader: Any = SimReader(world)
    workers = {
        topic: Worker(
            AnyStage(world, me, number), reader, world.publisher(me), lambda: world.now(me)
        )
        for number, topic in enumerate(STAGES, start=1)
    }

    async def answer(records: Sequence[Record]) -> None:
        for record in records:
            if world.bug == "no_report_memory":
                workers[record.topic]._reports.clear()
            await workers[record.topic].answer(record)

    await consume(world, me, STAGES, Fatal(world, me, answer), most=2)


@dataclass
class Fatal:
    """What cannot be answered ends the process, so that the request comes again."""

    world: "World"
    me: str
    handle: Callable[[Sequence[Record]], Awaitable[None]]

    async def __call__(self, records: Sequence[Record]) -> None:
        try:
            await self.handle(records)
        except AWAY as error:
            raise ProcessEnds from error


class ProcessEnds(Exception):
    """A service has ended itself; its supervisor starts it again."""


class SimReader:
    """Stands in for the workers' Reader: waits for the read model, then looks at the request."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def wanted(self, request: Envelope, position: int) -> Wanted:
        world = self._world
        world.begun[request.message.batch_id] = (request, position)  # type: ignore[attr-defined]
        if world.bug == "blind_worker":
            return "yes"
        looks = 0
        while world.tables.reached(request.key) < position:
            looks += 1
            if looks > CATCH_UP_WITHIN:
                return "not_there"
            await pause()
        return world.tables.wanted(request)


HALTS: tuple[tuple[Any, int], ...] = (
    ("rate_limited", 7),
    ("unavailable", 90),
    ("out_of_credits", 0),
    ("key_refused", 0),
)


@dataclass
class AnyStage:
    """A stage with a provider that takes its time, fails, and sometimes asks too much."""

    world: "World"
    me: str
    number: int

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        world, faults = self.world, self.world.faults
        request, position = world.begun[batch.batch_id]
        world.bill(request, position)
        world.mark[self.me] = "a crash of a worker between its answer and its report"
        for _ in range(world.random.choice([0, 1, 1, 4])):
            await pause()
        if faults.strikes(faults.hang, "worker hangs"):
            for _ in range(80):
                await pause()
        asked = replace_items(request.message, batch.items)
        if faults.strikes(faults.broken, "batch failed"):
            calls.append(AiCall(function="any", model="test", status="failed", credits_used=1))
            raise RuntimeError("planned: the batch failed")
        how: dict[str, Any] = {"slug": "cold-brew"}
        if self.number == 1:
            how["clusters"] = cluster_ids(batch.run_id, world.first_items[batch.run_id])
        if faults.strikes(faults.provider / 2, "item failed"):
            how["failing"] = asked.items[-1:]
        if faults.strikes(faults.halt, "provider halted"):
            kind, wait = faults.chance.choice(HALTS)
            how["deferred"] = asked.items[faults.chance.randrange(len(asked.items)) :]
            how["halt"] = Halt(kind=kind, detail="planned", wait_seconds=wait)
        if faults.strikes(faults.dear, "price above the bound"):
            how["cost"] = 25
        said = report(asked, **how)
        calls += said.calls
        made = tuple(map(self._keeping_its_slug, said.made))
        return Work(said.outcomes, made, said.deferred, said.halt)

    def _keeping_its_slug(self, fact: Fact) -> Fact:
        """What is written anew stays where it was."""
        slug = self.world.slugs.get(fact.id)
        return fact.model_copy(update={"slug": slug}) if slug and isinstance(fact, Draft) else fact


def replace_items(asked: Any, items: tuple[str, ...]) -> StageBatchRequested:
    """Return the request as the stage got it."""
    request: StageBatchRequested = asked.model_copy(update={"items": items})
    return request


class SimScheduler(Scheduler):
    """The scheduler, over whichever tables the seed has."""

    def __init__(self, world: "World") -> None:
        nothing: Any = None
        super().__init__(nothing, world.broker.publish)
        self._tables = world.tables

    def _due(self, at: datetime, elapsed: float) -> list[Envelope]:
        over = self._waits.over(self._tables.timers(), at, elapsed)
        return [
            *(command_of_timer(row, at) for row in over),
            *(command_of_slot(slot, at) for slot in self._tables.due_slots(at)),
        ]


async def scheduler(world: "World", me: str) -> None:
    """Says what is due, and again as long as it is."""
    mine = SimScheduler(world)
    while True:
        await pause()
        try:
            await mine.look(world.now(me), world.monotonic())
        except (NothingSent, AnswerLost):
            continue


@dataclass(slots=True)
class Pending:
    """A command that the API keeps until it has its outcome."""

    envelope: Envelope
    sent_at: datetime
    tries: int = 1


async def api(world: "World", me: str) -> None:
    """Takes people's wishes, keeps each before it is sent, and sends it until it has its outcome.

    It follows services.api.sender and services.api.pending step by step.
    """
    while True:
        await pause()
        if world.wishes:
            await _ask(world, me, world.wishes.popleft())
        if world.random.random() < 0.2 and world.bug not in {"api_forgets", "ack_first"}:
            await _send_open(world, me)


async def _ask(world: "World", me: str, envelope: Envelope) -> None:
    known = world.pending.get(envelope.id)
    if known is not None:
        known.tries += 1
        world.faults.sometimes("a request repeated with its key")
        if world.tables.has_receipt(envelope):
            return
    else:
        world.pending[envelope.id] = Pending(envelope, world.now(me))
        world.withdrawn.discard(envelope.id)
    await pause()
    try:
        await world.broker.publish(command_record(envelope))
    except NothingSent:
        kept = world.pending.get(envelope.id)
        if kept is not None and kept.tries == 1:
            del world.pending[envelope.id]
            world.withdrawn.add(envelope.id)
            world.faults.sometimes("a command was withdrawn")
    except AnswerLost:
        return


async def _send_open(world: "World", me: str) -> None:
    now = world.now(me)
    for id_, one in list(world.pending.items()):
        if abs(now - one.sent_at) < SEND_AGAIN_AFTER or id_ in world.answered:
            continue
        if world.tables.has_receipt(one.envelope):
            world.answered.add(id_)
            continue
        if id_ not in world.pending:
            continue  # withdrawn meanwhile
        one.tries += 1
        one.sent_at = now
        world.faults.sometimes("a command was sent again")
        try:
            await world.broker.publish(command_record(one.envelope))
        except (NothingSent, AnswerLost):
            return


ACTORS: dict[str, Callable[["World", str], Any]] = {
    "orchestrator": orchestrator,
    "relay": relay,
    "worker": worker,
    "projector": projector_,
    "scheduler": scheduler,
    "api": api,
}
NAMES = tuple(f"{kind}-{which}" for kind in ACTORS for which in "ab")
