"""A run's transitions: which message is followed in which state, and by what."""

from collections.abc import Mapping
from types import MappingProxyType

from events.commands import (
    BatchTimedOut,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
    TimerElapsed,
)
from events.content import Draft, Fact, Outcome, tally_of
from events.message import Event, Message
from events.pipeline import CONTENT, stage_of
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    PauseReason,
    RunCancelled,
    RunPaused,
    RunResumed,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    TimerFired,
)
from events.site import (
    ItemsFreed,
    ItemsMoved,
    Made,
    SiteReleased,
)
from services.orchestrator.rules.credits import bound_of, charge
from services.orchestrator.rules.evolve import evolve
from services.orchestrator.rules.stages import complete, fail, then
from services.orchestrator.rules.start import start
from services.orchestrator.rules.state import UNKNOWN, Asked, Refused, Run, Site, State

PERSON_ACTS: Mapping[str, PauseReason] = MappingProxyType(
    {
        "out_of_credits": "provider_out_of_credits",
        "key_refused": "provider_key_refused",
        "misconfigured": "provider_misconfigured",
    }
)
TRIES = 3  # attempts of one batch before it is given up, or the run with it


def follow_run(state: State, message: Message) -> list[Event]:
    """Return what follows for the run. Raises Refused."""
    run = state.run
    match message, run.status:
        case RunRequested(), "absent":
            return then(state, start(state, message))
        case PauseRequested(note=note), "running":
            return [RunPaused(note=note)]
        case ResumeRequested(note=note), "paused":
            return resume(state, note)
        case CancelRequested(note=note), "running" | "paused":
            return then(state, [RunCancelled(note=note), SiteReleased(taken=run.taken)])
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
        case MessageSetAside() | MessageReplayed(), _ if run.status != "absent":
            return [message]  # told in any state, and changing nothing
        case _, "absent":
            raise Refused("not_found", UNKNOWN)
        case _:
            detail = f"This is not possible: the run is {run.status}."
            raise Refused("invalid_transition", detail, {"run_status": run.status})


def is_early(state: State, message: Message) -> bool:
    """Tell whether a stage is reported as completed before its last batch is recorded.

    Workers report the batch first, but a broker that lost its data may get the second of the two
    alone. With a receipt its repetition behind the batch would count as done, and the run stand
    still until the batch's time is over.
    """
    return (
        isinstance(message, StageCompleted)
        and not state.is_foreign
        and message.batch_id is not None
        and _is_of(state.run, message.batch_id, message.stage)
    )


def _is_of(run: Run, batch_id: str, stage: int) -> bool:
    return batch_id in run.in_flight and run.in_flight[batch_id].stage == stage


def _is_asked(run: Run, batch_id: str, attempt: int) -> bool:
    return batch_id in run.in_flight and run.in_flight[batch_id].attempt == attempt


def resume(state: State, note: str) -> list[Event]:
    """Go on, unless the next batch cannot be paid for. Raises Refused."""
    events = then(state, [RunResumed(note=note)])
    for event in events:
        if isinstance(event, StageBatchRequested):
            break
        if isinstance(event, RunPaused):
            raise Refused(
                "insufficient_credits",
                f"{event.lack()}.",
                {
                    "missing_credits": event.missing_credits,
                    "missing_to_finish": event.missing_to_finish,
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
    return [
        charged,
        moved(state, charged),
        *free_deferred(state.run, charged),
        *settled,
        *halted(state.run, charged),
    ]


def complete_report(report: StageBatchCompleted, asked: Asked) -> StageBatchCompleted:
    """Return the report with each item that was asked for, and no other: settled or deferred.

    Only a provider's halt defers items.
    """
    told = {outcome.item: outcome for outcome in reversed(report.outcomes)}
    waits = set(report.deferred if report.halt else ()) - told.keys()
    deferred = tuple(item for item in asked.items if item in waits)
    settled = tuple(item for item in asked.items if item not in waits)
    if tuple(outcome.item for outcome in report.outcomes) == settled:
        return report.model_copy(update={"deferred": deferred})
    silent = "the worker reported nothing for this item"
    outcomes = tuple(told.get(item) or Outcome(item=item, error=silent) for item in settled)
    tally = tally_of(report.stage, outcomes, report.made, report.calls)
    return report.model_copy(update={"outcomes": outcomes, "tally": tally, "deferred": deferred})


def free_deferred(run: Run, report: StageBatchCompleted) -> list[ItemsFreed]:
    """An ended run asks for nothing again: what was deferred is free for the next run."""
    if not run.has_ended or not report.deferred:
        return []
    return [ItemsFreed(stage=report.stage, items=report.deferred)]


def halted(run: Run, report: StageBatchCompleted) -> list[RunPaused]:
    """Pause the run when its provider answers nobody until a person has acted."""
    if run.status != "running" or report.halt is None:
        return []
    reason = PERSON_ACTS.get(report.halt.kind)
    return [RunPaused(reason=reason, note=report.halt.detail)] if reason else []


def unique_slugs(site: Site, report: StageBatchCompleted) -> StageBatchCompleted:
    """Return the report with slugs that the site does not have yet: `title`, `title-2`, …

    A draft that is there already was written anew, and keeps the slug that it has.
    """
    taken = set(site.slugs)
    made: list[Fact] = []
    for fact in report.made:
        if isinstance(fact, Draft) and fact.id not in site.contents:
            slug, number = fact.slug, 1
            while slug in taken:
                number += 1
                slug = f"{fact.slug}-{number}"
            taken.add(slug)
            made.append(fact if slug == fact.slug else fact.model_copy(update={"slug": slug}))
        else:
            made.append(fact)
    return report.model_copy(update={"made": tuple(made)})


def moved(state: State, report: StageBatchCompleted) -> ItemsMoved:
    """Return where the report's items are now; a cluster that has waited before stays out."""
    site, run = state.site, state.run
    parents: dict[str, str] = {}
    revised: list[str] = []
    for outcome in report.outcomes:
        for made in outcome.made:
            if report.stage == CONTENT and made in site.contents:
                revised.append(made)
            elif made not in site.clusters:
                parents.setdefault(made, outcome.item)
    done = tuple(outcome.item for outcome in report.outcomes if outcome.error is None)
    return ItemsMoved(
        stage=report.stage,
        done=done,
        failed=tuple(outcome.item for outcome in report.outcomes if outcome.error is not None),
        made=tuple(Made(id=made, of=parent) for made, parent in parents.items()),
        revised=tuple(revised),
        slugs=tuple(fact.slug for fact in report.made if isinstance(fact, Draft)),
        credits_used=report.tally.credits_used,
        listed_credits=bound_of(run.prices, report.stage, len(done), run.models),
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
