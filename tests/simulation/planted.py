"""Bugs that are planted into the services, so that every check is seen to find what it is for.

Each stands for a mistake that somebody could make. `BUGS` says which invariant it breaks and what
is wrong; it is planted by patching a rule (`OF_RULES`), by changing what a decision returned
(`OF_DECISIONS`), in the handler below, or where the actors ask for `world.bug`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from events.account import CreditsHeld, CreditsReleased, CreditsSettled
from events.commands import CancelRequested, PauseRequested, RunRequested
from events.message import Event, Message
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchGivenUp,
    RunCancelled,
    RunPaused,
    RunStarted,
    StageBatchCompleted,
    StageCompleted,
    StageStarted,
    TimerFired,
)
from events.site import (
    ItemsFreed,
    ItemsMoved,
    ItemsRequeued,
    RunRefused,
    ScheduleAdvanced,
    SiteReleased,
)
from services.orchestrator import relay
from services.orchestrator.handler import Handler, Seen
from services.orchestrator.rules import evolve, site, stages, start
from services.orchestrator.rules import run as run_rules
from services.orchestrator.rules.state import Run, Site, State
from services.orchestrator.store import Recorded
from tests.simulation import actors, broker

if TYPE_CHECKING:
    from tests.simulation.world import World

BUGS: dict[str, tuple[str, str]] = {
    # the log
    "stale_memory": ("I-L1", "the orchestrator keeps what a failed append would have changed"),
    "no_tenant_check": ("I-L8", "a command may name another account's site"),
    "guard_on_read_model": ("I-L4", "the one-active-run rule is checked on the projection"),
    "ended_runs_pause": ("I-L5", "a run that has ended may be paused"),
    "skips_a_stage": ("I-L6", "a stage with nothing to do is passed over without a word"),
    "cancel_keeps_the_site": ("I-L6", "a cancelled run keeps its site"),
    "ack_first": (
        "I-L7",
        "the offset is committed before the append, and nobody sends again",
    ),
    "no_receipt": ("I-L7", "messages are not de-duplicated by their receipt"),
    "accepts_and_forgets": ("I-L7", "a pause is accepted and not done"),
    "refuses_and_holds": ("I-L7", "a start is refused and its hold stays"),
    "ids_by_time": ("I-L7", "an event's id depends on when it was decided"),
    "more_unsaid": ("I-P2", "events do not say that more of their append are to come"),
    # work
    "report_settles_twice": ("I-W1", "a report that comes again settles its items again"),
    "cancel_frees_items": ("I-W1", "items in flight at a cancel are free for the next run"),
    "cursor": ("I-W1", "a batch that came back is passed over, as by a cursor"),
    "move_forgets": ("I-W1", "items that failed do not move on the site's stream"),
    "items_from_nowhere": ("I-W1", "a stage also takes items that nobody made"),
    "retry_takes_all": ("I-W1", "a retry takes more than what failed"),
    "retry_stays_failed": ("I-W1", "what is retried does not wait again"),
    "keyword_twice": ("I-W1", "a keyword that the site has is added again"),
    "cluster_twice": ("I-W8", "a cluster that two batches report waits twice"),
    "slug_twice": ("I-W8", "two articles of a site have one address"),
    "review_twice": ("I-L6", "an article may be reviewed again"),
    "blind_worker": ("I-W6", "the worker begins a batch without reading whether it is wanted"),
    "no_report_memory": ("I-W2", "the worker does not remember reports that it has sent"),
    "resume_requests_again": ("I-W3", "resume asks for a batch again while it is in flight"),
    "same_attempt": ("I-W3", "a batch that came back is asked for under its old attempt"),
    "last_goes_early": ("I-W3", "a stage's last batch does not wait for the others"),
    "early_end": ("I-W3", "a stage is completed while items are left"),
    "halt_ends_stage": ("I-W5", "a stage ends though its provider has not answered for all"),
    "deferred_stay_taken": ("I-W1", "what a halt defers of an ended run stays taken"),
    "paused_goes_on": ("I-W6", "a paused run asks for its next batch"),
    "cancelled_goes_on": ("I-W7", "a cancelled run asks for one more batch"),
    "worker_counts": ("I-W4", "the stage's sums are taken from the worker's report"),
    "gives_up_others": ("I-W3", "a batch is given up with items that are not its own"),
    "timer_stays": ("I-W3", "a timer that has fired stays set"),
    "never_frees": ("I-W1", "items of an ended run's batch that came back stay taken"),
    # money
    "charge_every_report": ("I-W9", "a report without effect is settled all the same"),
    "cancel_releases_at_once": ("I-W4", "cancel releases the hold while a batch is in flight"),
    "keeps_the_hold": ("I-W4", "an ended run's hold is never released"),
    "overdraws": ("I-W4", "what a batch cost is settled though the account does not have it"),
    "settles_less": ("I-W4", "the ledger settles less than the calls stand at"),
    "no_admission": ("I-W5", "a run starts without the credits that it needs"),
    "no_hold": ("I-W5", "a run starts without placing its hold"),
    "no_cover": ("I-W5", "a batch is asked for that the hold does not cover"),
    # schedule
    "slot_stays_due": ("I-W10", "a slot that was answered stays due"),
    "silent_skip": ("I-W10", "a slot that was missed leaves no line"),
    "slot_of_nobody": ("I-W10", "a scheduled run does not say which slot it answers"),
    # relay and broker
    "relay_saves_first": ("I-R3", "the relay saves its position before the broker acknowledged"),
    "no_epoch_check": ("I-R4", "the relay does not notice a broker that came back empty"),
    "relay_races": ("I-R2", "the relay sends on before the last batch is acknowledged"),
    "relay_skips": ("I-R1", "the relay passes over an event that it could not send"),
    "poison_dropped": ("I-R5", "what cannot be decoded is dropped without a dead letter"),
    # read model, API, scheduler
    "no_position_check": ("I-P1", "the projection applies a repeated event again"),
    "half_appends": ("I-P2", "the projector forgets what it began to read"),
    "projector_commits_first": ("I-P2", "the projector commits the offset before its rows"),
    "api_forgets": ("I-H3", "the API does not send a pending command again"),
}

Decision = Callable[["World", State, Message, list[Event], Event], list[Event]]


def _without(kind: type[Event]) -> Decision:
    return lambda _w, _s, _m, events, _r: [one for one in events if not isinstance(one, kind)]


def _changed(kind: type[Event], change: Callable[[Any], dict[str, Any]]) -> Decision:
    return lambda _w, _s, _m, events, _r: [
        one.model_copy(update=change(one)) if isinstance(one, kind) else one for one in events
    ]


def _ended_runs_pause(_: Any, state: State, message: Message, events: list[Event], __: Any) -> Any:
    if isinstance(message, PauseRequested) and state.run.has_ended and not state.is_foreign:
        return [RunPaused(), MessageAccepted(kind=message.TYPE)]
    return events


def _accepts_and_forgets(
    world: "World", _: Any, message: Message, events: list[Event], __: Any
) -> list[Event]:
    forgets = isinstance(message, PauseRequested) and world.random.random() < 0.3
    return [one for one in events if not (forgets and isinstance(one, RunPaused))]


def _refuses_and_holds(_: Any, __: Any, message: Message, events: list[Event], no: Event) -> Any:
    is_refused = isinstance(message, RunRequested) and isinstance(no, MessageRefused)
    if is_refused and getattr(no, "code", "") == "run_already_active":
        return [*events, CreditsHeld(amount=1)]
    return events


def _report_settles_twice(
    world: "World", _: Any, message: Message, events: list[Event], __: Any
) -> list[Event]:
    if isinstance(message, StageBatchCompleted):
        if events:
            world.recorded[message.batch_id] = [
                one for one in events if isinstance(one, StageBatchCompleted | ItemsMoved)
            ]
        return events or world.recorded.get(message.batch_id, [])
    return events


def _cancelled_goes_on(
    _: Any, state: State, message: Message, events: list[Event], __: Any
) -> list[Event]:
    if isinstance(message, CancelRequested) and any(isinstance(e, RunCancelled) for e in events):
        run = replace(state.run, in_flight={}, rest=None, timer=None, status="running")
        if run.is_open:
            return events + stages._in_stage(replace(state, run=run))
    return events


def _resume_requests_again(
    world: "World", state: State, _: Any, events: list[Event], __: Any
) -> list[Event]:
    if [one.TYPE for one in events] == ["RunResumed"] and state.run.in_flight:
        flying = [one.envelope.message for one in world.waiting.values() if world.is_in_flight(one)]
        mine = [one for one in flying if getattr(one, "batch_id", "") in state.run.in_flight]
        return [*events, *mine]
    return events


def _charge_every_report(
    _: Any, state: State, message: Message, events: list[Event], __: Any
) -> list[Event]:
    match events, message:
        case [], StageBatchCompleted(stage=stage, batch_id=batch) if state.account.balance:
            return [CreditsSettled(stage=stage, batch_id=batch, amount=1, from_hold=0)]
    return events


def _cancel_releases_at_once(
    _: Any, state: State, __: Any, events: list[Event], ___: Any
) -> list[Event]:
    match events:
        case [RunCancelled(), SiteReleased()] if state.account.holds.get(state.run.id):
            return [*events, CreditsReleased(amount=state.account.holds[state.run.id])]
    return events


def _worker_counts(_: Any, __: Any, message: Message, events: list[Event], ___: Any) -> list[Event]:
    match events, message:
        case [StageCompleted(), *rest], StageCompleted():
            wrong = message.model_copy(update={"credits_used": message.credits_used + 1})
            return [wrong, *rest]
    return events


def _items_from_nowhere(event: StageStarted) -> dict[str, Any]:
    return {"items": (*event.items, f"{event.items[0]}x")} if event.items else {}


OF_DECISIONS: dict[str, Decision] = {
    "ended_runs_pause": _ended_runs_pause,
    "accepts_and_forgets": _accepts_and_forgets,
    "refuses_and_holds": _refuses_and_holds,
    "report_settles_twice": _report_settles_twice,
    "cancelled_goes_on": _cancelled_goes_on,
    "resume_requests_again": _resume_requests_again,
    "charge_every_report": _charge_every_report,
    "cancel_releases_at_once": _cancel_releases_at_once,
    "worker_counts": _worker_counts,
    "timer_stays": _without(TimerFired),
    "cancel_keeps_the_site": lambda _w, _s, message, events, _r: [
        one
        for one in events
        if not (isinstance(message, CancelRequested) and isinstance(one, SiteReleased))
    ],
    "cancel_frees_items": _changed(SiteReleased, lambda _: {"taken": ()}),
    "move_forgets": _changed(ItemsMoved, lambda _: {"failed": ()}),
    "gives_up_others": _changed(BatchGivenUp, lambda one: {"items": (*one.items, "x")}),
    "settles_less": _changed(
        CreditsSettled, lambda one: {"amount": one.amount - 1, "from_hold": 0}
    ),
    "items_from_nowhere": _changed(StageStarted, _items_from_nowhere),
    "retry_stays_failed": _without(ItemsRequeued),
    "never_frees": _without(ItemsFreed),
    "no_hold": lambda _w, _s, message, events, _r: [
        one
        for one in events
        if not (isinstance(message, RunRequested) and isinstance(one, CreditsHeld))
    ],
    "slot_stays_due": _without(ScheduleAdvanced),
    "silent_skip": _without(RunRefused),
    "slot_of_nobody": _changed(RunStarted, lambda _: {"slot": None}),
}


# --- rules that are replaced


def _skips_a_stage(real: Any) -> Any:
    def between(state: State) -> list[Event]:
        run = state.run
        empty = run.stage + 1 < 7 and not state.site.waiting(run.stage + 1)
        if empty and run.stage >= 1:
            state = replace(state, run=replace(run, stage=run.stage + 1))
        return list(real(state))

    return between


def _cursor(real: Any) -> Any:
    def came_back(run: Run, event: Any) -> Run:
        after: Run = real(run, event)
        gone = run.in_flight.get(event.batch_id)
        settled = after.settled | set(gone.items if gone else ())
        return replace(after, settled=settled, again={})

    return came_back


def _same_attempt(real: Any) -> Any:
    def ask(state: State, batch_id: str, items: Any, attempt: int, *, others: bool) -> Any:
        return real(state, batch_id, items, max(1, attempt - 1), others=others)

    return ask


def _last_goes_early(real: Any) -> Any:
    def ask(state: State, batch_id: str, items: Any, attempt: int, *, others: bool) -> Any:
        alone = replace(state, run=replace(state.run, in_flight={}))
        return real(alone, batch_id, items, attempt, others=others)

    return ask


def _early_end(real: Any) -> Any:
    def in_stage(state: State) -> Any:
        run = state.run
        if run.settled and not run.in_flight and len(run.settled) < len(run.items):
            return [stages.complete(run)]
        return real(state)

    return in_stage


def _halt_ends_stage(real: Any) -> Any:
    def recorded(run: Run, event: StageBatchCompleted) -> Run:
        return real(run, event.model_copy(update={"deferred": ()}))  # type: ignore[no-any-return]

    return recorded


def _paused_goes_on(real: Any) -> Any:
    def next_step(state: State) -> Any:
        paused = state.run.status == "paused" and state.run.is_open and not state.run.in_flight
        return real(replace(state, run=replace(state.run, status="running")) if paused else state)

    return next_step


def _overdraws(_: Any) -> Any:
    def charge(state: State, report: Any) -> Any:
        cost = sum(call.credits_used for call in report.calls)
        if cost == 0:
            return report, []
        held = state.account.holds.get(state.run.id, 0)
        settled = CreditsSettled(
            stage=report.stage, batch_id=report.batch_id, amount=cost, from_hold=min(cost, held)
        )
        return report, [settled]

    return charge


def _no_admission(real: Any) -> Any:
    def admit(state: State, message: RunRequested) -> Any:
        rich = replace(state.account, balance=state.account.balance + 1_000)
        return real(replace(state, account=rich), message)

    return admit


def _keyword_twice(real: Any) -> Any:
    def add(state: State, message: Any) -> Any:
        return real(replace(state, site=replace(state.site, keywords=frozenset())), message)

    return add


def _cluster_twice(real: Any) -> Any:
    def moved(state: State, report: Any) -> Any:
        forgetful = replace(state.site, clusters=frozenset())
        return real(replace(state, site=forgetful), report)

    return moved


# --- where the relay's producer goes wrong


def _races(real: Any) -> Any:
    async def send(self: Any, records: Any) -> None:
        mixed = list(records)
        if self._broker.chance.random() < 0.1:
            mixed.reverse()
        await real(self, mixed)

    return send


def _skips(real: Any) -> Any:
    async def send(self: Any, records: Any) -> None:
        try:
            await real(self, records)
        except actors.AnswerLost:
            return

    return send


async def _one_epoch(*_: Any) -> str:
    return "epoch-0"


Replaced = tuple[Any, str, Callable[[Any], Any]]


def _of_rules() -> dict[str, list[Replaced]]:
    return {
        "skips_a_stage": [(stages, "_between_stages", _skips_a_stage)],
        "cursor": [(evolve, "_came_back", _cursor)],
        "retry_takes_all": [(Run, "may_take", lambda _: lambda _self, _item: True)],
        "keyword_twice": [(site, "add_keywords", _keyword_twice)],
        "cluster_twice": [(run_rules, "moved", _cluster_twice)],
        "slug_twice": [(run_rules, "unique_slugs", lambda _: lambda _site, report: report)],
        "review_twice": [(site, "_in_review", lambda _: lambda _state, content: content)],
        "same_attempt": [(stages, "_ask", _same_attempt)],
        "last_goes_early": [(stages, "_ask", _last_goes_early)],
        "early_end": [(stages, "_in_stage", _early_end)],
        "paused_goes_on": [(stages, "next_step", _paused_goes_on)],
        "halt_ends_stage": [(evolve, "_recorded", _halt_ends_stage)],
        "deferred_stay_taken": [(run_rules, "free_deferred", lambda _: lambda *_args: [])],
        "keeps_the_hold": [(stages, "_release", lambda _: lambda _state: [])],
        "overdraws": [(run_rules, "charge", _overdraws)],
        "no_admission": [(start, "admit", _no_admission)],
        "no_cover": [(stages, "cover", lambda _: lambda *_args: [])],
        "relay_races": [(broker.SimOrderedProducer, "send", _races)],
        "relay_skips": [(broker.SimOrderedProducer, "send", _skips)],
        "no_epoch_check": [(relay, "epoch_of", lambda _: _one_epoch)],
    }


def planted(world: "World") -> list[AbstractContextManager[Any]]:
    """Return what plants the world's bug into rules and relay."""
    replaced = _of_rules().get(world.bug or "", [])
    return [
        mock.patch.object(owner, name, change(getattr(owner, name)))
        for owner, name, change in replaced
    ]


