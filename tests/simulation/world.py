"""The whole service in a seeded world: any actor may crash at any pause, and anything come twice.

The services' own code runs here: rules, handler, consumer, relay, scheduler, stage workers and
projector, over a store, a broker and a read model in memory. Every seed draws its own mix of faults
and its own calendar. Then the faults stop, paused runs are resumed, what waits is run, and
everything must come to rest as promised. The same seed is the same trace.
"""

import logging
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from events import reading as reading_module
from events.commands import (
    CreditsRequested,
    KeyRevocationRequested,
    ResumeRequested,
    RunRequested,
    SiteRequested,
)
from events.envelope import Envelope, decode
from events.message import Event, Message
from events.reading import read_placed
from events.run import StageBatchRequested
from events.topics import (
    DEAD_LETTERS,
    RUN_EVENTS,
    Placed,
    Publish,
    Record,
    is_published,
)
from projections import projector
from projections.database import open_engine
from services.invariants import Audit, in_topic
from services.orchestrator import handler as handler_module
from services.orchestrator import relay as relay_module
from services.orchestrator import store as store_module
from services.orchestrator.chain import Chain
from services.orchestrator.handler import Handler, receipt_stream
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import State
from services.orchestrator.store import Stored
from tests.builders import Scene
from tests.simulation.actors import ACTORS, NAMES, STAGES, Paged, Pending, ProcessEnds
from tests.simulation.broker import Broker, SimAdmin, SimOrderedProducer, sim_epoch_of
from tests.simulation.faults import Faults
from tests.simulation.pause import without_a_loop
from tests.simulation.people import (
    PLANNED_BUG,
    SITES,
    STRANGER,
    asked,
    poison,
    schedule,
    wish,
)
from tests.simulation.planted import BuggyHandler, planted, tampered
from tests.simulation.store import SimStore
from tests.simulation.tables import RealTables, SmallTables, Tables
from tests.simulation.watch import watch
from tests.whole_runs import chained

STEPS, DRAIN = 2_000, 30_000
COMMANDS_ASKED = 30
TICK = 0.1  # seconds a step
LEAP = timedelta(seconds=30)
ZONES = (
    # the zone, and a moment not long before its clocks change
    ("UTC", datetime(2026, 3, 2, 9, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 28, 20, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 2, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 10, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 10, tzinfo=UTC)),
)


class Violation(AssertionError):
    """The world has seen what must not be."""


