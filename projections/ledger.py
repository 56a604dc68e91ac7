"""The account's credits, an entry for each change: granted, held, settled, released."""

from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from events.account import CreditsGranted, CreditsHeld, CreditsReleased, CreditsSettled
from events.topics import Placed
from projections.database import Row, Whole, may, metadata, must, page, primary, stamp, write

Entry = Literal["grant", "hold", "settle", "release"]

ledger = sa.Table(
    "ledger",
    metadata,
    primary("position", Whole),
    must("id"),
    must("account_id"),
    may("site_id"),
    may("run_id"),
    must("at"),
    must("type"),
    must("amount", Whole),
    must("from_hold", Whole),
    must("uncovered", Whole),
    may("stage", sa.Integer),
    may("batch_id"),
    may("reason"),
    sa.Index("ledger_account", "account_id", "position"),
)


class LedgerRow(Row):
    """Whole credits, never negative; `from_hold` of a settled amount had been held before."""

    id: str
    at: datetime
    type: Entry
    amount: int
    run_id: str | None
    from_hold: int
    uncovered: int
    stage: int | None
    batch_id: str | None
    reason: str | None


ADD = sa.insert(ledger)


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case CreditsSettled() as settled:
            _enter(
                tx,
                placed,
                "settle",
                settled.amount,
                from_hold=settled.from_hold,
                uncovered=settled.uncovered,
                stage=settled.stage,
                batch_id=settled.batch_id,
            )
        case CreditsGranted(amount=amount, reason=reason):
            _enter(tx, placed, "grant", amount, reason=reason)
        case CreditsHeld(amount=amount):
            _enter(tx, placed, "hold", amount)
        case CreditsReleased(amount=amount):
            _enter(tx, placed, "release", amount)


def _enter(
    tx: sa.Connection, placed: Placed, kind: Entry, amount: int, **known: int | str | None
) -> None:
    envelope = placed.envelope
    row = {
        "position": placed.position,
        "id": envelope.id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": envelope.run_id,
        "at": stamp(envelope.at),
        "type": kind,
        "amount": amount,
        "from_hold": 0,
        "uncovered": 0,
        "stage": None,
        "batch_id": None,
        "reason": None,
    }
    write(tx, ADD, row | known)


def entries(
    tx: sa.Connection, account_id: str, limit: int, before: int | None
) -> tuple[list[LedgerRow], int | None]:
    """Return the account's entries, newest first, those before the cursor when there is one."""
    asked = sa.select(ledger).where(ledger.c.account_id == account_id)
    if before is not None:
        asked = asked.where(ledger.c.position < before)
    return page(tx, LedgerRow, asked.order_by(ledger.c.position.desc()), "position", limit)
