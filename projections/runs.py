"""Runs as people see them: status, seven stages, batches, what is being worked on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic_core import from_json

from events.account import CreditsHeld, CreditsReleased, CreditsSettled
from events.commands import TriggerType
from events.pipeline import STAGES
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    MessageSetAside,
    PauseReason,
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
    TimerFired,
    TimerSet,
)
from events.topics import Placed
from projections.database import (
    FOLDS,
    Parsed,
    Row,
    Whole,
    as_json,
    insert_new,
    may,
    metadata,
    must,
    one,
    primary,
    stamp,
    upsert,
    write,
    write_all,
)
from projections.overview import ItemTitle, in_progress

RunStatus = Literal["running", "paused", "cancelled", "completed", "failed"]
StageStatus = Literal["pending", "running", "completed", "partial"]
BatchStatus = Literal["in_flight", "recorded", "returned", "expired", "failed", "given_up"]
ACTIVE = ("running", "paused")
ENDED = ("cancelled", "completed", "failed")

runs = sa.Table(
    "runs",
    metadata,
    primary("run_id"),
    must("account_id"),
    must("site_id"),
    must("position", Whole),
    must("trigger_type"),
    may("slot"),
    may("retry_of"),
    must("price_version", sa.Integer),
    must("estimated_credits", Whole),
    must("started_by"),
    must("status"),
    may("current_stage", sa.Integer),
    must("started_at"),
    may("paused_at"),
    may("resumed_at"),
    may("cancelled_at"),
    may("completed_at"),
    may("failed_at"),
    must("changed_by"),
    may("note"),
    may("pause_reason"),
    must("missing_credits", Whole),
    must("missing_to_finish", Whole),
    may("quiet_at"),
    may("waiting_until"),
    may("last_halt"),
    must("total_credits_used", Whole),
    must("held_credits", Whole),
    may("error_message"),
    must("dead_letters", Whole),
    may("last_dead_letter"),
    sa.Index("runs_site", "site_id", "position"),
    sqlite_with_rowid=False,
)
# `worked` sums the milliseconds from `mark`, when the stage last began, went on or reported, to
# each report.
stages = sa.Table(
    "run_stages",
    metadata,
    primary("run_id"),
    primary("stage", sa.Integer),
    must("account_id"),
    must("status"),
    must("items_total", Whole),
    must("items_done", Whole),
    must("items_failed", Whole),
    must("credits_used", Whole),
    may("started_at"),
    may("completed_at"),
    must("partial", sa.Boolean),
    may("result"),
    must("mark", Whole),
    must("worked", Whole),
    sqlite_with_rowid=False,
)
stage_plans = sa.Table(
    "stage_plans",
    metadata,
    primary("run_id"),
    primary("stage", sa.Integer),
    must("account_id"),
    must("items"),
)
batches = sa.Table(
    "batches",
    metadata,
    primary("batch_id"),
    must("account_id"),
    must("site_id"),
    must("run_id"),
    must("stage", sa.Integer),
    must("attempt", sa.Integer),
    must("items", sa.Integer),
    must("status"),
    must("last", sa.Boolean),
    must("requested_at"),
    must("answer_by"),
    sa.Index("batches_run", "run_id", "stage", "status", info=FOLDS),
)


class StageRow(Row):
    """One stage of a run; `result` has the contract's counts once the stage is completed."""

    stage: int
    name: str
    status: StageStatus
    items_total: int
    items_done: int
    items_failed: int
    credits_used: int
    started_at: datetime | None
    completed_at: datetime | None
    partial: bool
    result: Annotated[dict[str, int] | None, Parsed]


class InFlight(Row):
    """A batch that was asked for and has not been answered; after `answer_by` it is asked again."""

    batch_id: str
    stage: int
    attempt: int
    items: int
    requested_at: datetime
    answer_by: datetime


