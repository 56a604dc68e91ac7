"""What a run does next: the one place that decides it, after whatever has happened."""

from datetime import timedelta
from itertools import islice

from events.account import CreditsReleased
from events.ids import batch_id_of, derive
from events.message import Event
from events.pipeline import LAST, stage_of, zero_counts
from events.run import (
    RunCompleted,
    RunFailed,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
    TimerSet,
)
from events.site import SiteReleased
from services.orchestrator.rules.credits import cover
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.state import Run, State


def then(state: State, events: list[Event]) -> list[Event]:
    """Return the events and all that follows from them, until the run waits or has ended."""
    done: list[Event] = []
    while events:
        done += events
        for event in events:
            state = evolve(state, event)
        events = next_step(state)
    return done


def next_step(state: State) -> list[Event]:
    """Return the one next step: nothing while the run is paused or waits for an answer."""
    run = state.run
    if run.has_ended:
        return _release(state)
    if run.status != "running" or run.timer or run.reported:
        return []
    return _in_stage(state) if run.is_open else _between_stages(state)


def _release(state: State) -> list[Event]:
    """The hold lasts until nothing is in flight: what may still be done must be paid for."""
    held = state.account.holds.get(state.run.id, 0)
    return [CreditsReleased(amount=held)] if held and not state.run.in_flight else []


def _between_stages(state: State) -> list[Event]:
    run = state.run
    if run.tally.items_failed and not run.tally.items_done:
        return fail(run, _all_failed(run))
    if run.stage == LAST:
        return [RunCompleted(total_credits_used=run.credits_used), SiteReleased()]
    if delay := _delay(state):
        return delay
    waiting = (item for item in state.site.waiting(run.stage + 1) if run.may_take(item))
    items = tuple(islice(waiting, run.config.max_items_per_stage))
    return [StageStarted(stage=run.stage + 1, items=items)]


def _in_stage(state: State) -> list[Event]:
    run = state.run
    busy = {
        item for asked in (*run.in_flight.values(), *run.again.values()) for item in asked.items
    }
    left = tuple(item for item in run.items if item not in run.settled and item not in busy)
    if not left and not run.again:
        return [] if run.in_flight else [complete(run)]
    if len(run.in_flight) >= run.config.max_parallel_batches:
        return []
    if delay := _delay(state):
        return delay
    if run.again:
        batch_id, back = next(iter(run.again.items()))
        others = bool(left) or len(run.again) > 1
        return _ask(state, batch_id, back.items, back.attempt + 1, others=others)
    size = run.config.batch_size(run.stage)
    batch_id = batch_id_of(run.id, run.stage, run.batches + 1)
    return _ask(state, batch_id, left[:size], 1, others=len(left) > size)


def _ask(
    state: State, batch_id: str, items: tuple[str, ...], attempt: int, *, others: bool
) -> list[Event]:
    """Ask for a batch, if it is covered; the last one of a stage goes alone."""
    run = state.run
    if not others and run.in_flight:
        return []
    first = cover(state, run.stage, len(items))
    if any(event.TYPE == "RunPaused" for event in first):
        return first
    request = StageBatchRequested(
        stage=run.stage,
        batch_id=batch_id,
        attempt=attempt,
        items=items,
        prices=run.prices,
        site_name=run.site_name,
        last=not others,
        so_far=run.tally,
        answer_by=state.now + timedelta(seconds=state.batch_timeout),
        models=run.models,
        brief=run.config.brief,
    )
    return [*first, request]


def _delay(state: State) -> list[Event]:
    run = state.run
    if run.rest is None:
        return []
    seconds = {
        "within_stage": run.config.within_stage_delay,
        "between_stages": run.config.between_stage_delay,
        "provider": run.wait,
    }[run.rest]
    if not seconds:
        return []
    return [
        TimerSet(
            timer_id=derive("timer", run.id, run.timers + 1),
            purpose=run.rest,
            due_at=state.now + timedelta(seconds=seconds),
        )
    ]


def complete(run: Run, batch_id: str | None = None) -> StageCompleted:
    """Return the stage's result as the rules have counted it."""
    return StageCompleted(
        stage=run.stage,
        result={**zero_counts(run.stage), **run.tally.counts},
        items_done=run.tally.items_done,
        items_failed=run.tally.items_failed,
        credits_used=run.tally.credits_used,
        partial=run.tally.items_failed > 0,
        batch_id=batch_id,
    )


def fail(run: Run, message: str) -> list[Event]:
    """End the run as failed; a person reads the message."""
    return [RunFailed(error_message=message), SiteReleased(taken=run.taken)]


def _all_failed(run: Run) -> str:
    stage = stage_of(run.stage)
    count = run.tally.items_failed
    what = f"its only {stage.takes}" if count == 1 else f"all {count} {stage.takes}s"
    return f"Stage {stage.number} ({stage.name}) failed for {what}: {run.last_error}"
