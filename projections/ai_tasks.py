"""The AI task log: every provider call, with what it cost."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from events.content import AiCall
from events.ids import derive
from events.run import BatchFailed, StageBatchCompleted
from events.topics import Placed
from projections.database import (
    Row,
    Whole,
    may,
    metadata,
    must,
    ordinal_of,
    page,
    primary,
    stamp,
    write_all,
)

ai_tasks = sa.Table(
    "ai_tasks",
    metadata,
    primary("ordinal", Whole),
    must("id"),
    must("account_id"),
    may("site_id"),
    may("run_id"),
    must("stage", sa.Integer),
    must("batch_id"),
    must("attempt", sa.Integer),
    must("function"),
    must("model"),
    must("status"),
    must("credits", Whole),
    must("tokens_in", Whole),
    must("tokens_out", Whole),
    must("milliseconds", Whole),
    may("error"),
    must("images", Whole),
    must("prompt"),
    must("prompt_hash"),
    must("cost_known", sa.Boolean),
    must("at"),
    sa.Index("ai_tasks_account", "account_id", "ordinal"),
    sa.Index("ai_tasks_run", "run_id", "ordinal"),
)


class AiTaskRow(Row):
    """One provider call; `credits` are whole, 0 for a failed call that nobody charged for.

    `prompt` is the prompt's name and version, `prompt_hash` the SHA-256 in hex of all that was
    sent; both are empty where nothing was. `cost_known` is false for a call that was cut off.
    """

    id: str
    run_id: str | None
    stage: int
    batch_id: str
    attempt: int
    function: str
    model: str
    status: Literal["succeeded", "failed"]
    credits: int
    tokens_in: int
    tokens_out: int
    milliseconds: int
    error: str | None
    images: int
    prompt: str
    prompt_hash: str
    cost_known: bool
    at: datetime


ADD = sa.insert(ai_tasks)


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case StageBatchCompleted(calls=calls) | BatchFailed(calls=calls) as report if calls:
            _log(tx, placed, report, calls)


def _log(
    tx: sa.Connection,
    placed: Placed,
    report: StageBatchCompleted | BatchFailed,
    calls: Sequence[AiCall],
) -> None:
    envelope = placed.envelope
    at = stamp(envelope.at)
    rows = [
        {
            "ordinal": ordinal_of(placed.position, index),
            "id": derive("ai", envelope.id, index),
            "account_id": envelope.account_id,
            "site_id": envelope.site_id,
            "run_id": envelope.run_id,
            "stage": report.stage,
            "batch_id": report.batch_id,
            "attempt": report.attempt,
            "function": call.function,
            "model": call.model,
            "status": call.status,
            "credits": call.credits_used,
            "tokens_in": call.tokens_in,
            "tokens_out": call.tokens_out,
            "milliseconds": call.milliseconds,
            "error": call.error,
            "images": call.images,
            "prompt": call.prompt,
            "prompt_hash": call.prompt_hash,
            "cost_known": call.cost_known,
            "at": at,
        }
        for index, call in enumerate(calls)
    ]
    write_all(tx, ADD, rows)


def entries(
    tx: sa.Connection, account_id: str, run_id: str | None, limit: int, before: int | None
) -> tuple[list[AiTaskRow], int | None]:
    """Return the account's calls, or only the run's, newest first."""
    asked = sa.select(ai_tasks).where(ai_tasks.c.account_id == account_id)
    if run_id is not None:
        asked = asked.where(ai_tasks.c.run_id == run_id)
    if before is not None:
        asked = asked.where(ai_tasks.c.ordinal < before)
    return page(tx, AiTaskRow, asked.order_by(ai_tasks.c.ordinal.desc()), "ordinal", limit)
