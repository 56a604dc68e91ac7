"""The endpoints of the account itself, and those with which an operator runs accounts."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from events.commands import (
    AccountRequested,
    CreditsRequested,
    Key,
    KeyRequested,
    KeyRevocationRequested,
    Role,
)
from events.ids import derive
from projections import accounts, ai_tasks, ledger, runs
from projections.accounts import AccountRow, KeyRow
from projections.ai_tasks import AiTaskRow
from projections.ledger import LedgerRow
from services.api.cursors import Limit, Listing, Page
from services.api.dependencies import (
    Cursor,
    InParts,
    OptionalId,
    Paged,
    Parts,
    PathId,
    Read,
    Who,
    only_admin,
    page_of,
)
from services.api.limits import Body, json_body
from services.api.lookups import AWAY, look_up
from services.api.problems import Forbidden, NotFound, Unavailable
from services.api.schemas import ACCEPTED, json_request
from services.api.sender import ADMIN, AdminSend, Send, Sender
from services.api.sites import Line

router = APIRouter(prefix="/api/v1/account", tags=["account"])
admin = APIRouter(prefix="/api/v1/admin", tags=["admin"])

MOST = 1_000_000_000_000  # credits at once


@router.get("", name="account")
async def account(read: Read) -> AccountRow:
    """The account and its credits."""
    return await read.find(accounts.find)


@router.get("/ledger", name="ledger")
async def ledger_entries(read: Read, page: Paged) -> Listing[LedgerRow]:
    """Every change of the account's credits, newest first."""
    rows, following = await read(ledger.entries, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))


@router.get("/ai_tasks", name="ai_tasks")
async def ai_task_entries(read: Read, page: Paged, run_id: OptionalId = None) -> Listing[AiTaskRow]:
    """Every provider call of the account or of one run, with its cost, newest first."""
    if run_id is not None:
        await read.find(runs.find, run_id)
    rows, following = await read(ai_tasks.entries, run_id, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))


class NewAccount(Body):
    """A tenant to be, with whole credits to start from."""

    name: Line
    credits: Annotated[int, Field(ge=0, le=MOST)] = 0


class Opened(BaseModel):
    """A new account with its first key, which has the role admin; the secret is shown only here."""

    account_id: str
    api_key: str
    key_id: str
    name: str


class NewKey(Body):
    """A key to be: viewer reads, operator does everything but keys, admin everything."""

    role: Role


class Issued(BaseModel):
    """A new key; the secret is shown only here."""

    key_id: str
    api_key: str
    role: Role


class ListedKey(BaseModel):
    """A key without its secret; `last_used_at` is exact to a minute, none for never."""

    key_id: str
    role: Role
    created_at: datetime
    revoked: bool
    last_used_at: datetime | None


class NewCredits(Body):
    """Whole credits to grant, and what for."""

    amount: Annotated[int, Field(ge=1, le=MOST)]
    reason: Line


class Granted(BaseModel):
    """Credits that were granted."""

    account_id: str
    amount: int
    reason: str


def secret_of(send: Sender) -> str:
    """Return the API key that belongs to the request.

    It follows from the command's id and the admin token, so that a repeated request can be given
    the same answer although only the key's digest is ever stored.
    """
    token = send.parts.admin_token.encode()
    made = hmac.new(token, f"api-key/{send.command_id}".encode(), hashlib.sha256).digest()
    return "sk_" + base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def key_of(send: Sender, role: Role) -> Key:
    """Return what is stored of the request's key."""
    digest = hashlib.sha256(secret_of(send).encode()).hexdigest()
    return Key(key_id=derive("key", send.command_id), digest=digest, role=role)


async def issue(send: Sender, role: Role) -> Issued:
    """Add a key to the account that the request concerns."""
    key = key_of(send, role)
    await send(KeyRequested(key=key))
    return Issued(key_id=key.key_id, api_key=secret_of(send), role=role)


async def may_manage_keys(who: Who) -> None:
    """Refuse roles that have no say over the account's keys."""
    if who.role != "admin":
        raise Forbidden


ManagesKeys = Depends(may_manage_keys)


async def listed(
    parts: Parts, account_id: str, page: Page, rows: list[KeyRow], following: int | None
) -> Listing[ListedKey]:
    """Return a page of the account's keys, with when each was last used. Raises Unavailable."""
    ids = [row.key_id for row in rows]
    try:
        last = await asyncio.to_thread(parts.key_uses.last, account_id, ids)
    except AWAY as error:
        raise Unavailable from error
    items = [
        ListedKey(
            key_id=row.key_id,
            role=row.role,
            created_at=row.created_at,
            revoked=row.revoked,
            last_used_at=last.get(row.key_id),
        )
        for row in rows
    ]
    return Listing(items=items, next_cursor=page.cursor_of(following))


