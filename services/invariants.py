"""What is always true of the event log: pure checks for tests, chaos and `septet audit verify`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from events.account import CreditsGranted, CreditsHeld, CreditsReleased, CreditsSettled
from events.config import Config
from events.content import Outcome, Tally, plus, tally_of
from events.envelope import Envelope
from events.estimate import required_of
from events.message import Event
from events.pipeline import LAST
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    RunCompleted,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
    TimerFired,
    TimerSet,
)
from events.site import ItemsMoved, SiteOccupied, SiteReleased
from events.topics import Placed

ANSWERS = (StageBatchCompleted, BatchFailed, BatchReturned, BatchExpired)
# What may also be said while a run is paused: a batch given up, a stage reported, a timer fired.
WHILE_ACTIVE = (BatchGivenUp, StageCompleted, TimerFired)
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "RunStarted": (("absent",), "running"),
    "RunPaused": (("running",), "paused"),
    "RunResumed": (("paused",), "running"),
    "RunCancelled": (("running", "paused"), "cancelled"),
    "RunFailed": (("running", "paused"), "failed"),
    "RunCompleted": (("running",), "completed"),
}
ACTIVE = ("running", "paused")


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


@dataclass(slots=True)
class Asked:
    attempt: int
    items: tuple[str, ...]
    is_open: bool = True
    is_recorded: bool = False


@dataclass(slots=True)
class Run:
    """What has been seen of one run. `credits_used` are what its AI calls stand at."""

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

    @property
    def in_flight(self) -> list[Asked]:
        return [asked for asked in self.asked.values() if asked.is_open]


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
        self._position = 0
        self._versions: Counter[str] = Counter()
        self._owners: dict[str, str] = {}
        self._occupied: dict[str, str] = {}
        self._done: set[tuple[str, int, str]] = set()
        self._append: list[Envelope] = []
        self._where = ""

    def see(self, stored: Stored) -> None:
        """Take the next event; what it violates is entered in `found`."""
        envelope = stored.placed.envelope
        event = envelope.message
        self._where = f"{stored.stream} v{stored.version} {event.TYPE}"
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
        self._where = "the end of the log"
        self._require(not self._append, "comes before the receipt of the last append")
        return self.found

    def _require(self, holds: bool, what: str) -> None:  # noqa: FBT001  # reads as a sentence
        if not holds:
            self.found.append(f"{self._where}: {what}")

    def _place(self, stored: Stored) -> None:
        envelope, position = stored.placed.envelope, stored.placed.position
        expected = self._versions[stored.stream] + 1
        self._require(stored.version == expected, f"version {expected} is missing before it")
        self._versions[stored.stream] = stored.version
        self._require(position > self._position, f"position {position} does not rise")
        self._position = position
        owner = self._owners.setdefault(stored.stream, envelope.account_id)
        self._require(owner == envelope.account_id, f"the stream belongs to {owner}")
        if envelope.site_id:
            owner = self._owners.setdefault(envelope.site_id, envelope.account_id)
            self._require(owner == envelope.account_id, f"the site belongs to {owner}")

    # --- an append and its receipt

    def _receipt(self, stored: Stored, envelope: Envelope) -> None:
        self._require(stored.version == 1, "the message has more than one receipt")
        named = f"receipt-{envelope.cause}"
        self._require(stored.stream == named, f"is the receipt of {envelope.cause}")
        causes = {one.cause for one in self._append}
        self._require(causes == {envelope.cause}, "stands in the append of another message")
        self._moved()
        self._charged()
        for run_id in {one.run_id for one in self._append if one.run_id in self.runs}:
            self._at_rest(run_id or "")
        self._append = []

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

    def _charged(self) -> None:
        """The ledger settles what the append's AI calls stand at."""
        calls, ledger = Counter[str](), Counter[str]()
        for envelope in self._append:
            match envelope.message:
                case StageBatchCompleted(batch_id=batch) | BatchFailed(batch_id=batch) as report:
                    calls[batch] += sum(call.credits_used for call in report.calls)
                case CreditsSettled(batch_id=batch, amount=amount):
                    ledger[batch] += amount
        self._require(calls == ledger, f"calls cost {dict(calls)}, settled are {dict(ledger)}")

    def _at_rest(self, run_id: str) -> None:
        run = self.runs[run_id]
        held = self._account_of(run.account).holds[run_id]
        if run.status in ACTIVE:
            owner = self._occupied.get(run.site)
            self._require(owner == run_id, f"the run is active and the site is held by {owner}")
            return
        self._require(self._occupied.get(run.site) != run_id, "the run ended and keeps its site")
        if not run.in_flight:
            self._require(held == 0, f"{held} credits are held with nothing in flight")
        if run.status == "completed":
            sums = {run.credits_used, run.of_stages, run.ledger}
            self._require(len(sums) == 1, f"calls, stages and ledger differ: {sorted(sums)}")
        self._require(
            run.credits_used == run.ledger,
            f"AI calls stand at {run.credits_used}, the ledger settled {run.ledger}",
        )

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
        elif not isinstance(event, ANSWERS):
            allowed = ACTIVE if isinstance(event, WHILE_ACTIVE) else ("running",)
            self._require(run.status in allowed, f"the run is {run.status}")
        match event:
            case StageStarted():
                self._stage_started(run, event)
            case StageBatchRequested():
                self._requested(run, event)
            case StageBatchCompleted():
                self._recorded(run, event)
            case BatchFailed() | BatchReturned() | BatchExpired():
                self._came_back(run, event)
            case BatchGivenUp(items=items, error=error):
                lost = tuple(Outcome(item=item, error=error) for item in items)
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

    def _started(self, run_id: str, run: Run, event: RunStarted) -> None:
        run.config = event.config
        others = [
            name
            for name, one in self.runs.items()
            if one.site == run.site and one.status in ACTIVE and name != run_id
        ]
        self._require(not others, f"the site has an active run: {others}")
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
        limit = run.config.max_items_per_stage
        self._require(len(event.items) <= limit, f"it takes more than {limit} items")
        run.stage, run.is_open, run.items = event.stage, True, event.items
        run.settled, run.tally = set(), Tally()

    def _requested(self, run: Run, event: StageBatchRequested) -> None:
        self._require(run.is_open and event.stage == run.stage, f"stage {run.stage} is open")
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
        run.asked[event.batch_id] = Asked(event.attempt, event.items)

    def _recorded(self, run: Run, event: StageBatchCompleted) -> None:
        asked = run.asked.get(event.batch_id)
        if asked is None or not asked.is_open:
            self._require(holds=False, what="the batch was not in flight")
            return
        self._require(not asked.is_recorded, "the batch is recorded already")
        asked.is_open, asked.is_recorded = False, True
        told = tuple(outcome.item for outcome in event.outcomes)
        self._require(told == asked.items, "its outcomes are not those of its items")
        tally = tally_of(event.stage, event.outcomes, event.made, event.calls)
        self._require(event.tally == tally, "its sums are not those of its outcomes and calls")
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
            done = (run.site, stage, outcome.item)
            self._require(
                again or done not in self._done, f"{outcome.item} was settled in another run"
            )
            self._done.add(done)

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
        site, run_id = envelope.site_id or "", envelope.run_id or ""
        match event:
            case SiteOccupied():
                owner = self._occupied.get(site)
                self._require(owner is None, f"the site is occupied by {owner}")
                self._occupied[site] = run_id
            case SiteReleased():
                owner = self._occupied.pop(site, None)
                self._require(owner == run_id, f"the site was occupied by {owner}")
                run = self.runs.get(run_id)
                flying = {item for one in run.in_flight for item in one.items} if run else set()
                self._require(set(event.taken) == flying, "taken are not the items in flight")

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
        self._require(account.balance >= 0, f"the balance is {account.balance}")
        self._require(account.holds[run_id] >= 0, f"the hold is {account.holds[run_id]}")
        available = self._available(envelope.account_id)
        self._require(available >= 0, f"{available} credits are available")
