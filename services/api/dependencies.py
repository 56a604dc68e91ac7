"""What an endpoint may touch: who is calling, its parameters, what it reads."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BeforeValidator

from events.commands import Role
from events.ids import is_id
from events.prices import Models
from events.topics import Publish
from projections import accounts, runs
from projections.accounts import SiteRow
from projections.runs import RunRow
from services.allowed_hosts import Allowed
from services.api.cursors import CursorText, Limit, Page, seal, unseal
from services.api.key_uses import KeyUses
from services.api.lookups import Receipts, look_up
from services.api.pending import PendingCommands
from services.api.problems import (
    Forbidden,
    NotFound,
    Unauthenticated,
)
from services.api.rates import Rates, Streams
from services.vault import Vault

P = ParamSpec("P")
T = TypeVar("T")


class Artifacts(Protocol):
    """Where article bodies and image files lie, by their SHA-256."""

    async def get(self, digest: str) -> bytes:
        """Return the bytes. Raises LookupError when they are not there."""
        ...


@dataclass(frozen=True)
class Parts:
    """What the API is made of; create_app puts it where requests find it."""

    engine: sa.Engine
    pending: PendingCommands
    publish: Publish
    artifacts: Artifacts
    admin_token: str = field(repr=False)
    clock: Callable[[], datetime]
    new_id: Callable[[str], str]
    ready: Callable[[], Awaitable[dict[str, str]]]
    asyncapi: Callable[[], dict[str, Any]]
    models: Models
    allowed_hosts: tuple[Allowed, ...]
    receipts: Receipts
    key_uses: KeyUses
    vault: Vault
    rates: Rates
    streams: Streams

    def secret(self, purpose: str) -> bytes:
        """Return a secret of this installation; different purposes have different ones."""
        return hmac.new(self.admin_token.encode(), purpose.encode(), hashlib.sha256).digest()


async def parts_of(request: Request) -> Parts:
    """Return the running API's parts."""
    parts: Parts = request.app.state.parts
    return parts


InParts = Annotated[Parts, Depends(parts_of)]


async def models_asked(parts: InParts) -> Models:
    """Return the installation's models: an account may have chosen others."""
    return parts.models


RunModels = Annotated[Models, Depends(models_asked)]


@dataclass(frozen=True)
class Caller:
    """An account's key."""

    account_id: str
    key_id: str
    role: Role


Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="An account's API key, or the admin token")),
]


def address_of(request: Request) -> str:
    """Return where the request came from, "" when that is no network address."""
    return request.client.host if request.client else ""