class RunRow(Row):
    """A run with its seven stages, in whole credits; `held_credits` is what is still set aside.

    `slot` is the schedule's time that it answers. `changed_by` is who brought it to its status: a
    key's id, admin, scheduler or system; `note` is why, in their words. While it is paused there is
    a `pause_reason`. `quiet_at` is since when nothing is in flight of a run that does not run.
    While its AI provider answers nobody, the run is `waiting_until` the provider is asked again;
    `waiting_for` is what it said. `dead_letters` counts how often a message of the run was set
    aside, also after its end; `last_dead_letter` is the newest error. Its log says which were
    handled later.
    """

    run_id: str
    site_id: str
    trigger_type: TriggerType
    slot: datetime | None
    retry_of: str | None
    price_version: int
    estimated_credits: int
    started_by: str
    status: RunStatus
    current_stage: int | None
    started_at: datetime
    paused_at: datetime | None
    resumed_at: datetime | None
    cancelled_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    changed_by: str
    note: str | None
    pause_reason: PauseReason | None
    missing_credits: int
    missing_to_finish: int
    quiet_at: datetime | None
    waiting_until: datetime | None = None
    waiting_for: str | None = None
    total_credits_used: int
    held_credits: int
    error_message: str | None
    dead_letters: int
    last_dead_letter: str | None
    batches_in_flight: int
    in_flight: tuple[InFlight, ...]
    stages: tuple[StageRow, ...]


class BatchRow(Row):
    """Where a batch's latest attempt stands."""

    batch_id: str
    run_id: str
    stage: int
    attempt: int
    status: BatchStatus
    last: bool


class Processing(Row):
    """What the current stage is at; `percentage` counts settled items, `eta_seconds` is for it.

    `waiting_until` and `waiting_for` are those of the run.
    """

    run_id: str
    status: RunStatus
    stage: int | None
    stage_name: str | None
    items_total: int
    items_done: int
    percentage: int
    processing: tuple[ItemTitle, ...]
    eta_seconds: int | None
    waiting_until: datetime | None
    waiting_for: str | None


