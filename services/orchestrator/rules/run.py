"""A run's transitions: which message is followed in which state, and by what."""

from events.account import CreditsHeld
from events.commands import (
    BatchTimedOut,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.content import Draft, Fact, Outcome, tally_of
from events.estimate import estimate, required_of, total_of
from events.message import Event, Message
from events.pipeline import STAGES, stage_of
from events.prices import CURRENT
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    RunCancelled,
    RunPaused,
    RunResumed,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    TimerFired,
)
from events.site import (
    ItemsFreed,
    ItemsMoved,
    Made,
    RunRefused,
    ScheduleAdvanced,
    SiteOccupied,
    SiteReleased,
)
from services.orchestrator.rules.credits import charge
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.schedule import TOO_LATE, next_run_at
from services.orchestrator.rules.stages import complete, fail, then
from services.orchestrator.rules.state import UNKNOWN, Asked, Refused, Run, Site, State

TRIES = 3  # attempts of one batch before it is given up, or the run with it


def follow_run(state: State, message: Message) -> list[Event]:
    """Return what follows for the run. Raises Refused."""
    run = state.run
    match message, run.status:
        case RunRequested(), "absent":
            return then(state, start(state, message))
        case PauseRequested(), "running":
            return [RunPaused()]
        case ResumeRequested(), "paused":
            return resume(state)
        case CancelRequested(), "running" | "paused":
            return then(state, [RunCancelled(), SiteReleased(taken=run.taken)])
        case TimerElapsed(timer_id=timer), "running" | "paused" if timer == run.timer:
            return then(state, [TimerFired(timer_id=timer)])
        case StageBatchCompleted(batch_id=batch, stage=stage), _ if _is_of(run, batch, stage):
            return then(state, record(state, message))
        case BatchFailed(batch_id=batch, attempt=attempt), _ if _is_asked(run, batch, attempt):
            return then(state, failed(state, message))
        case BatchReturned(batch_id=batch, attempt=attempt), _ if _is_asked(run, batch, attempt):
            return then(state, [message, *_free(run, batch)])
        case BatchTimedOut(batch_id=batch, attempt=attempt), _ if _is_asked(run, batch, attempt):
            return then(state, timed_out(state, message))
        case BatchTimedOut(batch_id=batch), "running" | "paused" if batch == run.reported:
            return then(state, [complete(run, batch)])
        case StageCompleted(stage=stage), "running" | "paused" if (
            run.reported and stage == run.stage
        ):
            return then(state, [complete(run, run.reported)])
        case (
            StageBatchCompleted()
            | BatchFailed()
            | BatchReturned()
            | BatchTimedOut()
            | StageCompleted()
            | TimerElapsed(),
            _,
        ):
            return []  # late or repeated: the run has moved on
        case _, "absent":
            raise Refused("not_found", UNKNOWN)
        case _:
            detail = f"This is not possible: the run is {run.status}."
            raise Refused("invalid_transition", detail, {"run_status": run.status})


def _is_of(run: Run, batch_id: str, stage: int) -> bool:
    return batch_id in run.in_flight and run.in_flight[batch_id].stage == stage


def _is_asked(run: Run, batch_id: str, attempt: int) -> bool:
    return batch_id in run.in_flight and run.in_flight[batch_id].attempt == attempt


def start(state: State, message: RunRequested) -> list[Event]:
    """Occupy the site, start the run and hold its credits. Raises Refused."""
    site = state.site
    advanced = _advance(state, message)
    try:
        estimated, required = admit(state, message)
    except Refused as no:
        refused = RunRefused(
            trigger_type=message.trigger_type,
            slot=message.slot,
            code=no.code,
            detail=no.detail,
            numbers=no.numbers,
        )
        raise Refused(no.code, no.detail, no.numbers, (refused, *advanced)) from no
    started = RunStarted(
        trigger_type=message.trigger_type,
        config=site.config,
        prices=CURRENT,
        site_name=site.name,
        estimated_credits=estimated,
        required_credits=required,
        available_credits=state.account.available,
    )
    hold = [CreditsHeld(amount=required)] if required else []
    return [SiteOccupied(), started, *hold, *advanced]


def admit(state: State, message: RunRequested) -> tuple[int, int]:
    """Return the estimate and what must be available for it, in credits. Raises Refused."""
    site, available = state.site, state.account.available
    _check_slot(state, message)
    if site.active:
        detail = "A run of this site is active; wait for its end, or cancel it."
        raise Refused("run_already_active", detail, {"active_run_id": site.active})
    pending = [len(site.waiting(stage.number)) for stage in STAGES]
    if not any(pending):
        raise Refused("nothing_to_do", "No stage has anything to do; add keywords first.")
    estimated = total_of(estimate(pending, site.config, CURRENT))
    required = required_of(estimated)
    if available < required:
        detail = f"The run needs {required} credits and {available} are available."
        numbers = {
            "estimated_credits": estimated,
            "required_credits": required,
            "available_credits": available,
        }
        raise Refused("insufficient_credits", detail, numbers)
    return estimated, required


