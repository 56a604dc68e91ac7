"""The real orchestrator in a seeded world: every actor may crash, every message come late or twice.

Each actor is a generator that yields wherever a crash or another actor may come between. A crash is
`close()`, a restart is a new generator that knows only what is durable. No asyncio, no real time: a
seed is a trace. Every seed draws its own mix of faults; then they stop, paused runs are resumed,
and everything must come to rest.
"""

import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from events.account import CreditsReleased, CreditsSettled
from events.commands import (
    BatchTimedOut,
    CancelRequested,
    CreditsRequested,
    KeywordsSubmitted,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.content import NewKeyword
from events.envelope import Envelope
from events.ids import derive
from events.message import Event, Message
from events.run import (
    RunCancelled,
    RunResumed,
    StageBatchCompleted,
    StageBatchRequested,
    TimerSet,
)
from events.site import SiteReleased
from events.topics import Placed, is_published
from services.invariants import ACTIVE, Audit
from services.orchestrator import handler as handler_module
from services.orchestrator.handler import Handler, Seen, receipt_stream
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.evolve import evolve_run, evolve_site
from services.orchestrator.rules.state import Run, Site, State
from services.orchestrator.store import Recorded, Store
from tests.builders import (
    ACCOUNT,
    AT,
    IN_MEMORY,
    Scene,
    answer,
    cluster_ids,
    failure,
    report,
    returned,
    stage_report,
)

SITES = ("site-a", "site-b")
COMMANDS = 20
SAY_AGAIN = 60  # steps until the scheduler says again what is still due

BUGS = {
    "ack_first": "the orchestrator commits the offset before it appends",
    "no_receipt": "messages are not de-duplicated by their receipt",
    "guard_on_read_model": "the one-active-run rule is checked on the projection",
    "relay_saves_first": "the relay saves its position before the broker acknowledged",
    "no_epoch_check": "the relay does not notice a broker that came back empty",
    "blind_worker": "the worker begins a batch without reading whether it is still wanted",
    "no_report_memory": "the worker does not remember reports that it has sent",
    "resume_requests_again": "resume asks for a batch again while it is in flight",
    "charge_every_report": "a report without effect is settled all the same",
    "cancel_releases_at_once": "cancel releases the hold while a batch is in flight",
    "cancel_frees_items": "items in flight at a cancel are free for the next run",
    "no_position_check": "the projection applies a repeated event again",
}


class Violation(AssertionError):
    """The world has seen what must not be."""


def require(holds: bool, what: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not holds:
        raise Violation(what)


@dataclass
class ReadModel:
    """What the projector has made of the topic: it lags, and workers and scheduler know only it."""

    runs: dict[str, Run] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    due: dict[str, Envelope] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    applied: Counter[tuple[str, str]] = field(default_factory=Counter)

    def apply(self, placed: Placed) -> None:
        envelope = placed.envelope
        event, run_id, site_id = envelope.message, envelope.run_id or "", envelope.site_id or ""
        match event:
            case Event(STREAM="run"):
                before = self.runs.get(run_id, Run(id=run_id))
                self.runs[run_id] = evolve_run(before, event)
            case Event(STREAM="site"):
                site = self.sites.get(site_id, Site(id=site_id))
                self.sites[site_id] = evolve_site(site, event, run_id)
        match event:
            case StageBatchRequested(batch_id=batch, attempt=attempt):
                self.due[f"{batch}/{attempt}"] = envelope
            case TimerSet(timer_id=timer):
                self.due[timer] = envelope
        self.reached[placed.key] = max(placed.position, self.reached[placed.key])
        self.applied[placed.key, event.TYPE] += 1

    def is_awaited(self, request: Envelope) -> bool:
        run, asked = self.runs[request.run_id or ""], request.message
        match asked:
            case StageBatchRequested(batch_id=batch, attempt=attempt):
                flying = run.in_flight.get(batch)
                return (flying is not None and flying.attempt == attempt) or (
                    run.reported == batch and not run.has_ended
                )
            case TimerSet(timer_id=timer):
                return run.timer == timer and not run.has_ended
            case _:
                return False


class World:
    """Everything durable lives here. Actors own nothing but what a crash may take."""

    def __init__(self, seed: int, bug: str | None = None) -> None:
        self.random, self.bug, self.steps = random.Random(seed), bug, 0
        pick = self.random.choice
        self.store = Store(IN_MEMORY)
        self.timeout = pick([100, 200, 600])
        self.handler = self.new_handler()
        self.audit, self.position = Audit(), 0
        self.published: dict[str, list[int]] = defaultdict(list)
        # broker: topics, committed offsets, group generations and owners; the epoch names its life
        self.topics: dict[str, list[Any]] = defaultdict(list)
        self.offsets: Counter[str] = Counter()
        self.generation: Counter[str] = Counter()
        self.owner: dict[str, str | None] = {}
        self.late: list[tuple[str, Any]] = []
        self.epoch = 0
        self.read, self.issued = ReadModel(), list[Envelope]()
        self.calls: Counter[str] = Counter()
        self.excuses: Counter[str] = Counter()
        self.asked: list[Placed] = []
        # every seed has its own mix of faults
        self.faults = True
        self.p_crash, self.p_twice = pick([0, 0.01, 0.05]), pick([0, 0.1, 0.3])
        self.p_steal, self.p_wipe = pick([0, 0.005, 0.03]), pick([0, 0, 0.003])
        self.p_error = pick([0, 0, 0.1])
        self.actors: dict[str, Iterator[None] | None] = dict.fromkeys(
            (
                "commands",
                "reports",
                "relay",
                "worker-a",
                "worker-b",
                "scheduler",
                "projector",
                "client",
            )
        )
        self.furnish(pick([40, 1000]), pick([1, 1, 2]), pick([0, 0, 3]), pick([1, 2]))

    @property
    def now(self) -> datetime:
        return AT + timedelta(seconds=self.steps)

    def furnish(self, amount: int, parallel: int, delay: int, size: int) -> None:
        scene = Scene(self.store)
        scene.furnish(
            amount,
            SITES,
            max_parallel_batches=parallel,
            within_stage_delay=delay,
            between_stage_delay=delay,
            stage_1_batch_size=size,
        )
        for site in SITES:
            scene.submit(*(f"first {n}" for n in range(self.random.randint(1, 3))), site=site)
        self.look()

    def new_handler(self) -> Handler:
        return BuggyHandler(self)

    def envelope(self, message: Message, id_: str, site: str | None, run: str | None) -> Envelope:
        return Envelope(
            id=id_,
            account_id=ACCOUNT,
            site_id=site,
            run_id=run,
            at=self.now,
            cause=id_,
            message=message,
        )

    # --- the store, and what is always true of it

    def handle(self, messages: Sequence[Envelope]) -> None:
        for _, bug in self.handler.handle(messages):
            raise Violation(f"a message hit a bug: {bug!r}") from bug
        self.look()

    def look(self) -> None:
        for stored in self.store.stored(self.position):
            self.position = stored.placed.position
            self.audit.see(stored)
            envelope = stored.placed.envelope
            if is_published(envelope.message):
                self.published[envelope.key].append(self.position)
            if isinstance(envelope.message, StageBatchRequested):
                self.asked.append(stored.placed)
        require(not self.audit.found, "; ".join(self.audit.found[:3]))

    # --- broker: at least once, late copies, stolen partitions, and the loss of everything

    def produce(self, topic: str, message: Any) -> None:
        self.topics[topic].append(message)
        while self.faults and self.random.random() < self.p_twice:
            if self.random.random() < 0.5:
                self.topics[topic].append(message)
            else:
                self.late.append((topic, message))  # a send that timed out may arrive much later

    def consume(self, me: str, topic: str, most: int = 1) -> Iterator[tuple[int, int, list[Any]]]:
        """Yield (offset after them, generation, records); none when there is nothing to do."""
        generation, offset = -1, 0
        while True:
            if generation != self.generation[topic]:
                is_free = self.owner.get(topic) in (None, me)
                if not is_free and not (self.faults and self.random.random() < self.p_steal):
                    yield 0, -1, []
                    continue
                self.generation[topic] += 1
                self.owner[topic] = me
                generation, offset = self.generation[topic], self.offsets[topic]
                self.excuse()
            records = self.topics[topic][offset : offset + self.random.randint(1, most)]
            offset += len(records)
            yield offset, generation, records

    def commit(self, topic: str, generation: int, offset: int) -> None:
        if generation == self.generation[topic]:  # who has lost the partition is fenced
            self.offsets[topic] = max(self.offsets[topic], offset)

    def wipe(self) -> None:
        """The broker dies and comes back with nothing."""
        for durable in (self.topics, self.offsets, self.owner, self.late):
            durable.clear()
        for topic in list(self.generation):
            self.generation[topic] += 1
        self.epoch += 1
        self.excuse()

    def excuse(self) -> None:
        """What is in flight, or looks so, or comes again, may be done once more."""
        again = {request.envelope.id for request in self.topics["stage"][self.offsets["stage"] :]}
        again |= {one.envelope.id for one in self.asked if self.in_flight(one)}
        for id_ in again:
            self.excuses[id_] += 1

    def in_flight(self, placed: Placed) -> bool:
        """Tell whether the store waits for this attempt, or the read model shows so, or will."""
        request, asked = placed.envelope, placed.envelope.message
        assert isinstance(asked, StageBatchRequested)
        known = self.audit.runs[request.run_id or ""].asked[asked.batch_id]
        shown = self.read.runs.get(request.run_id or "", Run()).in_flight.get(asked.batch_id)
        return (
            (known.is_open and known.attempt == asked.attempt)
            or (shown is not None and shown.attempt == asked.attempt)
            or self.read.reached[request.key] < placed.position
        )

    # --- actors

    def client(self, _me: str) -> Iterator[None]:
        """Issues commands, and says those without an outcome again when the broker lost them."""
        epoch = 0
        while True:
            yield
            if epoch != self.epoch:
                epoch = self.epoch
                for command in self.issued:
                    if not self.store.read(receipt_stream(command.id)):
                        self.produce("commands", command)
            elif len(self.issued) < COMMANDS and self.faults and self.random.random() < 0.2:
                self.issued.append(self.wish(f"cmd-{len(self.issued)}"))
                self.produce("commands", self.issued[-1])

    def wish(self, id_: str) -> Envelope:
        site = self.random.choice(SITES)
        kinds = [PauseRequested, ResumeRequested, CancelRequested]
        match self.random.randrange(8):
            case 0:
                more = KeywordsSubmitted(keywords=(NewKeyword(keyword=f"more {id_}"),))
                return self.envelope(more, id_, site, None)
            case 1:
                top_up = CreditsRequested(amount=self.random.randint(1, 30), reason="top-up")
                return self.envelope(top_up, id_, None, None)
            case 2 | 3 | 4:
                return self.envelope(RunRequested(), id_, site, f"run-{id_}")
            case _:
                run = self.read.sites.get(site, Site()).active or "run-none"
                return self.envelope(self.random.choice(kinds)(), id_, site, run)

    def commands(self, me: str) -> Iterator[None]:
        yield from self.orchestrate(me, "commands")

    def reports(self, me: str) -> Iterator[None]:
        yield from self.orchestrate(me, "reports")

    def orchestrate(self, me: str, topic: str) -> Iterator[None]:
        self.handler = self.new_handler()
        for offset, generation, messages in self.consume(me, topic, most=3):
            yield
            if not messages:
                continue
            if self.bug == "ack_first":
                self.commit(topic, generation, offset)
                yield
            self.handle(messages)
            yield
            self.commit(topic, generation, offset)

    def relay(self, _me: str) -> Iterator[None]:
        """Publishes in store order, then remembers; a new life of the broker starts at 0."""
        while True:
            epoch = self.epoch
            reader = f"relay:{0 if self.bug == 'no_epoch_check' else epoch}"
            position = self.store.position_of(reader)
            yield
            while epoch == self.epoch:
                page = self.store.page(position, limit=self.random.randint(1, 6))
                if page and self.bug == "relay_saves_first":
                    self.store.track(reader, page[-1].placed.position)
                    yield
                for stored in page:
                    if epoch != self.epoch:
                        break  # the connection is lost
                    if is_published(stored.placed.envelope.message):
                        self.produce("events", stored.placed)
                        if isinstance(stored.placed.envelope.message, StageBatchRequested):
                            self.produce("stage", stored.placed)
                    position = stored.placed.position
                yield
                if page and epoch == self.epoch:
                    self.store.track(reader, position)

    def worker(self, me: str) -> Iterator[None]:
        """Waits for the read model, asks whether the batch is wanted, calls the AI, reports."""
        sent: dict[str, list[Envelope]] = {}  # lost in a crash
        for offset, generation, requests in self.consume(me, "stage"):
            yield
            for placed in requests:
                request, blind = placed.envelope, self.bug == "blind_worker"
                while self.read.reached[request.key] < placed.position and not blind:
                    yield
                if request.id in sent and self.bug != "no_report_memory":
                    reports = sent[request.id]
                else:
                    reports, work = self.answer(request, blind=blind)
                    for _ in range(work):
                        yield  # the call takes its time, sometimes longer than the watchdog waits
                    if work:
                        sent[request.id] = reports
                for one in reports:
                    self.produce("reports", one)
                    yield
            if requests:
                self.commit("stage", generation, offset)

    def answer(self, request: Envelope, *, blind: bool) -> tuple[list[Envelope], int]:
        """Return what a worker reports, and for how many steps it works."""
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        run = self.read.runs.get(request.run_id or "", Run())
        flying = run.in_flight.get(asked.batch_id)
        says: list[Message] = []
        if not blind:
            if flying is None or flying.attempt != asked.attempt:
                if asked.last and run.reported == asked.batch_id:
                    says = [stage_report(asked)]
                return [answer(request, one, self.now) for one in says], 0
            if run.status != "running":
                return [answer(request, returned(asked), self.now)], 0
        require(run.status in {"running", "absent"}, "a batch was begun after pause or cancel")
        self.calls[request.id] += 1  # the provider bills here
        allowed = 1 + self.excuses[request.id]
        require(self.calls[request.id] <= allowed, "a batch was billed twice without a crash")
        work = self.random.choice([1, 1, 1, 4, 40])
        if self.random.random() < self.p_error and self.faults:
            return [answer(request, failure(asked, cost=1), self.now)], work
        how: dict[str, Any] = {}
        if asked.stage == 1:
            how["clusters"] = cluster_ids(request.run_id or "", run.items)
        if self.random.random() < self.p_error and self.faults:
            how["failing"] = asked.items[-1:]
        says = [report(asked, **how), *([stage_report(asked)] if asked.last else [])]
        return [answer(request, one, self.now) for one in says], work

    def scheduler(self, _me: str) -> Iterator[None]:
        """Turns what is due in the read model into commands, and says them again after a while."""
        said: dict[str, int] = {}
        while True:
            yield
            for row, envelope in list(self.read.due.items()):
                message = envelope.message
                if not self.read.is_awaited(envelope):
                    del self.read.due[row]
                    continue
                assert isinstance(message, StageBatchRequested | TimerSet)
                is_batch = isinstance(message, StageBatchRequested)
                when = message.answer_by if is_batch else message.due_at
                if self.now < when or self.steps - said.get(row, -SAY_AGAIN) < SAY_AGAIN:
                    continue
                said[row] = self.steps
                command = (
                    BatchTimedOut(
                        stage=message.stage, batch_id=message.batch_id, attempt=message.attempt
                    )
                    if is_batch
                    else TimerElapsed(timer_id=message.timer_id)
                )
                id_ = derive("cmd", "timer", row)
                self.produce(
                    "commands", self.envelope(command, id_, envelope.site_id, envelope.run_id)
                )

    def projector(self, me: str) -> Iterator[None]:
        """Applies each key's events in order; what it has seen before is nothing new."""
        for offset, generation, events in self.consume(me, "events", most=6):
            for placed in events:
                fresh = placed.position > self.read.reached[placed.key]
                if fresh:
                    order = self.published[placed.key]
                    due = bisect_right(order, self.read.reached[placed.key])
                    require(order[due] == placed.position, "the projection sees a gap")
                if fresh or self.bug == "no_position_check":
                    self.read.apply(placed)
            yield
            if events:
                self.commit("events", generation, offset)

    # --- the world's own steps

    def step(self) -> None:
        self.steps += 1
        me = self.random.choice(tuple(self.actors))
        actor = self.actors[me]
        if actor is None:
            actor = self.actors[me] = getattr(self, me.split("-")[0])(me)
        next(actor)
        if not self.faults:
            return
        if self.late and self.random.random() < 0.1:
            topic, message = self.late.pop(self.random.randrange(len(self.late)))
            self.topics[topic].append(message)
        if me != "client" and self.random.random() < self.p_crash:
            self.crash(me)
        if self.random.random() < self.p_wipe:
            self.wipe()

    def crash(self, me: str) -> None:
        actor = self.actors[me]
        if actor is not None:
            actor.close()
        self.actors[me] = None
        for topic, owner in self.owner.items():
            if owner == me:
                self.owner[topic] = None
        self.excuse()

    def run(self, steps: int = 2000, drain: int = 20_000) -> "World":
        """Run the seed to its end. Raises Violation."""
        with mock.patch.object(handler_module, "decide", self.decide):
            for _ in range(steps):
                self.step()
            self.faults = False
            for number in range(drain):
                if number % 100 == 0:
                    if self.is_at_rest():
                        break
                    self.heal(number)
                self.step()
            self.check_the_end()
        return self

    def heal(self, number: int) -> None:
        """Top up and resume what is paused, as a person would."""
        for run_id, run in self.audit.runs.items():
            if run.status == "paused":
                top_up = CreditsRequested(amount=1000, reason="heal")
                resume = ResumeRequested()
                self.handle([self.envelope(top_up, f"heal-{number}-{run_id}", None, None)])
                self.handle([self.envelope(resume, f"go-{number}-{run_id}", run.site, run_id)])
                return

    def is_at_rest(self) -> bool:
        runs = self.audit.runs.values()
        return (
            not any(run.status in ACTIVE or run.in_flight for run in runs)
            and all(self.store.read(receipt_stream(one.id)) for one in self.issued)
            and all(self.read.reached[key] == order[-1] for key, order in self.published.items())
            and self.offsets["events"] == len(self.topics["events"])
        )

    def check_the_end(self) -> None:
        require(self.is_at_rest(), "the world never came to rest")
        require(not self.audit.end(), "; ".join(self.audit.found))
        held = {name: one.holds.total() for name, one in self.audit.accounts.items()}
        require(not any(held.values()), f"credits are still held: {held}")
        for command in self.issued:
            outcomes = self.store.read(receipt_stream(command.id))
            require(len(outcomes) == 1, f"{command.id} has {len(outcomes)} outcomes")
        rebuilt = ReadModel()
        for placed in self.store.placed():
            rebuilt.apply(placed)
        same = (rebuilt.runs, rebuilt.sites, rebuilt.applied) == (
            self.read.runs,
            self.read.sites,
            self.read.applied,
        )
        require(same, "the rebuilt projection differs from the live one")

    # --- planted bugs of the rules

    def decide(self, state: State, message: Message) -> list[Event]:
        *events, receipt = decide(state, message)
        run = state.run
        match self.bug, events, message:
            case "cancel_releases_at_once", [RunCancelled(), SiteReleased()], _:
                held = state.account.holds.get(run.id, 0)
                events += [CreditsReleased(amount=held)] if held else []
            case "cancel_frees_items", [RunCancelled(), SiteReleased(), *_], _:
                events[1] = SiteReleased()
            case "resume_requests_again", [RunResumed()], _ if run.in_flight:
                asked = (one.envelope.message for one in self.asked if self.in_flight(one))
                events += [one for one in asked if getattr(one, "batch_id", "") in run.in_flight]
            case "charge_every_report", [], StageBatchCompleted(stage=stage, batch_id=batch):
                if state.account.balance:
                    events = [CreditsSettled(stage=stage, batch_id=batch, amount=1, from_hold=0)]
        return [*events, receipt]


class BuggyHandler(Handler):
    """The real handler, but for the bugs that are planted in it."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, lambda: world.now, world.timeout)
        self._world = world

    def _look(self, kind: Any, stream: str, *, fresh: bool) -> Seen:
        seen = super()._look(kind, stream, fresh=fresh)
        if self._world.bug == "guard_on_read_model" and kind == "site":
            shown = self._world.read.sites.get(stream, Site())
            return replace(seen, state=replace(seen.state, active=shown.active))
        return seen

    def _decide(self, received: Envelope, view: dict[str, Seen], *, fresh: bool) -> list[Recorded]:
        new = super()._decide(received, view, fresh=fresh)
        if self._world.bug == "no_receipt":
            outcomes = self._store.read(new[-1].originator_id)
            new[-1] = replace(new[-1], originator_version=len(outcomes) + 1)
        return new
