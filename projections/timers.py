"""What the scheduler waits for: delays of runs, and answers to batches."""

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    TimerFired,
    TimerSet,
)
from events.topics import Placed
from projections.database import (
    FOLDS,
    Row,
    insert_new,
    many,
    may,
    metadata,
    must,
    primary,
    stamp,
    write,
)
from projections.runs import ENDED, batches, runs

timers = sa.Table(
    "timers",
    metadata,
    primary("timer_id"),
    must("account_id"),
    must("site_id"),
    must("run_id"),
    must("kind"),
    may("stage", sa.Integer),
    may("batch_id"),
    may("attempt", sa.Integer),
    must("last", sa.Boolean),
    must("set_at"),
    must("due_at"),
    sa.Index("timers_run", "run_id", info=FOLDS),
    sa.Index("timers_batch", "batch_id", info=FOLDS),
    sqlite_with_rowid=False,
)


class TimerRow(Row):
    """A wait: a run's own `timer`, or that for an answer to an attempt of a `batch`.

    Both times are by the clock of who set it: how long to wait is their difference.
    """

    timer_id: str
    account_id: str
    site_id: str
    run_id: str
    kind: Literal["timer", "batch"]
    stage: int | None
    batch_id: str | None
    attempt: int | None
    set_at: datetime
    due_at: datetime


ADD = insert_new(timers)
OF_RUN = timers.c.run_id == sa.bindparam("run")
OF_BATCH = timers.c.batch_id == sa.bindparam("batch")
FIRED = sa.delete(timers).where(timers.c.timer_id == sa.bindparam("timer"))
ANSWERED = sa.delete(timers).where(OF_BATCH)
OVER: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{status}'") for status in ENDED]
ENDED_RUN = (
    sa.select(runs.c.run_id)
    .where(runs.c.run_id == timers.c.run_id, runs.c.status.in_(OVER))
    .exists()
)
RECORDED_BATCH = (
    sa.select(batches.c.batch_id)
    .where(batches.c.batch_id == timers.c.batch_id, batches.c.status == "recorded")
    .exists()
)
# The last batch's row outlives its report until the stage's own report is there: should the worker
# die between the two, the watchdog has the rules complete the stage. An ended run has no such need.
RECORDED = sa.delete(timers).where(OF_BATCH, sa.or_(~timers.c.last, ENDED_RUN))
STAGE_DONE = sa.delete(timers).where(
    OF_RUN, timers.c.kind == "batch", timers.c.stage == sa.bindparam("number")
)
RUN_DONE = sa.delete(timers).where(OF_RUN, sa.or_(timers.c.kind == "timer", RECORDED_BATCH))


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    match envelope.message:
        case StageBatchRequested() as asked:
            timer_id = f"{asked.batch_id}/{asked.attempt}"
            row = {
                "kind": "batch",
                "stage": asked.stage,
                "batch_id": asked.batch_id,
                "attempt": asked.attempt,
                "last": asked.last,
            }
            _add(tx, placed, timer_id, asked.answer_by, row)
        case StageBatchCompleted(batch_id=batch):
            write(tx, RECORDED, {"batch": batch})
        case (
            BatchReturned(batch_id=batch)
            | BatchFailed(batch_id=batch)
            | BatchExpired(batch_id=batch)
            | BatchGivenUp(batch_id=batch)
        ):
            write(tx, ANSWERED, {"batch": batch})
        case StageCompleted(stage=stage):
            write(tx, STAGE_DONE, {"run": envelope.run_id, "number": stage})
        case TimerSet(timer_id=timer_id, due_at=due_at):
            row = {"kind": "timer", "stage": None, "batch_id": None, "attempt": None, "last": False}
            _add(tx, placed, timer_id, due_at, row)
        case TimerFired(timer_id=timer_id):
            write(tx, FIRED, {"timer": timer_id})
        case RunCancelled() | RunCompleted() | RunFailed():
            write(tx, RUN_DONE, {"run": envelope.run_id})


def _add(
    tx: sa.Connection,
    placed: Placed,
    timer_id: str,
    due_at: datetime,
    known: dict[str, Any],
) -> None:
    envelope = placed.envelope
    row = {
        "timer_id": timer_id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": envelope.run_id,
        "set_at": stamp(envelope.at),
        "due_at": stamp(due_at),
    }
    write(tx, ADD, row | known)


def waiting(tx: sa.Connection) -> list[TimerRow]:
    """Return the waits of all accounts, those that end first at the beginning."""
    return many(tx, TimerRow, sa.select(timers).order_by(timers.c.due_at, timers.c.timer_id))


def unanswered(tx: sa.Connection, stage: int) -> list[TimerRow]:
    """Return the waits of all accounts for answers of a stage's workers."""
    asked = sa.select(timers).where(timers.c.kind == "batch", timers.c.stage == stage)
    return many(tx, TimerRow, asked)
