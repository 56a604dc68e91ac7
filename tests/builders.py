"""What tests are made of: events that happened, workers' reports, a service in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

from events.account import AccountOpened, CreditsGranted, KeyIssued
from events.commands import (
    AccountRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    Key,
    KeywordsSubmitted,
    RunRequested,
    SiteRequested,
)
from events.config import Config, ConfigChanges
from events.content import (
    AiCall,
    Cluster,
    Draft,
    Fact,
    Halt,
    Idea,
    Image,
    Keyword,
    NewKeyword,
    Outcome,
    Prompt,
    Task,
    tally_of,
)
from events.envelope import Envelope
from events.ids import batch_id_of, derive
from events.message import Event, Message
from events.pipeline import zero_counts
from events.prices import CALLS, CURRENT, list_price
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchFailed,
    BatchReturned,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
)
from events.site import ConfigUpdated, ItemsMoved, KeywordsAdded, Made, SiteCreated
from services.orchestrator.handler import Handler, receipt_stream
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.state import Account, Run, Site, State
from services.orchestrator.store import Store, Stored

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
ACCOUNT, SITE, RUN = "account-a", "site-a", "run-a"
TIMEOUT = 600
IN_MEMORY = {"PERSISTENCE_MODULE": "eventsourcing.popo"}
KEY = Key(key_id="key-a", digest="0" * 64, role="admin")
AT_ONCE = {"within_stage_delay": 0, "between_stage_delay": 0}

OPENED: tuple[Event, ...] = (
    AccountOpened(name="Daily Grind"),
    KeyIssued(key=KEY),
    CreditsGranted(amount=1000, reason="opening balance"),
)
CREATED = SiteCreated(name="Daily Grind", domain="grind.example", timezone="UTC")


def config(**changes: Any) -> ConfigUpdated:
    """A config whose delays are 0 unless they are named."""
    return ConfigUpdated(config=Config(**{**AT_ONCE, **changes}), next_run_at=None)


def granted(amount: int) -> CreditsGranted:
    return CreditsGranted(amount=amount, reason="top-up")


def keywords(*ids: str) -> KeywordsAdded:
    """Keywords whose ids are their texts, waiting for stage 1."""
    return KeywordsAdded(keywords=tuple(Keyword(id=one, keyword=one) for one in ids), duplicates=0)


def waiting(stage: int, *ids: str) -> list[Event]:
    """What must have happened for these items to wait for the stage."""
    match stage:
        case 1:
            return [keywords(*ids)]
        case 6:
            drafts = tuple(f"draft-of-{one}" for one in ids)
            pairs = zip(ids, drafts, strict=True)
            made = tuple(Made(id=one, of=draft) for one, draft in pairs)
            return [*waiting(5, *drafts), _moved(5, drafts, made)]
        case 7:
            return [*waiting(5, *ids), _moved(5, ids, ())]
        case _:
            return [_moved(stage - 1, (), tuple(Made(id=one, of="x") for one in ids))]


def _moved(stage: int, done: tuple[str, ...], made: tuple[Made, ...]) -> ItemsMoved:
    return ItemsMoved(stage=stage, done=done, failed=(), made=made)


# An account with 1000 credits and its site, whose runs wait for nothing between their steps.
READY: tuple[Event, ...] = (*OPENED, CREATED, config())


def given(*events: Event, run: str = RUN, at: datetime = AT) -> State:
    """Return the state after these events, all of one run, site and account."""
    empty = State(
        now=at,
        batch_timeout=TIMEOUT,
        run=Run(id=run),
        site=Site(id=SITE),
        account=Account(id=ACCOUNT),
    )
    return reduce(evolve, events, empty)


def later(state: State, seconds: float) -> State:
    return replace(state, now=state.now + timedelta(seconds=seconds))


def next_run(state: State, run: str = "run-b") -> State:
    """Return the state as the site's and account's next run finds it."""
    return replace(state, run=Run(id=run))


def tell(state: State, message: Message) -> list[Event]:
    """Return what follows from a message that is accepted, without the receipt."""
    *events, receipt = decide(state, message)
    assert isinstance(receipt, MessageAccepted), receipt
    return events


def after(state: State, *messages: Message) -> State:
    """Return the state after messages, whether they are accepted or refused."""
    for message in messages:
        state = reduce(evolve, decide(state, message), state)
    return state


def refusal(state: State, message: Message) -> tuple[str, dict[str, int | str]]:
    """Return the code and the numbers of a message that is refused."""
    receipt = decide(state, message)[-1]
    assert isinstance(receipt, MessageRefused), receipt
    return receipt.code, receipt.numbers


def requests(events: Iterable[Event]) -> list[StageBatchRequested]:
    return [event for event in events if isinstance(event, StageBatchRequested)]


def request_of(events: Iterable[Event]) -> StageBatchRequested:
    """Return the one batch that is asked for in the events."""
    (only,) = requests(events)
    return only


def names(events: Iterable[Event]) -> list[str]:
    return [event.TYPE for event in events]


def started(*events: Event, **changes: Any) -> tuple[list[Event], State]:
    """Start a run after these events and READY; return what followed, and the state after it."""
    state = given(*READY, config(**changes), *events)
    return tell(state, RunRequested()), after(state, RunRequested())


def requested(
    stage: int = 1, *items: str, number: int = 1, attempt: int = 1, last: bool = False
) -> StageBatchRequested:
    """A request for a batch, as the rules write it."""
    return StageBatchRequested(
        stage=stage,
        batch_id=batch_id_of(RUN, stage, number),
        attempt=attempt,
        items=items or ("k1",),
        prices=CURRENT,
        site_name=CREATED.name,
        last=last,
        so_far=tally_of(stage, (), (), ()),
        answer_by=AT + timedelta(seconds=TIMEOUT),
    )


def run_started(**changes: Any) -> RunStarted:
    return RunStarted(
        trigger_type="manual",
        config=Config(**{**AT_ONCE, **changes}),
        prices=CURRENT,
        site_name=CREATED.name,
        estimated_credits=0,
        required_credits=0,
        available_credits=1000,
    )


def stage_started(stage: int, *items: str) -> StageStarted:
    return StageStarted(stage=stage, items=items)


def report(
    request: StageBatchRequested,
    *,
    failing: Sequence[str] = (),
    cost: int | None = None,
    clusters: dict[str, str] | None = None,
    prompts: int = 1,
    slug: str = "",
    deferred: Sequence[str] = (),
    halt: Halt | None = None,
) -> StageBatchCompleted:
    """Return the report of a worker that did the batch.

    `cost` replaces the price of each call; `clusters` maps keywords to clusters, else each has its
    own; `prompts` are made for each draft. `deferred` are the items that a halt has stopped.
    """
    outcomes, made = list[Outcome](), list[Fact]()
    for item in request.items:
        if item in deferred:
            continue
        if item in failing:
            outcomes.append(Outcome(item=item, error="the model was unavailable"))
            continue
        facts = facts_of(request.stage, item, clusters or {}, prompts, slug)
        outcomes.append(Outcome(item=item, made=tuple(fact.id for fact in facts)))
        made += [fact for fact in facts if fact not in made]
    calls = calls_of(request, (*failing, *deferred), cost)
    return StageBatchCompleted(
        stage=request.stage,
        batch_id=request.batch_id,
        attempt=request.attempt,
        outcomes=tuple(outcomes),
        made=tuple(made),
        calls=calls,
        tally=tally_of(request.stage, tuple(outcomes), tuple(made), calls),
        deferred=tuple(deferred),
        halt=halt,
    )


def calls_of(
    request: StageBatchRequested, failing: Sequence[str], cost: int | None
) -> tuple[AiCall, ...]:
    if request.stage not in CALLS:
        return ()
    function, once_a_batch = CALLS[request.stage]
    price = list_price(request.prices, function) if cost is None else cost
    whom = request.items[:1] if once_a_batch else request.items
    return tuple(
        AiCall(
            function=function,
            model="test",
            status="failed" if item in failing else "succeeded",
            credits_used=0 if item in failing else price,
        )
        for item in whom
    )


def facts_of(
    stage: int, item: str, clusters: dict[str, str], prompts: int, slug: str
) -> list[Fact]:
    made = f"{item}/{stage}"
    match stage:
        case 1:
            cluster = clusters.get(item, made)
            first = next((one for one, of in clusters.items() if of == cluster), item)
            return [Cluster(id=cluster, name=cluster, intent="informational", first=first)]
        case 2:
            return [
                Idea(
                    id=made,
                    cluster_id=item,
                    title=made,
                    intent="informational",
                    outline=("Basics",),
                    target_keywords=(),
                )
            ]
        case 3:
            return [Task(id=made, idea_id=item, title=made)]
        case 4:
            return [draft(made, task=item, slug=slug or made)]
        case 5:
            return [prompt(f"{made}.{number}", content=item) for number in range(prompts)]
        case 6:
            return [
                Image(
                    id=made,
                    prompt_id=item,
                    content_id="",
                    file="0" * 64,
                    media_type="image/webp",
                    width=1200,
                    height=630,
                    size=1000,
                    alt="A glass",
                )
            ]
        case _:
            return []


def draft(id_: str, *, task: str = "t1", slug: str = "cold-brew") -> Draft:
    return Draft(
        id=id_,
        task_id=task,
        title="Cold Brew",
        slug=slug,
        body="0" * 64,
        meta_title="Cold Brew",
        meta_description="How to make it.",
        word_count=100,
        keywords=("cold brew",),
    )


def prompt(id_: str, *, content: str) -> Prompt:
    return Prompt(
        id=id_, content_id=content, role="featured", section="", text="A glass", alt="A glass"
    )


def failure(request: StageBatchRequested, *, cost: int = 0) -> BatchFailed:
    calls = (AiCall(function="any", model="test", status="failed", credits_used=cost),)
    return BatchFailed(
        stage=request.stage,
        batch_id=request.batch_id,
        attempt=request.attempt,
        error="KeyError: 'x'",
        calls=calls if cost else (),
    )


def returned(request: StageBatchRequested) -> BatchReturned:
    return BatchReturned(
        stage=request.stage,
        batch_id=request.batch_id,
        attempt=request.attempt,
        reason="the run was not running",
    )


def stage_report(request: StageBatchRequested) -> StageCompleted:
    """Return what a worker says after a stage's last batch; the rules have the sums themselves."""
    return StageCompleted(
        stage=request.stage,
        result=zero_counts(request.stage),
        items_done=0,
        items_failed=0,
        credits_used=0,
        partial=False,
        batch_id=request.batch_id,
    )