def tampered(world: "World", state: State, message: Message, decided: list[Event]) -> list[Event]:
    """Return the decision as the world's bug has it."""
    *events, receipt = decided
    change = OF_DECISIONS.get(world.bug or "")
    if change is None:
        return decided
    after = change(world, state, message, events, receipt)
    is_whole = bool(after) and isinstance(after[-1], MessageAccepted | MessageRefused)
    return after if is_whole else [*after, receipt]


class BuggyHandler(Handler):
    """The real handler, but for the bugs that are planted in it."""

    def __init__(self, world: "World", me: str) -> None:
        super().__init__(world.store, lambda: world.now(me), world.timeout)
        self._world, self._me = world, me

    def handle(self, received: Any) -> Any:
        bugs = super().handle(received)
        self._world.mark[self._me] = "a crash between append and commit"
        return bugs

    def _together(self, received: Any) -> None:
        if self._world.bug == "stale_memory":
            view = dict[str, Seen]()
            try:
                new = [n for one in received for n in self._decide(one, view, fresh=False)]
                self._store.append(new)
            finally:
                self._remember(view)
            return
        super()._together(received)

    def _look(self, kind: Any, stream: str, *, fresh: bool) -> Seen:
        seen = super()._look(kind, stream, fresh=fresh)
        if self._world.bug == "guard_on_read_model" and kind == "site":
            shown = self._world.tables.sites.get(stream, Site())  # type: ignore[attr-defined]
            return replace(seen, state=replace(seen.state, active=shown.active))
        return seen

    def _decide(self, received: Any, view: dict[str, Seen], *, fresh: bool) -> list[Recorded]:
        world = self._world
        if world.bug == "no_tenant_check":
            with mock.patch.object(Seen, "is_foreign_to", return_value=False):
                new = super()._decide(received, view, fresh=fresh)
        else:
            new = super()._decide(received, view, fresh=fresh)
        match world.bug:
            case "no_receipt":
                outcomes = self._store.read(new[-1].originator_id)
                new[-1] = replace(new[-1], originator_version=len(outcomes) + 1)
            case "ids_by_time":
                seconds = int(world.now(self._me).timestamp())
                new = [_with(one, id=f"{one.envelope.id}-{seconds}") for one in new]
            case "more_unsaid":
                new = [_with(one, more=False) for one in new]
        return new


def _with(recorded: Recorded, **fields: Any) -> Recorded:
    return replace(recorded, envelope=recorded.envelope.model_copy(update=fields))