async def caller_of(key: str, address: str, parts: Parts) -> Caller:
    """Return whose key it is, and count the request.

    Raises Unauthenticated for an unknown or revoked one, TooManyRequests before the key is looked
    up where that can be told: for a key that was good the last time, and for a stranger's address.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    known = parts.rates.known(digest)
    if known is None:
        parts.rates.admit_stranger(address)
    else:
        parts.rates.count_key(known)
    row = await look_up(parts.engine, lambda tx: accounts.find_key(tx, digest))
    if row is None or row.revoked or not is_same(row.digest, digest):
        parts.rates.forget(digest)
        parts.rates.count_stranger(address)
        raise Unauthenticated
    if known is None:
        parts.rates.count_key(row.key_id)
        parts.rates.remember(digest, row.key_id)
    parts.key_uses.note(row.account_id, row.key_id, parts.clock())
    return Caller(row.account_id, row.key_id, row.role)


async def who_calls(bearer: Bearer, request: Request, parts: InParts) -> Caller:
    """Return the account's key that the request was signed with.

    Raises Unauthenticated or TooManyRequests.
    """
    address = address_of(request)
    if bearer is None:
        parts.rates.count_stranger(address)
        raise Unauthenticated
    return await caller_of(bearer.credentials, address, parts)


Who = Annotated[Caller, Depends(who_calls)]


async def account_or_operator(bearer: Bearer, request: Request, parts: InParts) -> Caller | None:
    """Return the account's key that the request was signed with, none for the admin token.

    Raises Unauthenticated or TooManyRequests.
    """
    if bearer is not None and is_admin(bearer.credentials, parts):
        parts.rates.count_operator()
        return None
    return await who_calls(bearer, request, parts)


AccountOrOperator = Annotated[Caller | None, Depends(account_or_operator)]


async def only_admin(who: AccountOrOperator) -> None:
    """Let the admin token pass. A valid key of an account is known, but its role is not enough."""
    if who is not None:
        raise Forbidden


def is_admin(key: str, parts: Parts) -> bool:
    """Tell whether the key is the admin token."""
    return bool(parts.admin_token) and is_same(key, parts.admin_token)


def is_same(one: str, other: str) -> bool:
    """Tell whether the texts are the same, in a time that does not depend on how much fits."""
    return hmac.compare_digest(one.encode(), other.encode())


def known_form(text: str) -> str:
    """Return the text when it could be an id. Raises NotFound: what cannot be is not looked up."""
    if not is_id(text):
        raise NotFound
    return text


def _named(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


Id = Annotated[str, AfterValidator(_named), AfterValidator(known_form)]


def _blank(value: Any) -> Any:
    return None if value == "" else value


BlankIsNone = BeforeValidator(_blank)
OptionalId = Annotated[Id | None, BlankIsNone]
PathId = Annotated[Id, Path()]


Cursor = Annotated[CursorText | None, BlankIsNone]


def page_of(reader: str, request: Request, parts: Parts, limit: int, cursor: str | None) -> Page:
    """Return the part of a list that is asked for; its cursors are good for this reader only."""
    asked = request.query_params
    scope = "\0".join(
        (reader, request.scope["path"], asked.get("site_id", ""), asked.get("run_id", ""))
    )
    secret = parts.secret("cursors")
    start = None if cursor is None else unseal(secret, scope, cursor)

    def cursor_of(position: int | None) -> str | None:
        return None if position is None else seal(secret, scope, position)

    return Page(limit, start, cursor_of)


def pages(default: int) -> Callable[..., Awaitable[Page]]:
    """Return the dependency that reads limit and cursor of one account's list."""

    async def page(
        request: Request, who: Who, parts: InParts, limit: Limit = default, cursor: Cursor = None
    ) -> Page:
        return page_of(who.account_id, request, parts, limit, cursor)

    return page


Paged = Annotated[Page, Depends(pages(50))]
Status = Annotated[
    Annotated[str, Query(pattern=r"^[a-z_]{1,32}$", description="only items of this status")]
    | None,
    BlankIsNone,
]


@dataclass(frozen=True)
class Reader:
    """Runs queries of the read model for one account."""

    engine: sa.Engine
    account_id: str

    async def __call__(
        self,
        query: Callable[Concatenate[sa.Connection, str, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what the query finds."""
        return await look_up(self.engine, lambda tx: query(tx, self.account_id, *args, **kwargs))

    async def find(
        self,
        query: Callable[Concatenate[sa.Connection, str, P], T | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what the query finds. Raises NotFound when that is nothing."""
        found = await self(query, *args, **kwargs)
        if found is None:
            raise NotFound
        return found


async def reader(who: Who, parts: InParts) -> Reader:
    """Return the caller's own view of the read model."""
    return Reader(parts.engine, who.account_id)


Read = Annotated[Reader, Depends(reader)]


async def site_asked(site_id: Id, read: Read) -> SiteRow:
    """Return the caller's site. Raises NotFound."""
    return await read.find(accounts.site, site_id)


async def run_asked(run_id: Id, read: Read) -> RunRow:
    """Return the caller's run. Raises NotFound."""
    return await read.find(runs.find, run_id)


TheSite = Annotated[SiteRow, Depends(site_asked)]
TheRun = Annotated[RunRow, Depends(run_asked)]