START = sa.insert(runs)
START_STAGES = sa.insert(stages)
PLAN = insert_new(stage_plans)
ASK = upsert(
    batches,
    lambda new: {
        "attempt": new.attempt,
        "status": new.status,
        "last": new.last,
        "requested_at": new.requested_at,
        "answer_by": new.answer_by,
    },
)
OF_RUN = runs.c.run_id == sa.bindparam("run")
OF_STAGE = sa.and_(stages.c.run_id == sa.bindparam("run"), stages.c.stage == sa.bindparam("number"))
CURRENT = sa.update(runs).where(OF_RUN).values(current_stage=sa.bindparam("number"))
BEGIN_STAGE = (
    sa.update(stages)
    .where(OF_STAGE)
    .values(
        status="running",
        items_total=sa.bindparam("total"),
        started_at=sa.bindparam("now"),
        mark=sa.bindparam("now_ms"),
    )
)
ANSWER = (
    sa.update(batches)
    .where(batches.c.batch_id == sa.bindparam("batch"))
    .values(status=sa.bindparam("outcome"))
)
RECORD = (
    sa.update(stages)
    .where(OF_STAGE)
    .values(
        items_done=stages.c.items_done + sa.bindparam("done"),
        items_failed=stages.c.items_failed + sa.bindparam("failed"),
        worked=stages.c.worked + sa.bindparam("now_ms") - stages.c.mark,
        mark=sa.bindparam("now_ms"),
    )
)
GIVE_UP = (
    sa.update(stages)
    .where(OF_STAGE)
    .values(items_failed=stages.c.items_failed + sa.bindparam("failed"))
)
END_STAGE = (
    sa.update(stages)
    .where(OF_STAGE)
    .values(
        status=sa.bindparam("outcome"),
        partial=sa.bindparam("some_failed"),
        completed_at=sa.bindparam("now"),
        result=sa.bindparam("counts"),
    )
)
HOLD = (
    sa.update(runs)
    .where(OF_RUN)
    .values(
        held_credits=runs.c.held_credits + sa.bindparam("held"),
        total_credits_used=runs.c.total_credits_used + sa.bindparam("used"),
    )
)
CHARGE = (
    sa.update(stages)
    .where(OF_STAGE)
    .values(credits_used=stages.c.credits_used + sa.bindparam("used"))
)
SET_ASIDE = (
    sa.update(runs)
    .where(OF_RUN)
    .values(dead_letters=runs.c.dead_letters + 1, last_dead_letter=sa.bindparam("error"))
)
IN_FLIGHT = (
    sa.select(batches.c.batch_id)
    .where(batches.c.run_id == runs.c.run_id, batches.c.status == "in_flight")
    .exists()
)
# Since when nothing is in flight: at once, or from the answer to the last batch on.
QUIET = sa.case((IN_FLIGHT, sa.null()), else_=sa.bindparam("now", type_=sa.Text))
BECOME_QUIET = (
    sa.update(runs)
    .where(OF_RUN, runs.c.status != "running", runs.c.quiet_at.is_(None), ~IN_FLIGHT)
    .values(quiet_at=sa.bindparam("now"))
)
HALTED = sa.update(runs).where(OF_RUN).values(last_halt=sa.bindparam("why"))
WAIT = sa.update(runs).where(OF_RUN).values(waiting_until=sa.bindparam("due"))
WAITED = sa.update(runs).where(OF_RUN, runs.c.waiting_until.is_not(None)).values(waiting_until=None)
# Who brought the run to its status, and why: nothing of the status before stays.
CHANGED: dict[str, Any] = {
    "changed_by": sa.bindparam("who"),
    "note": sa.bindparam("words", None),
    "pause_reason": None,
    "missing_credits": 0,
    "missing_to_finish": 0,
    "quiet_at": QUIET,
    "waiting_until": None,
    "error_message": None,
}
PAUSE = (
    sa.update(runs)
    .where(OF_RUN)
    .values(
        CHANGED
        | {
            "status": "paused",
            "paused_at": sa.bindparam("now"),
            "pause_reason": sa.bindparam("why"),
            "missing_credits": sa.bindparam("missing"),
            "missing_to_finish": sa.bindparam("rest"),
            "error_message": sa.bindparam("explanation"),
        }
    )
)
RESUME = (
    sa.update(runs)
    .where(OF_RUN)
    .values(
        CHANGED
        | {
            "status": "running",
            "resumed_at": sa.bindparam("now"),
            "quiet_at": None,
        }
    )
)
GO_ON = (
    sa.update(stages)
    .where(stages.c.run_id == sa.bindparam("run"), stages.c.status == "running")
    .values(mark=sa.bindparam("now_ms"))
)
CANCEL = (
    sa.update(runs)
    .where(OF_RUN)
    .values(CHANGED | {"status": "cancelled", "cancelled_at": sa.bindparam("now")})
)
COMPLETE = (
    sa.update(runs)
    .where(OF_RUN)
    .values(CHANGED | {"status": "completed", "completed_at": sa.bindparam("now")})
)
FAIL = (
    sa.update(runs)
    .where(OF_RUN)
    .values(
        CHANGED
        | {
            "status": "failed",
            "failed_at": sa.bindparam("now"),
            "error_message": sa.bindparam("explanation"),
        }
    )
)


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    run = {"run": envelope.run_id}
    now = {"now": stamp(envelope.at)}
    who = {"who": envelope.actor}
    match envelope.message:
        case StageBatchRequested() as asked:
            _ask(tx, placed, asked)
        case StageBatchCompleted(batch_id=batch, stage=stage, tally=tally, halt=halt):
            _answer(tx, placed, batch, "recorded")
            if halt is not None and halt.wait_seconds:
                write(tx, HALTED, run | {"why": halt.detail})
            counts = {"done": tally.items_done, "failed": tally.items_failed}
            write(tx, RECORD, run | counts | {"number": stage, "now_ms": _ms(envelope.at)})
        case CreditsSettled(amount=amount, from_hold=from_hold, stage=stage):
            write(tx, HOLD, run | {"used": amount, "held": -from_hold})
            write(tx, CHARGE, run | {"used": amount, "number": stage})
        case CreditsHeld(amount=amount):
            write(tx, HOLD, run | {"used": 0, "held": amount})
        case CreditsReleased(amount=amount):
            write(tx, HOLD, run | {"used": 0, "held": -amount})
        case BatchReturned(batch_id=batch):
            _answer(tx, placed, batch, "returned")
        case BatchExpired(batch_id=batch):
            _answer(tx, placed, batch, "expired")
        case BatchFailed(batch_id=batch):
            _answer(tx, placed, batch, "failed")
        case BatchGivenUp(batch_id=batch, stage=stage, items=items):
            write(tx, ANSWER, {"batch": batch, "outcome": "given_up"})
            write(tx, GIVE_UP, run | {"number": stage, "failed": len(items)})
        case RunStarted() as started:
            _start(tx, placed, started)
        case StageStarted() as began:
            _begin_stage(tx, placed, began)
        case StageCompleted(stage=stage, partial=partial, result=result):
            outcome = {"outcome": "partial" if partial else "completed", "some_failed": partial}
            counts_ = {"number": stage, "counts": as_json(result)}
            write(tx, END_STAGE, run | now | outcome | counts_)
        case RunPaused() as paused:
            told = {"explanation": _explain(paused), "words": paused.note or None}
            missing = {"missing": paused.missing_credits, "rest": paused.missing_to_finish}
            why = {"why": paused.reason} | missing
            write(tx, PAUSE, run | now | who | told | why)
        case RunResumed(note=note):
            write(tx, RESUME, run | now | who | {"words": note or None})
            write(tx, GO_ON, run | {"now_ms": _ms(envelope.at)})
        case RunCancelled(note=note):
            write(tx, CANCEL, run | now | who | {"words": note or None})
        case RunCompleted():
            write(tx, COMPLETE, run | now | who)
        case RunFailed(error_message=message):
            write(tx, FAIL, run | now | who | {"explanation": message})
        case TimerSet(purpose="provider", due_at=due):
            write(tx, WAIT, run | {"due": stamp(due)})
        case TimerFired():
            write(tx, WAITED, run)
        case MessageSetAside(error=error):
            write(tx, SET_ASIDE, run | {"error": error})


