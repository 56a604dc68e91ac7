"""Runs that were not started, each with the rule that said no and its numbers."""

from datetime import datetime
from typing import Annotated

import sqlalchemy as sa

from events.commands import TriggerType
from events.site import RunRefused
from events.topics import Placed
from projections.database import (
    Parsed,
    Row,
    Whole,
    as_json,
    many,
    may,
    metadata,
    must,
    primary,
    stamp,
    write,
)

refusals = sa.Table(
    "refusals",
    metadata,
    primary("position", Whole),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("at"),
    must("code"),
    must("detail"),
    must("numbers"),
    must("trigger_type"),
    may("slot"),
    sa.Index("refusals_site", "site_id", "position"),
)


class RefusalRow(Row):
    """`slot` is the schedule's time that was skipped, none when a person asked."""

    at: datetime
    code: str
    detail: str
    numbers: Annotated[dict[str, int | str], Parsed]
    trigger_type: TriggerType
    slot: datetime | None
    run_id: str | None


ADD = sa.insert(refusals)


def apply(tx: sa.Connection, placed: Placed) -> None:
    envelope = placed.envelope
    match envelope.message:
        case RunRefused() as refused:
            row = {
                "position": placed.position,
                "account_id": envelope.account_id,
                "site_id": envelope.site_id,
                "run_id": envelope.run_id,
                "at": stamp(envelope.at),
                "code": refused.code,
                "detail": refused.detail,
                "numbers": as_json(refused.numbers),
                "trigger_type": refused.trigger_type,
                "slot": None if refused.slot is None else stamp(refused.slot),
            }
            write(tx, ADD, row)


def recent(tx: sa.Connection, account_id: str, site_id: str, limit: int) -> list[RefusalRow]:
    """Return the site's last refusals, newest first."""
    asked = (
        sa.select(refusals)
        .where(refusals.c.account_id == account_id, refusals.c.site_id == site_id)
        .order_by(refusals.c.position.desc())
        .limit(limit)
    )
    return many(tx, RefusalRow, asked)