class World:
    """Everything durable lives here. Actors own nothing but what a crash may take."""

    def __init__(self, seed: int, bug: str | None = None, *, real_tables: bool = False) -> None:
        self.seed, self.bug, self.steps = seed, bug, 0
        self.random = Random(seed)
        self.faults = Faults.drawn(self.random, seed)
        self.zone, self.start = self.random.choice(ZONES)
        self.theme = self.random.choice(("busy", "busy", "money", "calendar"))
        if self.theme == "calendar":
            self.faults.leap = 0.006
        if self.theme == "money":
            self.faults.dear = 0.4
        self.leapt = timedelta()  # what all clocks of the day have been set ahead
        self.idled = timedelta()  # of that, time in which nobody had anything to do
        self.offset: Counter[str] = Counter()  # seconds that a process's clock is ahead
        self.timeout = self.random.choice([20, 60, 600])
        self.found: list[str] = []
        self.trace = zlib.crc32(b"")
        self.told: list[str] | None = None
        # the log, and what is seen of it
        self.store = SimStore(self.faults, self.between, self.look, self.tracked)
        self.heads = open_engine("sqlite://")  # what relays have recorded of each chain
        Chain(self.heads).create_tables()
        self.audit, self.position = Audit(), 0
        self.append: list[Envelope] = []
        self.published: dict[str, list[int]] = defaultdict(list)
        self.all_published: list[int] = []
        self.waiting: dict[str, Placed] = {}  # requests that may still be worked on
        self.lost: dict[str, list[str]] = defaultdict(list)  # runs in which items failed
        self.last_run: dict[str, str] = {}
        self.first_items: dict[str, tuple[str, ...]] = {}
        self.slugs: dict[str, str] = {}  # of each draft that is there
        # the broker, and what is in it in this life
        self.broker = Broker(self.faults, self.excuse, self.sent, self.stale)
        self.here: set[int] = set()
        self.overtaken = False  # a relay wrote to a broker that had come back empty, unnoticed
        self.checked: Counter[str] = Counter()
        self.poison: dict[str, str] = {}
        self.poisoned = 0
        self.relay_lock: str | None = None
        self.relaying: set[str] = set()
        # the read model, the API's table, what workers do
        self.tables: Tables = (
            RealTables() if real_tables else SmallTables(twice=bug == "no_position_check")
        )
        self.wishes: deque[Envelope] = deque()
        self.issued: list[Envelope] = []
        self.pending: dict[str, Pending] = {}
        self.withdrawn: set[str] = set()
        self.answered: set[str] = set()
        self.begun: dict[str, tuple[Envelope, int]] = {}
        self.recorded: dict[str, list[Event]] = {}  # for a planted bug
        self.calls: Counter[str] = Counter()
        self.excuses: Counter[str] = Counter()
        # who moves: of each service one or two
        self.names = tuple(
            name for name in NAMES if name.endswith("a") or self.random.random() < 0.5
        )
        self.actors: dict[str, Any] = dict.fromkeys(self.names)
        self.is_thorough = self.random.random() < 0.1
        self.moving: list[str] = []
        self.mark: dict[str, str] = {}
        self.furnish()

    def furnish(self) -> None:
        """Open two accounts; the first has two sites with keywords."""
        pick = self.random.choice
        scene = Scene(self.store, self.timeout)
        scene.now = self.start
        with self.quiet():
            scene.furnish(
                pick([20, 40]) if self.theme == "money" else pick([40, 1000]),
                SITES,
                max_parallel_batches=pick([1, 1, 2]),
                within_stage_delay=pick([0, 0, 3]),
                between_stage_delay=pick([0, 0, 3]),
                stage_1_batch_size=pick([1, 2]),
                **(schedule(self) if self.theme == "calendar" else {}),
            )
            scene.send(
                SiteRequested(name="c", domain="c", timezone="UTC"), site=SITES[0], account=STRANGER
            )
            for site in SITES:
                scene.submit(*(f"first {n}" for n in range(self.random.randint(1, 3))), site=site)

    def quiet(self) -> Any:
        """Return a context without faults."""
        return mock.patch.object(self.faults, "are_on", new=False)

    # --- time

    def now(self, who: str) -> datetime:
        """Return what the process's clock says."""
        seconds = self.steps * TICK + self.offset[who]
        return self.start + self.leapt + timedelta(seconds=seconds)

    def true_time(self) -> datetime:
        return self.now("")

    def monotonic(self) -> float:
        return self.steps * TICK + self.idled.total_seconds()

    # --- the store, and what is always true of it

    def look(self) -> None:
        """Check what was appended."""
        for stored in self.store.stored(self.position):
            self.see(stored)

    def see(self, stored: Stored) -> None:
        placed = stored.placed
        self.position = placed.position
        watch(self, placed.envelope)
        self.audit.see(stored)
        envelope = placed.envelope
        self.trace = zlib.crc32(stored.body, self.trace)
        self.tell(f"  {placed.position} {stored.stream} {envelope.message.TYPE}")
        if is_published(envelope.message):
            self.published[envelope.key].append(placed.position)
            self.all_published.append(placed.position)
        if isinstance(envelope.message, StageBatchRequested):
            self.waiting[envelope.id] = placed
        self.append.append(envelope)
        if envelope.message.TYPE in {"MessageAccepted", "MessageRefused"}:
            self.append = []
        for line in self.audit.found:
            self.violated(line)

    def violated(self, what: str) -> None:
        """Remember what must not be; the world stops at the next step, whoever catches what."""
        self.found.append(what)

    def require(self, holds: bool, what: str) -> None:  # noqa: FBT001  # reads as a sentence
        if not holds:
            self.violated(what)

    def tracked(self, reader: str, position: int) -> None:
        """The relay's position may not pass what the broker has."""
        if reader != f"relay:epoch-{self.broker.epoch}":
            return
        known = bisect_right(self.all_published, self.checked[reader])
        upto = bisect_right(self.all_published, position)
        gone = [one for one in self.all_published[known:upto] if one not in self.here]
        self.require(not gone, f"the relay's position {position} passes {gone[:3]}, not published")
        self.checked[reader] = max(position, self.checked[reader])

    def store_of(self, me: str) -> Any:
        return Paged(self, me)

    def read_store(self) -> Iterator[Placed]:
        return self.store.placed()

    def new_handler(self, me: str) -> Handler:
        return BuggyHandler(self, me)

    def decide(self, state: State, message: Message) -> list[Event]:
        """Decide as the rules do, but for a message that is planned to hit a bug of ours."""
        if isinstance(message, KeyRevocationRequested) and message.key_id == PLANNED_BUG:
            raise RuntimeError("planned: a bug")
        decided = decide(state, message)
        return decided if self.bug is None else tampered(self, state, message, decided)

    # --- the broker

    def sent(self, record: Record) -> None:
        """Look at every record that the broker takes."""
        if record.topic == RUN_EVENTS:
            if (position := record.header("ce_position")) is not None:
                self.here.add(int(position))
            if self.moving and self.moving[-1].startswith("relay"):
                at = "a crash between a publication and the relay's position"
                self.mark[self.moving[-1]] = at
        elif record.topic == DEAD_LETTERS:
            self.faults.sometimes("a dead letter")
            self.poison.pop(record.header("poison") or "", None)
            error = record.header("septet-error") or ""
            planned = ("planned", "hit an error of ours before")
            is_ours = record.header("poison") is None and not any(one in error for one in planned)
            self.require(not is_ours, f"a message hit a bug: {error}")

    def publisher(self, me: str) -> Publish:
        """Return how a worker sends its reports."""

        async def publish(record: Record) -> None:
            self.mark.pop(me, None)
            await self.broker.publish(record)

        return publish

    def stale(self) -> None:
        """A relay's old connection has written to a broker that lost everything."""
        self.overtaken = True
        self.faults.sometimes("a relay wrote to a broker that had come back empty")

    def wipe(self) -> None:
        """The broker dies and comes back with nothing; the truth is in the store."""
        self.faults.counted["broker emptied"] += 1
        flying = [one.envelope.message for one in self.waiting.values() if self.is_in_flight(one)]
        if any(getattr(one, "last", False) for one in flying):
            self.faults.sometimes("the broker was emptied during a stage's last batch")
        self.here.clear()
        self.poison.clear()
        self.broker.wipe()

    # --- who may be billed again

    def excuse(self) -> None:
        """What is in flight, or looks so, or comes again, may be done once more."""
        for id_ in [id_ for id_, one in self.waiting.items() if not self.may_be_done(one)]:
            del self.waiting[id_]
        again = set(self.waiting)
        again |= {one.header("ce_id") or "" for one in self.broker.unread(*STAGES)}
        for id_ in again:
            self.excuses[id_] += 1

    def may_be_done(self, placed: Placed) -> bool:
        """Tell whether the store waits for this attempt, or the read model shows so, or will."""
        request = placed.envelope
        return (
            self.is_in_flight(placed)
            or self.tables.reached(request.key) < placed.position
            or self.tables.shows_in_flight(request)
        )

    def is_in_flight(self, placed: Placed) -> bool:
        request, asked_ = placed.envelope, placed.envelope.message
        assert isinstance(asked_, StageBatchRequested)
        known = self.audit.runs[request.run_id or ""].asked[asked_.batch_id]
        return known.is_open and known.attempt == asked_.attempt

    def bill(self, request: Envelope, position: int) -> None:
        """A provider is called: not for a run that is paused, and not twice without a reason."""
        reached = self.tables.reached(request.key) >= position
        is_unwanted = reached and self.tables.wanted(request) == "not_running"
        self.require(not is_unwanted, "a batch was begun after a pause or a cancel")
        self.calls[request.id] += 1
        allowed = 1 + self.excuses[request.id]
        self.require(self.calls[request.id] <= allowed, "a batch was billed twice without a reason")

    # --- what happens

    def step(self) -> None:
        self.steps += 1
        self.move(self.names[self.random.randrange(len(self.names))])
        if self.found:
            raise Violation("; ".join(self.found[:3]))
        if self.faults.are_on:
            self.strike()

    def move(self, me: str) -> None:
        """Let an actor go on to its next pause."""
        actor = self.actors[me]
        if actor is None:
            actor = self.actors[me] = ACTORS[me.partition("-")[0]](self, me)
        self.trace = zlib.crc32(me.encode(), self.trace)
        self.tell(f"{self.steps} {me}")
        self.moving.append(me)
        try:
            actor.send(None)
        except ProcessEnds:
            self.crash(me)
        finally:
            self.moving.pop()

    def between(self) -> None:
        """While one is about to append, others move."""
        for _ in range(self.random.randint(1, 4)):
            other = self.names[self.random.randrange(3)]  # mostly orchestrators
            if other not in self.moving:
                self.move(other)

    def strike(self) -> None:
        """Draw what goes wrong after this step, and what somebody asks for."""
        faults, chance = self.faults, self.random
        self.broker.deliver_late()
        if len(self.issued) < COMMANDS_ASKED and chance.random() < 0.03:
            self.issued.append(wish(self, f"cmd-{len(self.issued)}"))
            self.wishes.append(self.issued[-1])
        elif self.issued and chance.random() < 0.002:
            self.wishes.append(chance.choice(self.issued))
        if faults.strikes(faults.crash):
            me = self.names[chance.randrange(len(self.names))]
            faults.counted[f"crash: {me.partition('-')[0]}"] += 1
            self.crash(me)
        if faults.strikes(faults.wipe):
            self.wipe()
        if faults.strikes(faults.clock):
            self.jump()
        if faults.strikes(faults.leap, "time leaps for all"):
            self.leapt += timedelta(hours=chance.choice([1, 3, 7, 20, 30]))
        if faults.strikes(faults.lock, "relay's lock lost"):
            self.relay_lock = None
        if faults.strikes(faults.refold, "read model refolded"):
            self.tables.refold(self.read_store)
        if faults.strikes(faults.refold / 3, "read model emptied"):
            self.empty_tables()
        if faults.strikes(faults.poison, "poison"):
            self.poisoned += 1
            record = poison(self, faults, self.poisoned)
            self.poison[str(self.poisoned)] = record.topic
            self.broker.store(record)

    def empty_tables(self) -> None:
        """An upgrade drops the tables: the projectors start again and fill them from the store."""
        self.tables.clear()
        for me in self.names:
            if me.startswith("projector"):
                self.crash(me)
        self.tables.refold(self.read_store)

    def jump(self) -> None:
        """One process's clock goes wrong, or is put right."""
        kinds = ("orchestrator", "scheduler", "api")
        me = self.random.choice([name for name in self.names if name.startswith(kinds)])
        how = self.random.choice(("right", "forward", "backward", "weeks"))
        before = self.now(me)
        match how:
            case "forward":
                self.offset[me] += self.random.choice([30, 600, 7200])
                self.faults.counted["clock forward"] += 1
            case "backward":
                self.offset[me] -= self.random.choice([30, 600, 7200, 400 * 86_400])
                self.faults.counted["clock backward"] += 1
            case "weeks":
                self.offset[me] += 30 * 86_400
                self.faults.counted["clock weeks ahead"] += 1
            case _:
                self.offset[me] = 0
        ends = [row.due_at for row in self.tables.timers()]
        due, after = (sum(end <= at for end in ends) for at in (before, self.now(me)))
        if after > due:
            self.faults.sometimes("a clock jumped over a timer")
        if after < due:
            self.faults.sometimes("a clock stood before a time that was set")

    def crash(self, me: str) -> None:
        """End a process at once; what it did not make durable is gone."""
        actor, self.actors[me] = self.actors[me], None
        if actor is not None and me not in self.moving:
            actor.close()
        if (mark := self.mark.pop(me, None)) is not None:
            self.faults.sometimes(mark)
        if self.relay_lock == me:
            self.relay_lock = None
        self.relaying.discard(me)
        self.broker.leave(me)

    def tell(self, line: str) -> None:
        if self.told is not None:
            self.told.append(line)

    # --- the seed's life

    def run(self, steps: int = STEPS, drain: int = DRAIN) -> "World":
        """Run the seed to its end. Raises Violation."""
        logging.disable(logging.CRITICAL)
        with ExitStack() as stands_in:
            stands_in.callback(logging.disable, logging.NOTSET)
            for context in (without_a_loop(), *self.stand_ins(), *planted(self)):
                stands_in.enter_context(context)
            try:
                for _ in range(steps):
                    self.step()
                self.calm()
                for number in range(drain):
                    if number % 50 == 0 and self.heal(number):
                        break
                    self.step()
                self.check_the_end()
            finally:
                for actor in self.actors.values():
                    if actor is not None:
                        actor.close()
                self.tables.close()
                self.heads.dispose()
        return self

    def stand_ins(self) -> list[Any]:
        """What the services know of Kafka and of time, in small."""
        known = lru_cache(maxsize=None)(decode)  # bytes say the same however often they are read
        clock = SimpleNamespace(monotonic=self.monotonic, sleep=lambda _: None)

        def project(tables: Tables, batch: Sequence[Placed], *how: Any) -> None:
            self.project(tables, batch, *how)

        return [
            mock.patch.object(reading_module, "decode", known),
            mock.patch.object(store_module, "decode", known),
            mock.patch.object(handler_module, "decide", self.decide),
            mock.patch.object(handler_module, "time", clock),
            mock.patch.object(relay_module, "time", clock),
            mock.patch.object(relay_module, "Admin", SimAdmin),
            mock.patch.object(relay_module, "OrderedProducer", SimOrderedProducer),
            mock.patch.object(relay_module, "epoch_of", sim_epoch_of),
            mock.patch.object(projector, "time", clock),
            mock.patch.object(projector, "project_or_refold", project),
        ]

    def project(self, tables: Tables, batch: Sequence[Placed], *how: Any) -> None:
        """Project, after a look at whether the relay has kept each key's order."""
        fresh: dict[str, list[int]] = defaultdict(list)
        for position, key in sorted({(one.position, one.key) for one in batch}):
            if position > tables.reached(key):
                fresh[key].append(position)
        for key, positions in fresh.items():
            order = self.published[key]
            begin = bisect_right(order, tables.reached(key))
            expected = order[begin : begin + len(positions)]
            self.require(
                positions == expected or self.overtaken, f"the projection of {key} sees a gap"
            )
        tables.project(batch, *how)

    def calm(self) -> None:
        """The faults stop, clocks are put right, and what was late arrives."""
        self.faults.are_on = False
        self.offset.clear()
        for record in self.broker.late:
            self.broker.store(record)
        self.broker.late.clear()
        self.rested = -1
        self.sweeps = 0

    def heal(self, number: int) -> bool:
        """Do what a person would until nothing is left to do; tell whether all is at rest."""
        for run_id, run in self.audit.runs.items():
            if run.status == "paused":
                top_up = CreditsRequested(amount=1000, reason="heal")
                self.say(asked(self, top_up, f"heal-{number}-{run_id}", None))
                resume = ResumeRequested()
                self.say(asked(self, resume, f"go-{number}-{run_id}", run.site, run_id))
                return False
        if not self.is_quiet():
            self.skip_idle_time()
            return False
        if not self.is_thorough:
            return True
        if len(self.issued) < 2 * COMMANDS_ASKED and self.random.random() < 0.8:
            for _ in range(4):
                self.say(wish(self, f"cmd-{len(self.issued)}"))
            return False
        left = [site for site in SITES if self.backlog(site)]
        if not left or self.sweeps >= 40:
            return True
        self.sweeps += 1
        for site in left:
            credit = CreditsRequested(amount=1000, reason="sweep")
            self.say(asked(self, credit, f"credit-{number}-{site}", None))
            self.say(
                asked(
                    self,
                    RunRequested(),
                    f"sweep-{number}-{site}",
                    site,
                    f"run-sweep-{number}-{site}",
                )
            )
        return False

    def say(self, envelope: Envelope) -> None:
        self.issued.append(envelope)
        self.wishes.append(envelope)

    def skip_idle_time(self) -> None:
        """Nobody has anything to do before the next time that is set: let it come."""
        idle, self.rested = self.rested == self.position, self.position
        if not idle or not self.broker.is_read():
            return
        now = self.true_time()
        due = [row.due_at for row in self.tables.timers()]
        if due or self.tables.due_slots(now):  # also what a wrong clock has set or refused
            idle = max(min(due, default=now) - now, LEAP)
            self.leapt, self.idled = self.leapt + idle, self.idled + idle

    def is_quiet(self) -> bool:
        """Tell whether nothing is on its way and every run has ended."""
        return (
            not self.wishes
            and not self.poison
            and not self.audit.unfinished()
            and all(one.id in self.withdrawn or self.outcomes(one) for one in self.issued)
            and self.broker.is_read()
            and len(self.here) == len(self.all_published)
            and all(self.tables.reached(key) == of[-1] for key, of in self.published.items())
            and not self.tables.due_slots(self.true_time())
        )

    def backlog(self, site: str) -> dict[int, set[str]]:
        """Return for each stage what was made for it and is neither done nor failed."""
        seen, settled = self.audit.sites[site], self.audit._settled
        waiting = {
            stage: {item for item in seen.items_of(stage) if (site, stage, item) not in settled}
            for stage in range(1, 8)
        }
        # a draft whose prompts failed is not handed over
        waiting[7] -= {item for item in waiting[7] if settled.get((site, 5, item)) is False}
        return {stage: items for stage, items in waiting.items() if items}

    def outcomes(self, command: Envelope) -> list[Any]:
        return self.store.read(receipt_stream(command.id))

    def active(self, site: str) -> str | None:
        """Return the site's active run."""
        return self.audit._occupied.get(site)

    def check_the_end(self) -> None:
        """Check that all is at rest, and that every copy agrees."""
        why = self.restless()
        if why:
            raise Violation(f"the world never came to rest: {'; '.join(why[:4])}")
        self.require(not self.audit.end(), "; ".join(self.audit.found))
        for command in self.issued:
            number = len(self.outcomes(command))
            expected = 0 if command.id in self.withdrawn else 1
            self.require(number == expected, f"{command.id} has {number} outcomes, not {expected}")
        topic = [read_placed(one) for one in self.broker.topic() if one.header("poison") is None]
        for line in in_topic(self.read_store(), topic):
            if not (self.overtaken and "comes after" in line):
                self.violated(line)
        recorded = Chain(self.heads).within(0, self.position)
        heads = {one.position: one.head.chain for one in recorded if one.shown}
        true = {one.position: one.head.chain for one in chained(self.store) if one.head}
        self.require(heads == true, "the recorded heads are not those of the store")
        for line in self.tables.differences(self.read_store):
            self.violated(line)
        if self.found:
            raise Violation("; ".join(self.found[:3]))

    def restless(self) -> list[str]:
        """Return what is not at rest."""
        return [
            *self.audit.unfinished(),
            *([f"no dead letter tells of {self.poison}"] if self.poison else []),
            *(
                f"{one.id} ({one.message.TYPE}) has no outcome"
                for one in self.issued
                if one.id not in self.withdrawn and not self.outcomes(one)
            ),
            *(
                f"the tables of {key} stand at {self.tables.reached(key)} of {of[-1]}"
                for key, of in self.published.items()
                if self.tables.reached(key) != of[-1]
            ),
            *self.broker.behind(),
            *(
                f"{site} has {left} left"
                for site in SITES
                if self.is_thorough and (left := self.backlog(site))
            ),
            *(
                f"the slot {one.slot} of {one.site_id} is due"
                for one in self.tables.due_slots(self.true_time())
            ),
        ]