@router.get("/keys", name="keys", dependencies=[ManagesKeys])
async def own_keys(who: Who, read: Read, page: Paged, parts: InParts) -> Listing[ListedKey]:
    """The account's API keys, the oldest first, revoked ones too. For keys of the role admin."""
    rows, following = await read(accounts.keys, page.limit, page.start)
    return await listed(parts, who.account_id, page, rows, following)


@router.post(
    "/keys",
    status_code=201,
    dependencies=[ManagesKeys],
    openapi_extra=json_request(NewKey),
    responses=ACCEPTED,
)
async def add_own_key(send: Send, body: Annotated[NewKey, Depends(json_body(NewKey))]) -> Issued:
    """Add an API key to one's own account. For keys of the role admin."""
    return await issue(send, body.role)


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    dependencies=[ManagesKeys],
    response_class=Response,
    responses=ACCEPTED,
)
async def revoke_own_key(send: Send, read: Read, key_id: PathId) -> None:
    """Make a key of one's own account useless from now on, this one too. For the role admin."""
    row = await read.find(accounts.key_of, key_id)
    await send(KeyRevocationRequested(key_id=row.key_id))


def found_account(
    account_id: str,
) -> Callable[[sa.Connection], AccountRow | None]:
    """Return the query for an account that an operator names."""
    return lambda tx: accounts.find(tx, account_id)


async def account_asked(
    _: Annotated[None, Depends(only_admin)], account_id: PathId, parts: InParts
) -> AccountRow:
    """Return the account that the operator means. Raises NotFound."""
    row = await look_up(parts.engine, found_account(account_id))
    if row is None:
        raise NotFound
    return row


TheAccount = Annotated[AccountRow, Depends(account_asked)]


@admin.post(
    "/accounts", status_code=201, openapi_extra=json_request(NewAccount), responses=ACCEPTED
)
async def open_account(
    send: AdminSend, body: Annotated[NewAccount, Depends(json_body(NewAccount))]
) -> Opened:
    """Open an account with credits and its first key."""
    key = key_of(send, "admin")
    await send(AccountRequested(name=body.name, amount=body.credits, key=key))
    return Opened(
        account_id=send.account_id,
        api_key=secret_of(send),
        key_id=key.key_id,
        name=body.name,
    )


@admin.get("/accounts/{account_id}")
async def one_account(account: TheAccount) -> AccountRow:
    """Any account and its credits."""
    return account


@admin.post(
    "/accounts/{account_id}/keys",
    status_code=201,
    dependencies=[Depends(account_asked)],
    openapi_extra=json_request(NewKey),
    responses=ACCEPTED,
)
async def add_key(send: AdminSend, body: Annotated[NewKey, Depends(json_body(NewKey))]) -> Issued:
    """Add an API key to the account."""
    return await issue(send, body.role)


async def admin_page(
    _: Annotated[None, Depends(only_admin)],
    request: Request,
    parts: InParts,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page:
    """Return the part of a list that the operator asks for."""
    return page_of(ADMIN, request, parts, limit, cursor)


@admin.get("/accounts/{account_id}/keys")
async def account_keys(
    account: TheAccount, page: Annotated[Page, Depends(admin_page)], parts: InParts
) -> Listing[ListedKey]:
    """Any account's API keys, the oldest first, revoked ones too."""
    rows, following = await look_up(
        parts.engine, lambda tx: accounts.keys(tx, account.account_id, page.limit, page.start)
    )
    return await listed(parts, account.account_id, page, rows, following)


@admin.post(
    "/accounts/{account_id}/credits",
    openapi_extra=json_request(NewCredits),
    responses=ACCEPTED,
)
async def grant(
    send: AdminSend,
    account: TheAccount,
    body: Annotated[NewCredits, Depends(json_body(NewCredits))],
) -> Granted:
    """Grant the account credits."""
    await send(CreditsRequested(amount=body.amount, reason=body.reason))
    return Granted(account_id=account.account_id, amount=body.amount, reason=body.reason)


@admin.delete("/keys/{key_id}", status_code=204, response_class=Response, responses=ACCEPTED)
async def revoke_key(send: AdminSend, key_id: PathId) -> None:
    """Make an API key useless from now on."""
    row = await look_up(send.parts.engine, lambda tx: accounts.key(tx, key_id))
    if row is None:
        raise NotFound
    await replace(send, account_id=row.account_id)(KeyRevocationRequested(key_id=key_id))
