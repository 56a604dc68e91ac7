"""What an endpoint may touch: who is calling, its parameters, what it reads."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BeforeValidator

from events.commands import Role
from events.ids import is_id
from events.topics import Publish
from projections import accounts, runs
from projections.accounts import SiteRow
from projections.runs import RunRow
from services.api.cursors import CursorText, Limit, Page, seal, unseal
from services.api.lookups import Receipts, look_up
from services.api.pending import PendingCommands
from services.api.problems import (
    Forbidden,
    NotFound,
    Unauthenticated,
)

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
    admin_token: str
    clock: Callable[[], datetime]
    new_id: Callable[[str], str]
    ready: Callable[[], Awaitable[dict[str, str]]]
    asyncapi: Callable[[], dict[str, Any]]
    receipts: Receipts

    def secret(self, purpose: str) -> bytes:
        """Return a secret of this installation; different purposes have different ones."""
        return hmac.new(self.admin_token.encode(), purpose.encode(), hashlib.sha256).digest()


async def parts_of(request: Request) -> Parts:
    """Return the running API's parts."""
    parts: Parts = request.app.state.parts
    return parts


InParts = Annotated[Parts, Depends(parts_of)]


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


async def caller_of(engine: sa.Engine, key: str) -> Caller | None:
    """Return whose key it is, none for an unknown or revoked one."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    row = await look_up(engine, lambda tx: accounts.find_key(tx, digest))
    if row is None or row.revoked:
        return None
    return Caller(row.account_id, row.key_id, row.role)


async def who_calls(bearer: Bearer, parts: InParts) -> Caller:
    """Return the account's key that the request was signed with. Raises Unauthenticated."""
    caller = None if bearer is None else await caller_of(parts.engine, bearer.credentials)
    if caller is None:
        raise Unauthenticated
    return caller


Who = Annotated[Caller, Depends(who_calls)]


async def only_admin(bearer: Bearer, parts: InParts) -> None:
    """Let the admin token pass. A valid key of an account is known, but its role is not enough."""
    if bearer is None:
        raise Unauthenticated
    if is_admin(bearer.credentials, parts):
        return
    if await caller_of(parts.engine, bearer.credentials) is not None:
        raise Forbidden
    raise Unauthenticated


def is_admin(key: str, parts: Parts) -> bool:
    """Tell whether the key is the admin token, in a time that does not depend on how much fits."""
    return bool(parts.admin_token) and hmac.compare_digest(key.encode(), parts.admin_token.encode())


def known_form(text: str) -> str:
    """Return the text when it could be an id. Raises NotFound: what cannot be is not looked up."""
    if not is_id(text):
        raise NotFound
    return text


Id = Annotated[str, AfterValidator(known_form)]


def _blank(value: Any) -> Any:
    return None if value == "" else value


BlankIsNone = BeforeValidator(_blank)
OptionalId = Annotated[Id | None, BlankIsNone]
PathId = Annotated[Id, Path()]


def pages(default: int) -> Callable[..., Awaitable[Page]]:
    """Return the dependency that reads limit and cursor of one account's list."""

    async def page(
        request: Request,
        who: Who,
        parts: InParts,
        limit: Limit = default,
        cursor: Annotated[CursorText | None, BlankIsNone] = None,
    ) -> Page:
        asked = request.query_params
        scope = "\0".join(
            (
                who.account_id,
                request.scope["path"],
                asked.get("site_id", ""),
                asked.get("run_id", ""),
            )
        )
        secret = parts.secret("cursors")
        start = None if cursor is None else unseal(secret, scope, cursor)

        def cursor_of(position: int | None) -> str | None:
            return None if position is None else seal(secret, scope, position)

        return Page(limit, start, cursor_of)

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
