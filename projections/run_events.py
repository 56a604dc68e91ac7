"""Every event ever projected, by position: the history that people page through.

It also tells a duplicate from an event that was overtaken.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa

from events.topics import Placed
from projections.database import (
    Parsed,
    Row,
    Whole,
    many,
    may,
    metadata,
    must,
    primary,
    stamp,
    write_all,
)

run_events = sa.Table(
    "run_events",
    metadata,
    primary("position", Whole),
    must("id"),
    must("account_id"),
    may("site_id"),
    may("run_id"),
    must("type"),
    must("actor"),
    must("cause"),
    must("at"),
    must("data"),
    sa.Index("run_events_run", "run_id", "position"),
    sa.Index("run_events_site", "site_id", "position"),
)

AT_ONCE = 1000  # positions in one question; SQLite takes 32,766


class EventRow(Row):
    """An event of the public topic; `position` is its `ce_position`, `type` its bare name.

    `actor` is who brought it about: a key's id, admin, scheduler or system. `cause` is the id of
    the message that it follows from.
    """

    position: int
    id: str
    type: str
    at: datetime
    actor: str
    cause: str
    data: Annotated[dict[str, Any], Parsed]


def record(tx: sa.Connection, batch: Sequence[Placed]) -> None:
    """Write down that these events have been seen, whatever became of them."""
    write_all(tx, ADD, [_row_of(placed) for placed in batch])


ADD = sa.insert(run_events)


def _row_of(placed: Placed) -> dict[str, Any]:
    envelope = placed.envelope
    return {
        "position": placed.position,
        "id": envelope.id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": envelope.run_id,
        "type": envelope.message.TYPE,
        "actor": envelope.actor,
        "cause": envelope.cause,
        "at": stamp(envelope.at),
        "data": envelope.message.model_dump_json(),
    }


def applied(tx: sa.Connection, positions: Sequence[int]) -> set[int]:
    """Return which of the positions have been seen, over all accounts."""
    found: set[int] = set()
    for start in range(0, len(positions), AT_ONCE):
        some = run_events.c.position.in_(positions[start : start + AT_ONCE])
        found.update(tx.scalars(sa.select(run_events.c.position).where(some)))
    return found


def after_run(
    tx: sa.Connection, account_id: str, run_id: str, after: int, limit: int
) -> list[EventRow]:
    """Return the run's events that follow the position, in order."""
    return _after(tx, account_id, run_events.c.run_id == run_id, after, limit)


def after_site(
    tx: sa.Connection, account_id: str, site_id: str, after: int, limit: int
) -> list[EventRow]:
    """Return the site's events that follow the position, in order."""
    return _after(tx, account_id, run_events.c.site_id == site_id, after, limit)


def _after(
    tx: sa.Connection, account_id: str, whose: sa.ColumnElement[bool], after: int, limit: int
) -> list[EventRow]:
    asked = (
        sa.select(run_events)
        .where(run_events.c.account_id == account_id, whose, run_events.c.position > after)
        .order_by(run_events.c.position)
        .limit(limit)
    )
    return many(tx, EventRow, asked)
