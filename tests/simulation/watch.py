"""Notes which hard cases a seed has come to, as the log tells of them."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from events.config import Config
from events.content import Draft
from events.envelope import Envelope
from events.ids import derive
from events.receipts import MessageAccepted, MessageRefused
from events.run import (
    BatchExpired,
    BatchGivenUp,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    StageStarted,
    TimerSet,
)
from events.site import ConfigUpdated, ContentReturned, ItemsMoved, KeywordsAdded, RunRefused
from events.topics import STAGE_REPORTS
from services.invariants import Run

if TYPE_CHECKING:
    from tests.simulation.world import World

OF_REFUSAL = {
    "schedule_missed": "a slot was missed",
    "insufficient_credits": "a start refused for lack of credits",
    "run_already_active": "a start refused as a run was active",
}


def watch(world: "World", envelope: Envelope) -> None:
    """Look at an event before it is entered: the world still is as it was before."""
    sometimes, run_id, site = world.faults.sometimes, envelope.run_id or "", envelope.site_id or ""
    run = world.audit.runs.get(run_id) or Run(site=site, account=envelope.account_id)
    flying = run.in_flight
    match envelope.message:
        case RunPaused(reason="insufficient_credits"):
            sometimes("a run paused for lack of credits")
        case RunPaused(reason="provider_out_of_credits" | "provider_key_refused"):
            sometimes("a run paused for its provider")
        case TimerSet(purpose="provider"):
            sometimes("a run waited for its provider")
        case RunPaused() if flying:
            sometimes("a pause landed in a batch")
        case RunCancelled() if flying:
            sometimes("a cancel landed in a batch")
        case RunResumed() if flying:
            sometimes("a run resumed while its batch was in flight")
        case RunStarted() as event:
            _started(world, envelope, event)
        case StageStarted(stage=1, items=items):
            world.first_items[run_id] = items
        case StageBatchRequested() if flying:
            sometimes("batches in flight side by side")
        case BatchExpired(batch_id=batch, attempt=attempt):
            _expired(world, batch, attempt)
        case StageBatchCompleted() as event:
            asked = run.asked.get(event.batch_id)
            if asked is not None and event.attempt < asked.attempt:
                sometimes("a report came after its batch was asked for again")
            if run.status == "cancelled":
                sometimes("a report came after its run had been cancelled")
            world.slugs |= {one.id: one.slug for one in event.made if isinstance(one, Draft)}
            if event.deferred:
                sometimes("a provider halted in a batch")
                if not set(run.items) - run.settled - set(asked.items if asked else ()):
                    sometimes("a provider halted in a stage's last batch")
            if event.uncovered:
                sometimes("a batch cost more than there was")
        case BatchGivenUp():
            sometimes("a batch was given up")
        case RunFailed(error_message=why) if "did not answer" in why:
            sometimes("a run failed as nobody answered")
        case RunCompleted():
            sometimes("a run completed")
        case ItemsMoved(failed=failed) if failed and run_id not in world.lost[site]:
            world.lost[site].append(run_id)
        case ContentReturned():
            sometimes("a revision")
        case ConfigUpdated() if world.active(site):
            sometimes("a config changed during a run")
        case KeywordsAdded() if world.active(site):
            sometimes("keywords came during a run")
        case RunRefused(code=code) if code in OF_REFUSAL:
            sometimes(OF_REFUSAL[code])
        case MessageAccepted(kind="StageBatchCompleted") if not world.append:
            sometimes("a report without effect")
        case MessageAccepted(kind="BatchTimedOut"):
            if any(isinstance(one.message, StageCompleted) for one in world.append):
                sometimes("the stage's own report was lost, and the watchdog made up for it")
        case MessageRefused(code="not_found") if envelope.account_id == "account-b":
            sometimes("a foreign command refused")
        case MessageRefused(code="schedule_answered" | "schedule_changed"):
            sometimes("a slot asked for twice")


def _started(world: "World", envelope: Envelope, event: RunStarted) -> None:
    world.last_run[envelope.site_id or ""] = envelope.run_id or ""
    if event.retry_of is not None:
        world.faults.sometimes("a retry")
    if event.slot is None:
        return
    world.faults.sometimes("a scheduled run")
    if envelope.at - event.slot > timedelta(hours=1):
        world.faults.sometimes("a slot was caught up")
    for name in odd_hours(event.config, event.slot):
        world.faults.sometimes(name)


def odd_hours(config: Config, slot: datetime) -> list[str]:
    """Return in which hours of a change of clocks the slot lies."""
    local = slot.astimezone(ZoneInfo(config.timezone))
    names = []
    if f"{local:%H:%M}" != config.scheduled_time:
        names.append("a slot in an hour that does not exist")
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        names.append("a slot in an hour that comes twice")
    return names


def _expired(world: "World", batch_id: str, attempt: int) -> None:
    asked = next(
        (
            placed.envelope.id
            for placed in world.waiting.values()
            if isinstance(placed.envelope.message, StageBatchRequested)
            and (placed.envelope.message.batch_id, placed.envelope.message.attempt)
            == (batch_id, attempt)
        ),
        "",
    )
    reports = {one.header("ce_id") for one in world.broker.unread(STAGE_REPORTS)}
    if derive("msg", asked, 0) in reports:
        world.faults.sometimes("a batch timed out while its report was on the way")
