"""The run's log for people: a line for each transition and batch, never content or secrets."""

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from events.content import Outcome
from events.pipeline import stage_of
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    StageBatchCompleted,
    StageCompleted,
    StageStarted,
)
from events.topics import Placed
from projections.database import Row, Whole, many, may, metadata, must, primary, stamp
from projections.runs import batches

Level = Literal["info", "warning", "error"]
Line = tuple[Level, int | None, str]
ERROR_LENGTH = 300

run_log = sa.Table(
    "run_log",
    metadata,
    primary("position", Whole),
    must("account_id"),
    must("run_id"),
    must("at"),
    must("level"),
    may("stage", sa.Integer),
    must("message"),
    sa.Index("run_log_run", "run_id", "position"),
)


class LogLine(Row):
    at: datetime
    level: Level
    stage: int | None
    message: str


ADD = sa.insert(run_log)
RECORDED = sa.select(sa.func.count()).where(
    batches.c.run_id == sa.bindparam("run"),
    batches.c.stage == sa.bindparam("number"),
    batches.c.status == "recorded",
)


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    match envelope.message:
        case StageBatchCompleted() as report:
            number = tx.scalar(RECORDED, {"run": envelope.run_id, "number": report.stage})
            _write(tx, placed, _batch_line(report, number or 0))
        case _:
            line = line_of(envelope.message)
            if line is not None:
                _write(tx, placed, line)


def _write(tx: sa.Connection, placed: Placed, line: Line) -> None:
    envelope = placed.envelope
    level, stage, message = line
    row: dict[str, Any] = {
        "position": placed.position,
        "account_id": envelope.account_id,
        "run_id": envelope.run_id,
        "at": stamp(envelope.at),
        "level": level,
        "stage": stage,
        "message": message,
    }
    tx.execute(ADD, row)


def line_of(message: object) -> Line | None:
    """Return what the log says of a transition, none for what it does not mention."""
    match message:
        case StageStarted(stage=stage, items=()):
            return "info", stage, f"{_stage(stage)} has nothing to do"
        case StageStarted(stage=stage, items=items):
            return "info", stage, f"{_stage(stage)} started with {_items(stage, len(items))}"
        case StageCompleted(stage=stage) as done:
            failed = f", {done.items_failed} failed" if done.items_failed else ""
            told = f"{done.items_done} done{failed}, {_count(done.credits_used, 'credit')}"
            level: Level = "warning" if done.partial else "info"
            return level, stage, f"{_stage(stage)} completed: {told}"
        case BatchFailed(stage=stage, attempt=attempt, error=error):
            return "warning", stage, f"Attempt {attempt} of a batch failed: {_short(error)}"
        case BatchReturned(stage=stage, reason=reason):
            return "info", stage, f"A batch was not begun: {_short(reason)}"
        case BatchExpired(stage=stage, attempt=attempt):
            return "warning", stage, f"Nobody answered attempt {attempt} of a batch in time"
        case BatchGivenUp(stage=stage, items=items, error=error):
            lost = _items(stage, len(items))
            return "error", stage, f"A batch was given up, {lost} failed: {_short(error)}"
        case _:
            return _of_the_run(message)


def _of_the_run(message: object) -> Line | None:
    match message:
        case RunStarted(trigger_type=trigger, estimated_credits=credits_used):
            how = "by its schedule" if trigger == "scheduled" else "by hand"
            cost = _count(credits_used, "credit")
            return "info", None, f"Run started {how}, estimated at {cost}"
        case RunPaused(reason="requested"):
            return "info", None, "Run paused"
        case RunPaused(missing_credits=missing):
            lack = _count(missing, "credit")
            verb = "is" if missing == 1 else "are"
            return "warning", None, f"Run paused: {lack} {verb} missing"
        case RunResumed():
            return "info", None, "Run resumed"
        case RunCancelled():
            return "warning", None, "Run cancelled"
        case RunCompleted(total_credits_used=total):
            return "info", None, f"Run completed: {_count(total, 'credit')}"
        case RunFailed(error_message=error):
            return "error", None, f"Run failed: {_short(error)}"
        case _:
            return None


def _batch_line(report: StageBatchCompleted, number: int) -> Line:
    tally = report.tally
    took = _items(report.stage, len(report.outcomes))
    told = f"Batch {number} done: {took}, {_count(tally.credits_used, 'credit')}"
    error = _first_error(report.outcomes)
    if error is None:
        return "info", report.stage, told
    return "warning", report.stage, f"{told}, {tally.items_failed} failed: {_short(error)}"


def _first_error(outcomes: tuple[Outcome, ...]) -> str | None:
    return next((outcome.error for outcome in outcomes if outcome.error is not None), None)


def _stage(number: int) -> str:
    return f"Stage {number} ({stage_of(number).name})"


def _items(stage: int, count: int) -> str:
    return _count(count, stage_of(stage).takes)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= ERROR_LENGTH else f"{line[: ERROR_LENGTH - 1]}…"


def tail(tx: sa.Connection, account_id: str, run_id: str, lines: int) -> list[LogLine]:
    """Return the run's newest lines, oldest first."""
    asked = (
        sa.select(run_log)
        .where(run_log.c.account_id == account_id, run_log.c.run_id == run_id)
        .order_by(run_log.c.position.desc())
        .limit(lines)
    )
    return many(tx, LogLine, asked)[::-1]
