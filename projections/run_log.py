"""The run's log for people: a line for each transition and batch, never content or secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from events.content import Draft, Outcome
from events.pipeline import stage_of
from events.run import (
    BatchExpired,
    BatchFailed,
    BatchGivenUp,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    StageBatchCompleted,
    StageCompleted,
    StageStarted,
    TimerSet,
)
from events.topics import Placed
from projections.database import (
    Row,
    Whole,
    many,
    may,
    metadata,
    must,
    primary,
    read_all,
    stamp,
    write,
)
from projections.runs import batches

Level = Literal["info", "warning", "error"]
Line = tuple[Level, int | None, str]
ERROR_LENGTH = 300
NAMED = 5  # drafts of a batch that failed their quality gates

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
    """One line; `position` is its event's, with which a reader goes on."""

    position: int
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
            which = {"run": envelope.run_id, "number": report.stage}
            ((number,),) = read_all(tx, RECORDED, which)
            _write(tx, placed, _batch_line(report, number))
        case _:
            line = line_of(envelope.message, envelope.actor)
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
    write(tx, ADD, row)


def line_of(message: object, actor: str) -> Line | None:
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
        case MessageSetAside(stage=stage) as told:
            return "error", stage, _set_aside(told)
        case MessageReplayed(stage=stage) as told:
            times = "" if told.attempt == 1 else f", set aside {told.attempt} times before"
            line = f"{told.message_type} ({told.message_id}) was sent again{times}, and handled"
            return "info", stage, f"{line} by {told.consumer}"
        case _:
            return _of_the_run(message, actor)


def _set_aside(told: MessageSetAside) -> str:
    """Return who could not handle what and why, and what an operator can do about it."""
    again = "" if told.attempt == 1 else f" for the {_ordinal(told.attempt)} time"
    return (
        f"{told.consumer} set {told.message_type} ({told.message_id}) aside{again}: "
        f"{_short(told.error)}. An operator finds it with septet dead-letters show "
        f"{told.message_id}, and {_remedy(told)}"
    )


def _remedy(told: MessageSetAside) -> str:
    if told.consumer == "projector":
        return "makes the rows good with septet projections rebuild once the cause is mended"
    return "sends it again with septet dead-letters replay once the cause is mended"


def _of_the_run(message: object, actor: str) -> Line | None:
    match message:
        case RunStarted(estimated_credits=estimated, retry_of=retry_of) as started:
            what = "" if retry_of is None else f" over what failed in {retry_of}"
            when = "" if started.slot is None else f", for {stamp(started.slot)[:16]} UTC"
            cost = _count(estimated, "credit")
            return "info", None, f"Run started by {actor}{what}{when}, estimated at {cost}"
        case RunPaused(reason="requested", note=note):
            return "info", None, _by("Run paused", actor, note)
        case RunPaused(reason="insufficient_credits") as paused:
            return "warning", None, f"Run paused: {paused.lack()}"
        case RunPaused(note=note):
            return "warning", None, f"Run paused: {note}"
        case TimerSet(purpose="provider", due_at=due_at):
            until = f"{stamp(due_at)[:19].replace('T', ' ')} UTC"
            return "warning", None, f"Waiting until {until} before the AI provider is asked again"
        case RunResumed(note=note):
            return "info", None, _by("Run resumed", actor, note)
        case RunCancelled(note=note):
            return "warning", None, _by("Run cancelled", actor, note)
        case RunCompleted(total_credits_used=total):
            return "info", None, f"Run completed: {_count(total, 'credit')}"
        case RunFailed(error_message=error):
            return "error", None, f"Run failed: {_short(error)}"
        case _:
            return None


def _by(what: str, actor: str, note: str) -> str:
    return f"{what} by {actor}: {_short(note)}" if note else f"{what} by {actor}"


def _batch_line(report: StageBatchCompleted, number: int) -> Line:
    tally = report.tally
    took = _items(report.stage, len(report.outcomes))
    told = f"Batch {number} done: {took}, {_count(tally.credits_used, 'credit')}"
    error = _first_error(report.outcomes)
    level: Level = "info"
    if error is not None:
        told, level = f"{told}, {tally.items_failed} failed: {_short(error)}", "warning"
    weak = [fact for fact in report.made if isinstance(fact, Draft) and _has_failed(fact)]
    told = ". ".join([told, *map(_gates_line, weak[:NAMED])])
    if len(weak) > NAMED:
        told = f"{told}. So did {_count(len(weak) - NAMED, 'other draft')}"
    if report.halt is not None:
        later = _items(report.stage, len(report.deferred))
        told = f"{told}. {later} put off: {_short(report.halt.detail)}"
    is_bad = weak or report.halt is not None
    return "warning" if is_bad else level, report.stage, told


def _has_failed(draft: Draft) -> bool:
    return draft.quality is not None and not draft.quality.passed


def _gates_line(draft: Draft) -> str:
    failed = draft.quality.failed if draft.quality else ()
    return f"Draft {draft.id} failed its quality gates: {', '.join(one.name for one in failed)}"


def _first_error(outcomes: tuple[Outcome, ...]) -> str | None:
    return next((outcome.error for outcome in outcomes if outcome.error is not None), None)


def _stage(number: int) -> str:
    return f"Stage {number} ({stage_of(number).name})"


def _items(stage: int, count: int) -> str:
    return _count(count, stage_of(stage).takes)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, … 11th, …"""
    endings = {1: "st", 2: "nd", 3: "rd"}
    is_teen = number // 10 % 10 == 1
    return f"{number}{'th' if is_teen else endings.get(number % 10, 'th')}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= ERROR_LENGTH else f"{line[: ERROR_LENGTH - 1]}…"


LEVELS: Sequence[Level] = ("info", "warning", "error")


def tail(
    tx: sa.Connection,
    account_id: str,
    run_id: str,
    lines: int,
    level: Level = "info",
    stage: int | None = None,
) -> list[LogLine]:
    """Return the run's newest lines of that level and above, oldest first."""
    asked = _lines(account_id, run_id, level, stage)
    return many(tx, LogLine, asked.order_by(run_log.c.position.desc()).limit(lines))[::-1]


def following(
    tx: sa.Connection,
    account_id: str,
    run_id: str,
    after: int,
    lines: int,
    level: Level = "info",
    stage: int | None = None,
) -> list[LogLine]:
    """Return the lines that follow the position, oldest first."""
    asked = _lines(account_id, run_id, level, stage).where(run_log.c.position > after)
    return many(tx, LogLine, asked.order_by(run_log.c.position).limit(lines))


def _lines(account_id: str, run_id: str, level: Level, stage: int | None) -> sa.Select[Any]:
    asked = sa.select(run_log).where(
        run_log.c.account_id == account_id,
        run_log.c.run_id == run_id,
        run_log.c.level.in_(LEVELS[LEVELS.index(level) :]),
    )
    return asked if stage is None else asked.where(run_log.c.stage == stage)
