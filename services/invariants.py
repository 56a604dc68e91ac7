"""What is always true of the event log: pure checks for tests, chaos and `septet audit verify`."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from events.account import CreditsGranted, CreditsHeld, CreditsReleased, CreditsSettled
from events.config import Config
from events.content import Draft, Outcome, Tally, plus, tally_of
from events.envelope import Envelope, encode
from events.estimate import required_of, total_of
from events.ids import derive
from events.message import Event, Message
from events.pipeline import CONTENT, LAST
from events.prices import PRICES, cost_of
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    RunCompleted,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
    TimerFired,
    TimerSet,
)
from events.site import (
    ConfigUpdated,
    ContentApproved,
    ContentRejected,
    ContentReturned,
    ItemsFreed,
    ItemsMoved,
    ItemsRequeued,
    KeywordsAdded,
    RunRefused,
    ScheduleAdvanced,
    SiteOccupied,
    SiteReleased,
)
from events.topics import Placed, is_published

ANSWERS = (StageBatchCompleted, BatchFailed, BatchReturned, BatchExpired)
# What may also be said while a run is paused: a batch given up, a stage reported, a timer fired.
WHILE_ACTIVE = (BatchGivenUp, StageCompleted, TimerFired)
# What is told of a run whenever it has begun, also after its end.
NOTES = (MessageSetAside, MessageReplayed)
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "RunStarted": (("absent",), "running"),
    "RunPaused": (("running",), "paused"),
    "RunResumed": (("paused",), "running"),
    "RunCancelled": (("running", "paused"), "cancelled"),
    "RunFailed": (("running", "paused"), "failed"),
    "RunCompleted": (("running",), "completed"),
}
ACTIVE = ("running", "paused")
RECEIPT = "receipt-"
# What an accepted message leaves in its append, by its name: one of these, or, where they stand
# with an empty one, perhaps nothing. Messages that are not named here may leave anything.
EFFECTS: dict[str, tuple[str, ...]] = {
    "RunRequested": ("RunStarted",),
    "PauseRequested": ("RunPaused",),
    "ResumeRequested": ("RunResumed",),
    "CancelRequested": ("RunCancelled",),
    "ConfigUpdateRequested": ("ConfigUpdated",),
    "CreditsRequested": ("CreditsGranted",),
    "ApprovalRequested": ("ContentApproved",),
    "RejectionRequested": ("ContentRejected",),
    "ChangesRequested": ("ContentReturned",),
    "KeywordsSubmitted": ("KeywordsAdded", ""),
    "TimerElapsed": ("TimerFired", ""),
    "BatchTimedOut": ("BatchExpired", "StageCompleted", ""),
    "StageBatchCompleted": ("StageBatchCompleted", ""),
    "StageCompleted": ("StageCompleted", ""),
    "BatchFailed": ("BatchFailed", ""),
    "BatchReturned": ("BatchReturned", ""),
}
# A refusal changes nothing, but a slot of the schedule may be answered by it.
OF_REFUSAL = (RunRefused, ScheduleAdvanced)


class Stored(Protocol):
    """An event of the store with its place there and in its stream."""

    @property
    def placed(self) -> Placed: ...
    @property
    def stream(self) -> str: ...
    @property
    def version(self) -> int: ...


def violations(stored: Iterable[Stored]) -> list[str]:
    """Return what is wrong with a whole log, in store order; nothing when it is as promised."""
    audit = Audit()
    for one in stored:
        audit.see(one)
    return audit.end()


def in_topic(stored: Iterable[Placed], published: Iterable[Placed]) -> list[str]:
    """Return in what the topic differs from the store: missing, foreign, changed or out of order.

    An event that is in the topic twice is no difference.
    """
    truth = {placed.envelope.id: placed for placed in stored}
    missing, last, found = dict(truth), dict[str, int](), list[str]()
    for placed in published:
        known = truth.get(placed.envelope.id)
        where = f"topic: {placed.envelope.id} at position {placed.position}"
        if known is None:
            found.append(f"{where} is not in the store")
            continue
        if known.position != placed.position or encode(known.envelope) != encode(placed.envelope):
            found.append(f"{where} is not what the store has at {known.position}")
        if missing.pop(placed.envelope.id, None) is not None:
            if placed.position < last.get(placed.key, 0):
                found.append(f"{where} comes after {last[placed.key]} of {placed.key}")
            last[placed.key] = placed.position
    return found + [
        f"topic: {identity} at position {placed.position} is missing"
        for identity, placed in missing.items()
    ]


@dataclass(slots=True)
class Asked:
    attempt: int
    items: tuple[str, ...]
    is_open: bool = True
    is_recorded: bool = False


@dataclass(slots=True)
class Run:
    """What has been seen of one run. `credits_used` are what its AI calls stand at.

    `scope` are what a retry may take: what failed, and what was made of that.
    """

    site: str
    account: str
    status: str = "absent"
    config: Config = field(default_factory=Config)
    stage: int = 0
    is_open: bool = False
    items: tuple[str, ...] = ()
    settled: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    asked: dict[str, Asked] = field(default_factory=dict)
    timer: str | None = None
    credits_used: int = 0
    of_stages: int = 0
    ledger: int = 0
    prices: int = 0
    scope: set[str] | None = None
    notes: set[tuple[str, str, str, int]] = field(default_factory=set)

    @property
    def in_flight(self) -> list[Asked]:
        return [asked for asked in self.asked.values() if asked.is_open]

    def forget(self) -> None:
        """Keep only sums of what is over: a log has more runs than fit into memory whole."""
        self.items, self.settled, self.scope = (), set(), None
        for asked in self.asked.values():
            asked.items = ()


@dataclass(slots=True)
class Site:
    """What has been seen of one site.

    `made` are the items that each stage ever made, 0 standing for keywords; `taken` are those of
    batches that were in flight when their run ended, `left` those runs; `slugs` maps each to its
    draft; `answered` is the newest slot of the schedule that has its answer.
    """

    made: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    taken: set[str] = field(default_factory=set)
    slugs: dict[str, str] = field(default_factory=dict)
    in_review: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    answered: datetime | None = None

    def items_of(self, stage: int) -> set[str]:
        """Return what was ever made for a stage; the last one takes drafts, as their images do."""
        return self.made[CONTENT if stage == LAST else stage - 1]


@dataclass(slots=True)
class Account:
    balance: int = 0
    holds: Counter[str] = field(default_factory=Counter)


class Audit:
    """Reads a log event by event, as it grows. An append ends with its receipt."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.runs: dict[str, Run] = {}
        self.accounts: dict[str, Account] = {}
        self.sites: dict[str, Site] = {}
        self._position = 0
        self.owners: dict[str, str] = {}  # the account of each stream but receipts
        self._versions: dict[str, int] = {}
        self._occupied: dict[str, str] = {}
        self._active: dict[str, set[str]] = {}  # runs that run or are paused, by site
        self._settled: dict[tuple[str, int, str], bool] = {}  # whether it was done, or failed
        self._append: list[Envelope] = []
        self._stored: Stored | None = None

    def see(self, stored: Stored) -> None:
        """Take the next event; what it violates is entered in `found`."""
        envelope = stored.placed.envelope
        event = envelope.message
        self._stored = stored
        self._require(isinstance(event, Event), "is not an event")
        self._place(stored)
        self._append.append(envelope)
        match event:
            case MessageAccepted() | MessageRefused():
                self._receipt(stored, envelope)
            case Event(STREAM="run"):
                self._run(envelope, event)
            case Event(STREAM="site"):
                self._site(envelope, event)
            case Event(STREAM="account"):
                self._account(envelope, event)

    def end(self) -> list[str]:
        """Return all that was found, when no more events come."""
        self._stored = None
        self._require(not self._append, "comes before the receipt of the last append")
        return self.found

    def unfinished(self) -> list[str]:
        """Return what has not come to its end: nothing, in a system at rest without active runs."""
        active = [
            f"{name} is {run.status}" for name, run in self.runs.items() if run.status in ACTIVE
        ]
        flying = [
            f"{batch} is in flight"
            for run in self.runs.values()
            for batch, asked in run.asked.items()
            if asked.is_open
        ]
        held = [
            f"{name} holds {account.holds.total()} credits"
            for name, account in self.accounts.items()
            if account.holds.total()
        ]
        taken = [f"items of {name} are taken" for name, site in self.sites.items() if site.taken]
        return [*active, *flying, *held, *taken]

    def _require(self, holds: bool, what: str) -> None:  # noqa: FBT001  # reads as a sentence
        """Enter what does not hold. Where many events pass, ask first: the words take longer."""
        if holds:
            return
        where = "the end of the log"
        if self._stored is not None:
            kind = self._stored.placed.envelope.message.TYPE
            where = f"{self._stored.stream} v{self._stored.version} {kind}"
        self.found.append(f"{where}: {what}")

    def _place(self, stored: Stored) -> None:
        envelope, position = stored.placed.envelope, stored.placed.position
        if position <= self._position:
            self._require(holds=False, what=f"position {position} does not rise")
        self._position = position
        if not stored.stream.startswith(RECEIPT):  # of which there are too many to remember
            expected = self._versions.get(stored.stream, 0) + 1
            if stored.version != expected:
                self._require(holds=False, what=f"version {expected} is missing before it")
            self._versions[stored.stream] = stored.version
            if owner := self._other_owner(stored.stream, envelope.account_id):
                self._require(holds=False, what=f"the stream belongs to {owner}")
        # A stranger may name the site in a command; its refusal is the stranger's, not the site's.
        site = None if isinstance(envelope.message, MessageRefused) else envelope.site_id
        if site and (owner := self._other_owner(site, envelope.account_id)):
            self._require(holds=False, what=f"the site belongs to {owner}")

    def _other_owner(self, what: str, account_id: str) -> str | None:
        owner = self.owners.setdefault(what, account_id)
        return None if owner == account_id else owner

    def _receipt(self, stored: Stored, envelope: Envelope) -> None:
        self._require(stored.version == 1, "the message has more than one receipt")
        named = f"receipt-{envelope.cause}"
        self._require(stored.stream == named, f"is the receipt of {envelope.cause}")
        causes = {one.cause for one in self._append}
        self._require(causes == {envelope.cause}, "stands in the append of another message")
        self._followed(envelope.message)
        self._whole()
        self._moved()
        self._charged()
        for run_id in {one.run_id for one in self._append if one.run_id in self.runs}:
            self._at_rest(run_id or "")
        self._append = []

    def _followed(self, receipt: Message) -> None:
        """What was accepted was done, what was refused was not."""
        events = [one.message for one in self._append if one.message is not receipt]
        if isinstance(receipt, MessageRefused):
            others = [one.TYPE for one in events if not isinstance(one, OF_REFUSAL)]
            self._require(not others, f"a refusal changes something: {others}")
        elif isinstance(receipt, MessageAccepted) and receipt.kind in EFFECTS:
            names, expected = [one.TYPE for one in events], EFFECTS[receipt.kind]
            done = any(name in expected for name in names) or (not names and "" in expected)
            self._require(done, f"{receipt.kind} was accepted, and not done: {names}")
        started = [one for one in self._append if isinstance(one.message, RunStarted)]
        advanced = [one for one in events if isinstance(one, ScheduleAdvanced)]
        for envelope in started:
            event, run_id = envelope.message, envelope.run_id or ""
            assert isinstance(event, RunStarted)
            held = self._account_of(envelope.account_id).holds[run_id]
            self._require(held >= event.required_credits, f"{held} credits are held")
            answers = [one.slot for one in advanced]
            expected_slots = [] if event.slot is None else [event.slot]
            self._require(answers == expected_slots, "the schedule answers another slot")
        is_told = started or any(isinstance(one, RunRefused) for one in events)
        self._require(bool(is_told) or not advanced, "a slot is skipped without a word")

    def _whole(self) -> None:
        """Ids follow from the message, and what is published says whether more is to come."""
        cause = self._append[-1].cause
        ids = [one.id for one in self._append]
        expected = [derive("msg", cause, number) for number in range(len(ids))]
        self._require(ids == expected, "the ids do not follow from the message")
        said = [one.more for one in self._append if is_published(one.message)]
        more = [number < len(said) - 1 for number in range(len(said))]
        self._require(said == more, "the events do not say how many of them belong together")

    def _moved(self) -> None:
        """What reports settled has moved on the site's stream in the same append, and no more."""
        settled, moved = Counter[tuple[int, str, bool]](), Counter[tuple[int, str, bool]]()
        for envelope in self._append:
            match envelope.message:
                case StageBatchCompleted(stage=stage, outcomes=outcomes):
                    settled.update((stage, one.item, one.error is None) for one in outcomes)
                case BatchGivenUp(stage=stage, items=items):
                    settled.update((stage, item, False) for item in items)
                case ItemsMoved(stage=stage, done=done, failed=failed):
                    moved.update((stage, item, True) for item in done)
                    moved.update((stage, item, False) for item in failed)
        self._require(settled == moved, "the items that moved are not those that were settled")
        facts = {
            fact.id
            for one in self._append
            if isinstance(one.message, StageBatchCompleted)
            for fact in one.message.made
        }
        told = {
            made
            for one in self._append
            if isinstance(one.message, StageBatchCompleted)
            for outcome in one.message.outcomes
            for made in outcome.made
        }
        self._require(told == facts, "what outcomes name is not what was made")
        waits = [
            each
            for one in self._append
            if isinstance(one.message, ItemsMoved)
            for each in (*(made.id for made in one.message.made), *one.message.revised)
        ]
        self._require(facts.issuperset(waits), "items move on that nobody made")

    def _charged(self) -> None:
        """The ledger settles what the append's AI calls stand at."""
        calls, ledger = Counter[str](), Counter[str]()
        lacking, uncovered_of_ledger, failed = 0, 0, False
        for envelope in self._append:
            match envelope.message:
                case StageBatchCompleted(batch_id=batch) | BatchFailed(batch_id=batch) as report:
                    calls[batch] += sum(call.credits_used for call in report.calls)
                    if isinstance(report, StageBatchCompleted):
                        lacking += report.uncovered
                    else:
                        failed = True
                case CreditsSettled(batch_id=batch, amount=amount, uncovered=uncovered):
                    ledger[batch] += amount
                    uncovered_of_ledger += uncovered
        self._require(calls == ledger, f"calls cost {dict(calls)}, settled are {dict(ledger)}")
        agrees = failed or lacking == uncovered_of_ledger  # a failed batch's stand on the ledger
        self._require(agrees, "report and ledger differ in what is uncovered")

    def _at_rest(self, run_id: str) -> None:
        run = self.runs[run_id]
        held = self._account_of(run.account).holds[run_id]
        if run.status in ACTIVE:
            owner = self._occupied.get(run.site)
            self._require(owner == run_id, f"the run is active and the site is held by {owner}")
            return
        self._require(self._occupied.get(run.site) != run_id, "the run ended and keeps its site")
        self._active.get(run.site, set()).discard(run_id)
        self._untaken(run)
        if not run.in_flight:
            self._require(held == 0, f"{held} credits are held with nothing in flight")
        if run.status == "completed":
            sums = {run.credits_used, run.of_stages, run.ledger}
            self._require(len(sums) == 1, f"calls, stages and ledger differ: {sorted(sums)}")
        self._require(
            run.credits_used == run.ledger,
            f"AI calls stand at {run.credits_used}, the ledger settled {run.ledger}",
        )
        if not run.in_flight:
            run.forget()

    def _untaken(self, run: Run) -> None:
        """Items stay taken exactly as long as a batch of an ended run is in flight with them."""
        site = self._site_of(run.site)
        taken = site.taken
        site.left = {name for name in site.left if self.runs[name].in_flight}
        flying = {
            item for name in site.left for one in self.runs[name].in_flight for item in one.items
        }
        self._require(taken == flying, f"{len(taken)} items are taken, {len(flying)} in flight")

    # --- runs

    def _run(self, envelope: Envelope, event: Event) -> None:
        run_id = envelope.run_id or ""
        site = envelope.site_id or ""
        run = self.runs.setdefault(run_id, Run(site=site, account=envelope.account_id))
        self._require(run.site == site, f"the run is of {run.site}, not of {site}")
        if event.TYPE in MOVES:
            before, status = MOVES[event.TYPE]
            self._require(run.status in before, f"the run was {run.status}")
            run.status = status
            if isinstance(event, RunStarted):
                self._started(run_id, run, event)
        elif isinstance(event, NOTES):
            self._noted(run, event)
        elif not isinstance(event, ANSWERS):
            allowed = ACTIVE if isinstance(event, WHILE_ACTIVE) else ("running",)
            self._require(run.status in allowed, f"the run is {run.status}")
        match event:
            case StageStarted():
                self._stage_started(run, event)
            case StageBatchRequested():
                self._requested(run_id, run, event)
            case StageBatchCompleted():
                self._recorded(run, event)
            case BatchFailed() | BatchReturned() | BatchExpired():
                self._came_back(run, event)
            case BatchGivenUp(items=items, error=error):
                lost = tuple(Outcome(item=item, error=error) for item in items)
                asked = run.asked.get(event.batch_id)
                came_back = asked is not None and not asked.is_open and not asked.is_recorded
                self._require(
                    came_back and asked is not None and asked.items == items,
                    "the batch did not come back with these items",
                )
                self._settle(run, event.stage, lost)
                run.tally = plus(run.tally, tally_of(event.stage, lost, (), ()))
            case StageCompleted():
                self._stage_completed(run, event)
            case TimerSet(timer_id=timer):
                self._require(run.timer is None, "a timer is set already")
                run.timer = timer
            case TimerFired(timer_id=timer):
                self._require(run.timer == timer, "the timer was not set")
                run.timer = None
            case RunCompleted(total_credits_used=total):
                is_last = run.stage == LAST and not run.is_open
                self._require(is_last, f"stage {run.stage} was the last to be completed")
                self._require(total == run.credits_used, f"AI calls stand at {run.credits_used}")

    def _noted(self, run: Run, event: MessageSetAside | MessageReplayed) -> None:
        self._require(run.status != "absent", "the run has not begun")
        self._require(event.attempt >= 1, f"attempts count from 1, it says {event.attempt}")
        note = (event.TYPE, event.consumer, event.message_id, event.attempt)
        self._require(note not in run.notes, "it is noted already")
        run.notes.add(note)
        others = {one.message.TYPE for one in self._append} - {event.TYPE}
        self._require(not others, f"it stands in an append with {sorted(others)}")

    def _started(self, run_id: str, run: Run, event: RunStarted) -> None:
        run.config, run.prices = event.config, event.prices
        scheduled = event.trigger_type == "scheduled"
        self._require(scheduled == (event.slot is not None), "who asked for it is not clear")
        active = self._active.setdefault(run.site, set())
        others = sorted(name for name in active - {run_id} if self.runs[name].status in ACTIVE)
        active.add(run_id)
        self._require(not others, f"the site has an active run: {others}")
        if event.retry_of is not None:
            run.scope = {item for one in event.retried for item in one.items}
            again = {
                item
                for one in self._append
                if isinstance(one.message, ItemsRequeued)
                for item in one.message.items
            }
            self._require(again == run.scope, "what waits again is not what is retried")
        estimated = total_of(event.estimate)
        self._require(event.estimated_credits == estimated, f"its stages sum up to {estimated}")
        required = required_of(event.estimated_credits)
        self._require(event.required_credits == required, f"{required} credits are required")
        available = self._available(run.account)
        said = event.available_credits
        self._require(said == available, f"{available} credits are available")
        self._require(said >= required, f"{required} credits are required, {said} available")

    def _stage_started(self, run: Run, event: StageStarted) -> None:
        self._require(not run.is_open, f"stage {run.stage} is not completed")
        self._require(event.stage == run.stage + 1, f"it comes after stage {run.stage}")
        self._require(len(set(event.items)) == len(event.items), "an item stands there twice")
        if run.scope is not None:
            self._require(run.scope >= set(event.items), "a retry takes other items")
        known = self._site_of(run.site).items_of(event.stage)
        self._require(known.issuperset(event.items), "it takes items that nobody made")
        limit = run.config.max_items_per_stage
        self._require(len(event.items) <= limit, f"it takes more than {limit} items")
        run.stage, run.is_open, run.items = event.stage, True, event.items
        run.settled, run.tally = set(), Tally()

    def _requested(self, run_id: str, run: Run, event: StageBatchRequested) -> None:
        is_open = run.is_open and event.stage == run.stage
        self._require(is_open, f"stage {run.stage} is open")
        if not is_open or event.prices not in PRICES:
            self._require(event.prices in PRICES, "its prices are not known")
            return
        self._require(bool(event.items), "it asks for nothing")
        self._require(set(event.items) <= set(run.items), "its items are not the stage's")
        self._require(run.settled.isdisjoint(event.items), "its items are settled already")
        busy = {item for asked in run.in_flight for item in asked.items}
        self._require(busy.isdisjoint(event.items), "its items are in flight already")
        size, most = run.config.batch_size(run.stage), run.config.max_parallel_batches
        self._require(len(event.items) <= size, f"it asks for more than {size} items")
        self._require(len(run.in_flight) < most, f"{most} batches are in flight already")
        self._require(not (event.last and run.in_flight), "the last batch does not go alone")
        left = set(run.items) - run.settled - set(event.items)
        self._require(event.last == (not left), f"last is {event.last}, {len(left)} items are left")
        self._require(event.so_far == run.tally, "its sums so far are not those of the log")
        before = run.asked.get(event.batch_id)
        expected = before.attempt + 1 if before else 1
        self._require(event.attempt == expected, f"attempt {expected} is due")
        taken = self._site_of(run.site).taken
        self._require(taken.isdisjoint(event.items), "an ended run has its items in flight")
        run.asked[event.batch_id] = Asked(event.attempt, event.items)
        self._require(event.prices == run.prices, f"the run began with prices {run.prices}")
        bound = sum(
            cost_of(event.prices, run.stage, len(one.items), size, event.models)
            for one in run.in_flight
        )
        held = self._account_of(run.account).holds[run_id]
        self._require(bound <= held, f"it may cost {bound} credits, {held} are held")

    def _recorded(self, run: Run, event: StageBatchCompleted) -> None:
        asked = run.asked.get(event.batch_id)
        if asked is None or not asked.is_open:
            self._require(holds=False, what="the batch was not in flight")
            return
        self._require(not asked.is_recorded, "the batch is recorded already")
        asked.is_open, asked.is_recorded = False, True
        told = [outcome.item for outcome in event.outcomes]
        settled = [item for item in asked.items if item not in event.deferred]
        self._require(told == settled, "its outcomes are not those of its items")
        known = set(event.deferred) <= set(asked.items)
        self._require(known, "it defers items that it was not asked for")
        self._require(not event.deferred or event.halt is not None, "it defers without a halt")
        tally = tally_of(event.stage, event.outcomes, event.made, event.calls)
        self._require(event.tally == tally, "its sums are not those of its outcomes and calls")
        slugs = self._site_of(run.site).slugs
        for fact in event.made:
            if isinstance(fact, Draft):
                owner = slugs.setdefault(fact.slug, fact.id)
                self._require(owner == fact.id, f"{fact.slug} is the slug of {owner}")
        self._settle(run, event.stage, event.outcomes)
        run.credits_used += sum(call.credits_used for call in event.calls)
        run.tally = plus(run.tally, tally)

    def _came_back(self, run: Run, event: BatchFailed | BatchReturned | BatchExpired) -> None:
        asked = run.asked.get(event.batch_id)
        if asked is None or not asked.is_open:
            self._require(holds=False, what="the batch was not in flight")
            return
        self._require(event.attempt == asked.attempt, f"attempt {asked.attempt} is in flight")
        asked.is_open = False
        if isinstance(event, BatchFailed):
            spent = sum(call.credits_used for call in event.calls)
            run.credits_used += spent
            run.tally = plus(run.tally, Tally(credits_used=spent))

    def _settle(self, run: Run, stage: int, outcomes: tuple[Outcome, ...]) -> None:
        for outcome in outcomes:
            again = outcome.item in run.settled
            self._require(not again, f"{outcome.item} is settled already")
            run.settled.add(outcome.item)
            # The backlog is the site's: what one run has settled no later run may take up again.
            item = (run.site, stage, outcome.item)
            self._require(
                again or item not in self._settled, f"{outcome.item} was settled in another run"
            )
            self._settled[item] = outcome.error is None
            if run.scope is not None:
                run.scope |= set(outcome.made)

    def _stage_completed(self, run: Run, event: StageCompleted) -> None:
        self._require(run.is_open and event.stage == run.stage, f"stage {run.stage} is open")
        self._require(not run.in_flight, "a batch is in flight")
        self._require(run.settled == set(run.items), "not all of its items are settled")
        sums = (event.items_done, event.items_failed, event.credits_used)
        counted = (run.tally.items_done, run.tally.items_failed, run.tally.credits_used)
        self._require(sums == counted, f"it says {sums}, the log {counted}")
        planned = event.items_done + event.items_failed
        self._require(planned == len(run.items), f"{len(run.items)} items were planned")
        self._require(event.partial == (event.items_failed > 0), "partial is wrong")
        counts = {name: count for name, count in event.result.items() if count}
        expected = {name: count for name, count in run.tally.counts.items() if count}
        self._require(counts == expected, f"its result is {counts}, the log has {expected}")
        run.is_open = False
        run.of_stages += event.credits_used

    # --- sites and accounts

    def _site(self, envelope: Envelope, event: Event) -> None:
        name, run_id = envelope.site_id or "", envelope.run_id or ""
        site = self._site_of(name)
        match event:
            case KeywordsAdded(keywords=keywords):
                ids = [keyword.id for keyword in keywords]
                again = len(set(ids)) < len(ids) or not site.made[0].isdisjoint(ids)
                self._require(not again, "the site has one of the keywords")
                site.made[0].update(ids)
            case SiteOccupied():
                owner = self._occupied.get(name)
                self._require(owner is None, f"the site is occupied by {owner}")
                self._occupied[name] = run_id
            case SiteReleased():
                owner = self._occupied.pop(name, None)
                self._require(owner == run_id, f"the site was occupied by {owner}")
                site.taken |= set(event.taken)
                site.left |= {run_id} & self.runs.keys()
            case ItemsMoved():
                self._waits_next(site, event)
            case ItemsFreed(items=items):
                self._require(site.taken.issuperset(items), "what is freed was not taken")
                site.taken -= set(items)
            case ItemsRequeued(stage=stage, items=items):
                for item in items:
                    self._require(
                        self._settled.pop((name, stage, item), None) is False,
                        f"{item} did not fail and waits again",
                    )
            case ContentReturned(content_id=content, task_id=task):
                self._reviewed(site, content)
                for stage, item in ((CONTENT, task), (LAST, content)):
                    self._require(
                        self._settled.pop((name, stage, item), False),
                        f"{item} was not done and waits again",
                    )
            case ContentApproved(content_id=content) | ContentRejected(content_id=content):
                self._reviewed(site, content)
            case ConfigUpdated(next_run_at=upcoming):
                self._upcoming(site, upcoming)
            case ScheduleAdvanced(slot=slot, next_run_at=upcoming):
                is_new = site.answered is None or slot > site.answered
                self._require(is_new, f"the slot {slot} was answered before")
                site.answered = slot
                self._upcoming(site, upcoming)

    def _waits_next(self, site: Site, event: ItemsMoved) -> None:
        """What a stage makes is new; what the last one is done with is in review."""
        made = [one.id for one in event.made]
        self._require(site.made[event.stage].isdisjoint(made), "it makes what was made before")
        site.made[event.stage].update(made)
        if event.stage == LAST:
            site.in_review.update(event.done)
        site.taken -= {*event.done, *event.failed}

    def _reviewed(self, site: Site, content: str) -> None:
        self._require(content in site.in_review, f"{content} is not in review")
        site.in_review.discard(content)

    def _upcoming(self, site: Site, upcoming: datetime | None) -> None:
        """The next slot lies after the last that was answered: none comes twice."""
        is_later = upcoming is None or site.answered is None or upcoming > site.answered
        self._require(is_later, f"the next slot, {upcoming}, was answered before")

    def _site_of(self, site_id: str) -> Site:
        return self.sites.setdefault(site_id, Site())

    def _account_of(self, account_id: str) -> Account:
        return self.accounts.setdefault(account_id, Account())

    def _available(self, account_id: str) -> int:
        account = self._account_of(account_id)
        return account.balance - account.holds.total()

    def _account(self, envelope: Envelope, event: Event) -> None:
        account, run_id = self._account_of(envelope.account_id), envelope.run_id or ""
        match event:
            case CreditsGranted(amount=amount):
                self._require(amount > 0, f"it grants {amount}")
                account.balance += amount
            case CreditsHeld(amount=amount):
                self._require(amount > 0, f"it holds {amount}")
                account.holds[run_id] += amount
            case CreditsSettled(amount=amount, from_hold=from_hold, uncovered=uncovered):
                self._require(0 <= from_hold <= amount, f"{from_hold} of {amount} were held")
                self._require(uncovered >= 0, f"{uncovered} are uncovered")
                account.balance -= amount
                account.holds[run_id] -= from_hold
                if run_id in self.runs:
                    self.runs[run_id].ledger += amount
            case CreditsReleased(amount=amount):
                self._require(amount > 0, f"it releases {amount}")
                run = self.runs.get(run_id)
                is_over = run is not None and run.status not in ACTIVE and not run.in_flight
                self._require(is_over, "the run has not ended, or a batch of it is in flight")
                account.holds[run_id] -= amount
        if account.balance < 0:
            self._require(holds=False, what=f"the balance is {account.balance}")
        if account.holds[run_id] < 0:
            self._require(holds=False, what=f"the hold is {account.holds[run_id]}")
        if not account.holds[run_id]:
            del account.holds[run_id]
        available = self._available(envelope.account_id)
        if available < 0:
            self._require(holds=False, what=f"{available} credits are available")