def do(state: State, request: StageBatchRequested, **how: Any) -> State:
    """Return the state after a worker has done a batch, and reported its stage after the last."""
    state = after(state, report(request, **how))
    return after(state, stage_report(request)) if request.last else state


def in_flight(state: State) -> list[StageBatchRequested]:
    """Return the batches that the run waits for, as a worker sees them."""
    return [
        StageBatchRequested(
            stage=asked.stage,
            batch_id=batch_id,
            attempt=asked.attempt,
            items=asked.items,
            prices=state.run.prices,
            site_name=state.run.site_name,
            last=asked.last,
            so_far=state.run.tally,
            answer_by=state.now,
        )
        for batch_id, asked in state.run.in_flight.items()
    ]


def drive(state: State, *, until: int = 8, **how: Any) -> State:
    """Do batch after batch until the run has ended, waits, or has come to the stage `until`."""
    while (open_ := in_flight(state)) and state.run.status == "running":
        if open_[0].stage >= until:
            break
        for request in open_:
            state = do(state, request, **how)
    return state


class Scene:
    """The orchestrator over a store in memory, with a clock that stands until it is moved."""

    def __init__(self, store: Store | None = None, timeout: int = TIMEOUT) -> None:
        self.store = store or Store(IN_MEMORY)
        self.now = AT
        self.timeout = timeout
        self.handler = self.restarted()
        self.sent = 0

    def restarted(self) -> Handler:
        return Handler(self.store, lambda: self.now, self.timeout)

    def envelope(
        self,
        message: Message,
        site: str | None = SITE,
        run: str | None = None,
        account: str = ACCOUNT,
        id_: str = "",
    ) -> Envelope:
        self.sent += 1
        id_ = id_ or f"msg-{self.sent}"
        return Envelope(
            id=id_,
            account_id=account,
            site_id=site,
            run_id=run,
            at=self.now,
            cause=id_,
            message=message,
        )

    def send(self, message: Message, **whom: Any) -> list[Event]:
        """Handle a message; return its events, the receipt last. Raises what hit a bug."""
        envelope = self.envelope(message, **whom)
        return self.handle(envelope)

    def handle(self, envelope: Envelope) -> list[Event]:
        before = self.last_position
        for one, bug in self.handler.handle([envelope]):
            self.handler.give_up(one)
            raise bug
        return [event_of(one) for one in self.store.stored(before)]

    @property
    def last_position(self) -> int:
        return int(self.store.recorder.max_notification_id() or 0)

    def log(self) -> list[Stored]:
        return list(self.store.stored())

    def stream(self, name: str) -> list[Event]:
        return [one.envelope.message for one in self.store.read(name)]

    def receipt(self, message_id: str) -> MessageAccepted | MessageRefused:
        (receipt,) = self.stream(receipt_stream(message_id))
        assert isinstance(receipt, MessageAccepted | MessageRefused)
        return receipt

    def furnish(
        self, amount: int = 1000, sites: Sequence[str] = (SITE,), **changes: Any
    ) -> "Scene":
        """Open the account, its sites without delays, and return the scene."""
        self.send(AccountRequested(name="Daily Grind", amount=amount, key=KEY), site=None)
        for site in sites:
            self.send(SiteRequested(name=site, domain=site, timezone="UTC"), site=site)
            changed = ConfigChanges(**{**AT_ONCE, **changes})
            self.send(ConfigUpdateRequested(changes=changed), site=site)
        return self

    def submit(self, *texts: str, site: str = SITE) -> list[Event]:
        submitted = tuple(NewKeyword(keyword=text) for text in texts)
        return self.send(KeywordsSubmitted(keywords=submitted), site=site)

    def grant(self, amount: int) -> list[Event]:
        return self.send(CreditsRequested(amount=amount, reason="top-up"), site=None)

    def open_requests(self) -> Iterator[Envelope]:
        """Yield the requests that are in flight by the log, oldest first."""
        waiting_for: dict[str, Envelope] = {}
        for stored in self.store.stored():
            envelope = stored.placed.envelope
            message = envelope.message
            match message:
                case StageBatchRequested(batch_id=batch):
                    waiting_for[batch] = envelope
                case Event(STREAM="run") if hasattr(message, "batch_id"):
                    waiting_for.pop(message.batch_id or "", None)
        yield from waiting_for.values()


def event_of(stored: Stored) -> Event:
    message = stored.placed.envelope.message
    assert isinstance(message, Event)
    return message


def answer(request: Envelope, message: Event, at: datetime) -> Envelope:
    """Return a worker's report in its envelope, with the id that follows from the request's."""
    numbers = {"StageBatchCompleted": 0, "StageCompleted": 1, "BatchFailed": 2, "BatchReturned": 3}
    return request.reply(message, numbers[message.TYPE], at)


def cluster_ids(run_id: str, items: Sequence[str]) -> dict[str, str]:
    """Return clusters of two keywords each, the same for every batch of the run's stage 1."""
    return {item: derive("cl", run_id, index // 2) for index, item in enumerate(items)}
