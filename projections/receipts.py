"""The one outcome of each command, with what its sender is answered: as it was at that moment."""

from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel

from events.ids import run_id_of
from events.receipts import MessageAccepted, MessageRefused
from events.topics import Placed
from projections import configs, runs
from projections.database import (
    Parsed,
    Row,
    as_json,
    insert_new,
    may,
    metadata,
    must,
    one,
    primary,
    stamp,
    write,
)

receipts = sa.Table(
    "receipts",
    metadata,
    primary("message_id"),
    must("account_id"),
    may("site_id"),
    may("run_id"),
    must("kind"),
    may("code"),
    may("detail"),
    must("numbers"),
    may("answer"),
    must("at"),
)


class ReceiptRow(Row):
    """Accepted when `code` is none; `answer` is a RunRow's or ConfigRow's JSON where one is due."""

    message_id: str
    account_id: str
    kind: str
    code: str | None
    detail: str | None
    numbers: Annotated[dict[str, int | str], Parsed]
    site_id: str | None
    run_id: str | None
    answer: Annotated[dict[str, Any] | None, Parsed]
    at: datetime


ADD = insert_new(receipts)
ANSWERED_BY_RUN = {"RunRequested", "PauseRequested", "ResumeRequested", "CancelRequested"}


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case MessageAccepted(kind=kind, numbers=numbers):
            answer = _answer(tx, placed, kind)
            known = {"code": None, "detail": None, "numbers": as_json(numbers)}
            body = None if answer is None else answer.model_dump_json()
            _write(tx, placed, kind, known | {"answer": body})
        case MessageRefused(kind=kind, code=code, detail=detail, numbers=numbers):
            known = {"code": code, "detail": detail, "numbers": as_json(numbers)}
            _write(tx, placed, kind, known | {"answer": None})


def _answer(tx: sa.Connection, placed: Placed, kind: str) -> BaseModel | None:
    envelope = placed.envelope
    if kind in ANSWERED_BY_RUN:
        return runs.find(tx, envelope.account_id, _run_id(placed, kind) or "")
    if kind == "ConfigUpdateRequested":
        return configs.find(tx, envelope.account_id, envelope.site_id or "")
    return None


def _run_id(placed: Placed, kind: str) -> str | None:
    envelope = placed.envelope
    if envelope.run_id is None and kind == "RunRequested":
        return run_id_of(envelope.cause)
    return envelope.run_id


def _write(tx: sa.Connection, placed: Placed, kind: str, known: dict[str, str | None]) -> None:
    envelope = placed.envelope
    row = {
        "message_id": envelope.cause,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": _run_id(placed, kind),
        "kind": kind,
        "at": stamp(envelope.at),
    }
    write(tx, ADD, row | known)


def find(tx: sa.Connection, account_id: str, message_id: str) -> ReceiptRow | None:
    """Return the outcome of the account's command, none while it is pending."""
    mine = (receipts.c.account_id == account_id, receipts.c.message_id == message_id)
    return one(tx, ReceiptRow, sa.select(receipts).where(*mine))