def _advance(state: State, message: RunRequested) -> list[Event]:
    """A slot is answered once, whatever the answer: the schedule moves on in the same append."""
    if message.slot is None or message.slot != state.site.next_run_at:
        return []
    upcoming = next_run_at(state.site.config, max(state.now, message.slot))
    return [ScheduleAdvanced(slot=message.slot, next_run_at=upcoming)]


def _check_slot(state: State, message: RunRequested) -> None:
    if message.slot is None:
        return
    if message.slot != state.site.next_run_at:
        raise Refused("schedule_changed", "The schedule has been changed since this was due.")
    late = state.now - message.slot
    if late >= TOO_LATE:
        hours = int(late.total_seconds() // 3600)
        detail = f"The schedule was due {hours} hours ago; runs are caught up within 23 hours."
        raise Refused("schedule_missed", detail, {"hours_late": hours})


def resume(state: State) -> list[Event]:
    """Go on, unless the next batch cannot be paid for. Raises Refused."""
    events = then(state, [RunResumed()])
    for event in events:
        if isinstance(event, StageBatchRequested):
            break
        if isinstance(event, RunPaused):
            raise Refused(
                "insufficient_credits",
                f"{event.missing_credits} credits are missing for the next batch.",
                {
                    "missing_credits": event.missing_credits,
                    "available_credits": state.account.available,
                },
            )
    return events


def record(state: State, report: StageBatchCompleted) -> list[Event]:
    """Record a batch: the report, where its items are now, and what it cost."""
    asked = state.run.in_flight[report.batch_id]
    report = unique_slugs(state.site, complete_report(report, asked))
    charged, settled = charge(state, report)
    assert isinstance(charged, StageBatchCompleted)
    return [charged, moved(state.site, charged), *settled]


def complete_report(report: StageBatchCompleted, asked: Asked) -> StageBatchCompleted:
    """Return the report with one outcome for each item that was asked for, and no other."""
    if tuple(outcome.item for outcome in report.outcomes) == asked.items:
        return report
    told = {outcome.item: outcome for outcome in reversed(report.outcomes)}
    silent = "the worker reported nothing for this item"
    outcomes = tuple(told.get(item) or Outcome(item=item, error=silent) for item in asked.items)
    tally = tally_of(report.stage, outcomes, report.made, report.calls)
    return report.model_copy(update={"outcomes": outcomes, "tally": tally})


def unique_slugs(site: Site, report: StageBatchCompleted) -> StageBatchCompleted:
    """Return the report with slugs that the site does not have yet: `title`, `title-2`, …"""
    taken = set(site.slugs)
    made: list[Fact] = []
    for fact in report.made:
        if isinstance(fact, Draft):
            slug, number = fact.slug, 1
            while slug in taken:
                number += 1
                slug = f"{fact.slug}-{number}"
            taken.add(slug)
            made.append(fact if slug == fact.slug else fact.model_copy(update={"slug": slug}))
        else:
            made.append(fact)
    return report.model_copy(update={"made": tuple(made)})


def moved(site: Site, report: StageBatchCompleted) -> ItemsMoved:
    """Return where the report's items are now; a cluster that has waited before stays out."""
    parents: dict[str, str] = {}
    for outcome in report.outcomes:
        for made in outcome.made:
            if made not in site.clusters:
                parents.setdefault(made, outcome.item)
    return ItemsMoved(
        stage=report.stage,
        done=tuple(outcome.item for outcome in report.outcomes if outcome.error is None),
        failed=tuple(outcome.item for outcome in report.outcomes if outcome.error is not None),
        made=tuple(Made(id=made, of=parent) for made, parent in parents.items()),
        slugs=tuple(fact.slug for fact in report.made if isinstance(fact, Draft)),
    )


def failed(state: State, report: BatchFailed) -> list[Event]:
    """Record a failed batch; the third time its items are failed and the stage goes on."""
    asked = state.run.in_flight[report.batch_id]
    charged, settled = charge(state, report)
    if state.run.has_ended or asked.failures + 1 < TRIES:
        return [charged, *settled, *_free(state.run, report.batch_id)]
    given_up = BatchGivenUp(
        stage=asked.stage,
        batch_id=report.batch_id,
        items=asked.items,
        error=report.error,
    )
    lost = ItemsMoved(stage=asked.stage, done=(), failed=asked.items, made=())
    return [charged, *settled, given_up, lost]


def timed_out(state: State, command: BatchTimedOut) -> list[Event]:
    """Nobody answered: the batch is asked for again; the third time the run fails."""
    run = state.run
    asked = run.in_flight[command.batch_id]
    expired = BatchExpired(stage=asked.stage, batch_id=command.batch_id, attempt=command.attempt)
    if run.has_ended or asked.failures + 1 < TRIES:
        return [expired, *_free(run, command.batch_id)]
    stage = stage_of(asked.stage)
    message = (
        f"Stage {stage.number} ({stage.name}) did not answer {TRIES} times within "
        f"{state.batch_timeout} seconds; check that its worker runs, then start a new run."
    )
    return [expired, *fail(evolve(state, expired).run, message)]


def _free(run: Run, batch_id: str) -> list[Event]:
    """Items of an ended run's batch that nobody will settle are free for the next run."""
    if not run.has_ended:
        return []
    asked = run.in_flight[batch_id]
    return [ItemsFreed(stage=asked.stage, items=asked.items)]