def _answer(tx: sa.Connection, placed: Placed, batch_id: str, outcome: BatchStatus) -> None:
    write(tx, ANSWER, {"batch": batch_id, "outcome": outcome})
    write(tx, BECOME_QUIET, {"run": placed.envelope.run_id, "now": stamp(placed.envelope.at)})


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _explain(paused: RunPaused) -> str | None:
    match paused.reason:
        case "requested":
            return None
        case "insufficient_credits":
            return f"Paused: {paused.lack()}. Add credits, then resume."
        case _:
            return f"Paused: {paused.note}"


def _start(tx: sa.Connection, placed: Placed, started: RunStarted) -> None:
    envelope = placed.envelope
    row = {
        "run_id": envelope.run_id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "position": placed.position,
        "trigger_type": started.trigger_type,
        "slot": None if started.slot is None else stamp(started.slot),
        "retry_of": started.retry_of,
        "price_version": started.prices,
        "estimated_credits": started.estimated_credits,
        "started_by": envelope.actor,
        "changed_by": envelope.actor,
        "missing_credits": 0,
        "missing_to_finish": 0,
        "status": "running",
        "started_at": stamp(envelope.at),
        "total_credits_used": 0,
        "held_credits": 0,
        "dead_letters": 0,
    }
    write(tx, START, row)
    empty: list[dict[str, Any]] = [
        {
            "run_id": envelope.run_id,
            "stage": stage.number,
            "account_id": envelope.account_id,
            "status": "pending",
            "items_total": 0,
            "items_done": 0,
            "items_failed": 0,
            "credits_used": 0,
            "partial": False,
            "mark": 0,
            "worked": 0,
        }
        for stage in STAGES
    ]
    write_all(tx, START_STAGES, empty)


def _begin_stage(tx: sa.Connection, placed: Placed, began: StageStarted) -> None:
    envelope = placed.envelope
    which = {"run": envelope.run_id, "number": began.stage}
    write(tx, CURRENT, which)
    now = {"now": stamp(envelope.at), "now_ms": _ms(envelope.at)}
    write(tx, BEGIN_STAGE, which | now | {"total": len(began.items)})
    plan = {
        "run_id": envelope.run_id,
        "stage": began.stage,
        "account_id": envelope.account_id,
        "items": as_json(began.items),
    }
    write(tx, PLAN, plan)


def _ask(tx: sa.Connection, placed: Placed, asked: StageBatchRequested) -> None:
    envelope = placed.envelope
    row = {
        "batch_id": asked.batch_id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": envelope.run_id,
        "stage": asked.stage,
        "attempt": asked.attempt,
        "items": len(asked.items),
        "status": "in_flight",
        "last": asked.last,
        "requested_at": stamp(envelope.at),
        "answer_by": stamp(asked.answer_by),
    }
    write(tx, ASK, row)


RUN = sa.select(runs)
NAMES = {stage.number: stage.name for stage in STAGES}


def find(tx: sa.Connection, account_id: str, run_id: str) -> RunRow | None:
    """Return the run when it is the account's."""
    mine = (runs.c.account_id == account_id, runs.c.run_id == run_id)
    return next(iter(_whole(tx, tx.execute(RUN.where(*mine)).all())), None)


def status(tx: sa.Connection, account_id: str, run_id: str) -> RunStatus | None:
    """Return the run's status alone."""
    mine = (runs.c.account_id == account_id, runs.c.run_id == run_id)
    found: RunStatus | None = tx.scalar(sa.select(runs.c.status).where(*mine))
    return found


