"""Whether a run may start, what it is priced at, and which slot of a schedule it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from events.account import CreditsHeld
from events.commands import RunRequested
from events.estimate import StageEstimate, estimate, required_of, total_of
from events.message import Event
from events.pipeline import CONTENT, STAGES
from events.prices import CURRENT, Models
from events.run import RunStarted, StageItems
from events.site import ItemsRequeued, RunRefused, ScheduleAdvanced, SiteOccupied
from services.orchestrator.rules.schedule import TOO_EARLY, TOO_LATE, slots_over
from services.orchestrator.rules.state import Refused, Site, State

CHANGED = "The schedule has been changed since this was due."


def start(state: State, message: RunRequested) -> list[Event]:
    """Occupy the site, start the run and hold its credits. Raises Refused.

    A slot of the schedule is answered once, whatever the answer: the schedule moves on in the same
    append, and each slot that no run was started for says why.
    """
    answered = answer_slot(state, message)
    try:
        admitted = admit(state, message)
    except Refused as no:
        events = (*answered.missed, _refusal(message, answered.slot, no), *answered.advanced)
        raise _leaving(no, *events) from no
    site = state.site
    started = RunStarted(
        trigger_type=message.trigger_type,
        config=site.config,
        prices=CURRENT,
        site_name=site.name,
        estimated_credits=admitted.estimated,
        required_credits=admitted.required,
        available_credits=state.account.available,
        estimate=admitted.stages,
        slot=answered.slot,
        retry_of=message.retry_of,
        retried=admitted.retried,
        models=state.models_now,
    )
    again = [ItemsRequeued(stage=one.stage, items=one.items) for one in admitted.retried]
    hold = [CreditsHeld(amount=admitted.required)] if admitted.required else []
    return [*answered.missed, SiteOccupied(), *again, started, *hold, *answered.advanced]


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a run that may start was priced at; `retried` are the items that it is kept to."""

    stages: tuple[StageEstimate, ...]
    retried: tuple[StageItems, ...] = ()

    @property
    def estimated(self) -> int:
        return total_of(self.stages)

    @property
    def required(self) -> int:
        return required_of(self.estimated)


def admit(state: State, message: RunRequested) -> Admitted:
    """Return what the run is priced at. Raises Refused."""
    site, available = state.site, state.account.available
    if site.active:
        detail = "A run of this site is active; wait for its end, or cancel it."
        raise Refused("run_already_active", detail, {"active_run_id": site.active})
    admitted = price(site, message.retry_of, state.models_now)
    if available < admitted.required:
        detail = f"The run needs {admitted.required} credits and {available} are available."
        numbers = {
            "estimated_credits": admitted.estimated,
            "required_credits": admitted.required,
            "available_credits": available,
        }
        raise Refused("insufficient_credits", detail, numbers)
    return admitted


def price(site: Site, retry_of: str | None, models: Models) -> Admitted:
    """Return what a run over all that waits would cost, or over what failed in another run.

    Raises Refused when there is nothing to do.
    """
    if retry_of is None:
        waiting = {stage.number: site.waiting(stage.number) for stage in STAGES}
        if not any(waiting.values()):
            raise Refused("nothing_to_do", "No stage has anything to do; add keywords first.")
        retried: tuple[StageItems, ...] = ()
    else:
        retried = site.failed_in(retry_of)
        if not retried:
            detail = "No item failed in that run, or all that did have been tried again."
            raise Refused("nothing_to_do", detail, {"retry_of": retry_of})
        waiting = {one.stage: one.items for one in retried}
    pending = [len(waiting.get(stage.number, ())) for stage in STAGES]
    revisions = len(site.revising.intersection(waiting.get(CONTENT, ())))
    stages = estimate(pending, site.config, CURRENT, site.history, revisions, models)
    return Admitted(stages, retried)


def _refusal(message: RunRequested, slot: datetime | None, no: Refused) -> RunRefused:
    return RunRefused(
        trigger_type=message.trigger_type,
        slot=slot,
        code=no.code,
        detail=no.detail,
        numbers=no.numbers,
    )


def _leaving(no: Refused, *events: Event) -> Refused:
    return Refused(no.code, no.detail, no.numbers, events)


@dataclass(frozen=True, slots=True)
class Answered:
    """The slot that a run may be started for, none when a person asked, and what is written of it.

    `missed` and `advanced` are written whether the run is started or not.
    """

    slot: datetime | None = None
    missed: tuple[RunRefused, ...] = ()
    advanced: tuple[ScheduleAdvanced, ...] = ()


def answer_slot(state: State, message: RunRequested) -> Answered:
    """Return which of the slots that are over a run may be started for. Raises Refused.

    After an outage that is the newest one, if it is less than 23 hours late: at most one run, and
    the older ones are missed.
    """
    due, now = message.slot, state.now
    if due is None:
        return Answered()
    if due != state.site.next_run_at:
        raise _moved_on(state, message, due)
    if due - now > TOO_EARLY:  # it stays due: the scheduler asks again, with another command
        seconds = int((due - now).total_seconds())
        detail = f"The schedule is due in {seconds} seconds; the scheduler's clock is ahead."
        raise Refused("schedule_not_due", detail, {"seconds_early": seconds})
    over, upcoming = slots_over(state.site.config, due, now)
    *older, newest = over
    advanced = ScheduleAdvanced(slot=newest, next_run_at=upcoming)
    if now - newest >= TOO_LATE:
        late = f"the last {_hours(now - newest)} hours ago; a run is caught up within 23 hours."
        no = _missed(over, now, late)
        raise _leaving(no, _refusal(message, due, no), advanced)
    if not older:
        return Answered(newest, (), (advanced,))
    no = _missed(older, now, "and of several only the newest is caught up.")
    return Answered(newest, (_refusal(message, due, no),), (advanced,))


def _moved_on(state: State, message: RunRequested, due: datetime) -> Refused:
    """Return why a slot that is not the next one is refused.

    One that was answered has left its run or its line in `why`.
    """
    if state.site.answered is not None and due <= state.site.answered:
        return Refused("schedule_answered", "This slot of the schedule has been answered.")
    no = Refused("schedule_changed", CHANGED)
    return _leaving(no, _refusal(message, due, no))


def give_up(state: State, upcoming: datetime | None) -> list[Event]:
    """Answer the slots that are over as the schedule changes: no run, and one line says why."""
    due, now = state.site.next_run_at, state.now
    if due is None or due > now:
        return []
    over, _ = slots_over(state.site.config, due, now)
    numbers: dict[str, int | str] = {"missed_slots": len(over)} if len(over) > 1 else {}
    asked = RunRequested(trigger_type="scheduled", slot=due)
    refused = _refusal(asked, due, Refused("schedule_changed", CHANGED, numbers))
    return [refused, ScheduleAdvanced(slot=over[-1], next_run_at=upcoming)]


def _missed(slots: Sequence[datetime], now: datetime, reason: str) -> Refused:
    """Return the one refusal of slots that nobody answered, which names the first and the last."""
    count = "1 slot" if len(slots) == 1 else f"{len(slots)} slots"
    numbers: dict[str, int | str] = {
        "missed_slots": len(slots),
        "hours_late": _hours(now - slots[0]),
        "last_missed_slot": f"{slots[-1]:%Y-%m-%dT%H:%M:%SZ}",
    }
    return Refused(
        "schedule_missed", f"{count} of the schedule passed unanswered, {reason}", numbers
    )


def _hours(late: timedelta) -> int:
    return int(late.total_seconds() // 3600)
