"""What became of a command: the endpoint that a 202 points to."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel

from projections import receipts
from projections.receipts import ReceiptRow
from services.api.dependencies import AccountOrOperator, InParts, PathId
from services.api.lookups import AWAY, look_up
from services.api.pending import SentCommand
from services.api.problems import INTERNAL, NotFound, Unavailable
from services.api.sender import ADMIN, part_id

router = APIRouter(prefix="/api/v1", tags=["commands"])


class Outcome(BaseModel):
    """A command's outcome: what was refused has a code, a sentence and the rule's numbers."""

    command_id: str
    status: Literal["pending", "accepted", "refused"]
    account_id: str | None = None
    site_id: str | None = None
    run_id: str | None = None
    code: str | None = None
    detail: str | None = None
    numbers: dict[str, int | str] | None = None


def outcome_of(command_id: str, parts: int, found: Sequence[ReceiptRow]) -> Outcome:
    """Return the outcome of a request that became so many commands, of which these are answered.

    One refusal refuses the request; numbers of all its commands are added up.
    """
    for receipt in found:
        if receipt.code is not None:
            ours = receipt.code == "internal_error"
            return Outcome(
                command_id=command_id,
                status="refused",
                account_id=receipt.account_id,
                site_id=receipt.site_id,
                run_id=receipt.run_id,
                code=receipt.code,
                detail=INTERNAL if ours else receipt.detail,
                numbers={} if ours else receipt.numbers,
            )
    if len(found) < parts:
        return Outcome(command_id=command_id, status="pending")
    return Outcome(
        command_id=command_id,
        status="accepted",
        account_id=found[0].account_id,
        site_id=found[0].site_id,
        run_id=found[0].run_id,
        numbers=sums(found),
    )


def sums(found: Sequence[ReceiptRow]) -> dict[str, int | str]:
    """Return the receipts' numbers, added up where they are numbers."""
    total: dict[str, int | str] = {}
    for receipt in found:
        for name, value in receipt.numbers.items():
            before = total.get(name, 0)
            both = isinstance(value, int) and isinstance(before, int)
            total[name] = before + value if both else value  # type: ignore[operator]
    return total


def receipts_of(
    tx: sa.Connection, account_id: str, command_id: str, parts: int
) -> list[ReceiptRow]:
    """Return the receipts that a request's commands have by now."""
    looked = [receipts.find(tx, account_id, part_id(command_id, number)) for number in range(parts)]
    return [receipt for receipt in looked if receipt is not None]


def visible(row: SentCommand | None, account_id: str | None) -> SentCommand | None:
    """Return the row when it may be told: to its account, or (none) to the operator who sent it."""
    if row is None:
        return None
    mine = row.account_id == account_id if account_id else row.scope.split("/")[0] == ADMIN
    return row if mine else None


@router.get("/commands/{command_id}", response_model_exclude_none=True)
async def outcome(command_id: PathId, who: AccountOrOperator, parts: InParts) -> Outcome:
    """Whether the command is pending, accepted or refused."""
    account_id = None if who is None else who.account_id
    try:
        row = visible(await asyncio.to_thread(parts.pending.find, command_id), account_id)
    except AWAY as error:
        raise Unavailable from error
    count = 1 if row is None else row.parts
    whose = account_id or (row.account_id if row else None)
    if whose is None:
        raise NotFound
    found = await look_up(parts.engine, lambda tx: receipts_of(tx, whose, command_id, count))
    if row is None and not found:
        raise NotFound
    return outcome_of(command_id, count, found)