def current(tx: sa.Connection, account_id: str, site_id: str) -> RunRow | None:
    """Return the site's running or paused run; there is never more than one."""
    asked = (
        RUN.where(runs.c.account_id == account_id, runs.c.site_id == site_id)
        .where(runs.c.status.in_(ACTIVE))
        .order_by(runs.c.position.desc())
        .limit(1)
    )
    return next(iter(_whole(tx, tx.execute(asked).all())), None)


def history(
    tx: sa.Connection, account_id: str, site_id: str, limit: int, before: int | None
) -> tuple[list[RunRow], int | None]:
    """Return the site's runs, newest first, those before the cursor when there is one."""
    asked = RUN.where(runs.c.account_id == account_id, runs.c.site_id == site_id)
    if before is not None:
        asked = asked.where(runs.c.position < before)
    found = tx.execute(asked.order_by(runs.c.position.desc()).limit(limit + 1)).all()
    following = found[limit - 1].position if len(found) > limit else None
    return _whole(tx, found[:limit]), following


def _whole(tx: sa.Connection, found: Sequence[sa.Row[Any]]) -> list[RunRow]:
    ids = [row.run_id for row in found]
    if not ids:
        return []
    asked = sa.select(stages).where(stages.c.run_id.in_(ids)).order_by(stages.c.stage)
    parts: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in ids}
    for row in tx.execute(asked).mappings():
        parts[row["run_id"]].append({**row, "name": NAMES[row["stage"]]})
    flying: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in ids}
    asked = sa.select(batches).where(batches.c.run_id.in_(ids), batches.c.status == "in_flight")
    for row in tx.execute(asked.order_by(batches.c.requested_at, batches.c.batch_id)).mappings():
        flying[row["run_id"]].append(dict(row))
    return [
        RunRow.model_validate(
            {
                **row._mapping,
                "waiting_for": row.last_halt if row.waiting_until else None,
                "stages": parts[row.run_id],
                "in_flight": flying[row.run_id],
                "batches_in_flight": len(flying[row.run_id]),
            }
        )
        for row in found
    ]


def processing(tx: sa.Connection, account_id: str, run_id: str) -> Processing | None:
    """Return what the run is at, with at most 20 of the items in progress."""
    run = find(tx, account_id, run_id)
    if run is None:
        return None
    stage = run.current_stage
    if stage is None:
        return _progress(run, None, (), None)
    now = in_progress(tx, account_id, run_id, run.site_id, stage, SHOWN)
    worked = tx.scalar(
        sa.select(stages.c.worked).where(stages.c.run_id == run_id, stages.c.stage == stage)
    )
    return _progress(run, run.stages[stage - 1], tuple(now), worked)


SHOWN = 20


def _progress(
    run: RunRow, stage: StageRow | None, now: tuple[ItemTitle, ...], worked: int | None
) -> Processing:
    total = stage.items_total if stage else 0
    settled = stage.items_done + stage.items_failed if stage else 0
    over = stage is not None and stage.completed_at is not None
    return Processing(
        run_id=run.run_id,
        status=run.status,
        stage=stage.stage if stage else None,
        stage_name=stage.name if stage else None,
        items_total=total,
        items_done=stage.items_done if stage else 0,
        percentage=min(100, 100 * settled // total) if total else 100 * over,
        processing=now,
        eta_seconds=_eta(run.status, total - settled, settled, worked or 0),
        waiting_until=run.waiting_until,
        waiting_for=run.waiting_for,
    )


def _eta(status: RunStatus, left: int, settled: int, worked: int) -> int | None:
    """Return the seconds left at the stage's pace so far (`worked` is milliseconds), rounded up."""
    if status != "running" or settled == 0:
        return None
    return -(-max(worked, 0) * max(left, 0) // (1000 * settled))


def batch(tx: sa.Connection, account_id: str, batch_id: str) -> BatchRow | None:
    """Return the batch when it is the account's."""
    mine = (batches.c.account_id == account_id, batches.c.batch_id == batch_id)
    return one(tx, BatchRow, sa.select(batches).where(*mine))


def stage_items(tx: sa.Connection, account_id: str, run_id: str, stage: int) -> tuple[str, ...]:
    """Return the ids of all that the stage does in this run, in order; none before it started."""
    asked = sa.select(stage_plans.c["items"]).where(
        stage_plans.c.account_id == account_id,
        stage_plans.c.run_id == run_id,
        stage_plans.c.stage == stage,
    )
    found = tx.scalar(asked)
    return () if found is None else tuple(from_json(found))
