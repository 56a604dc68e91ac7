"""The API, put together from what it is given."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from events.prices import LOCAL, Models
from events.topics import Publish
from services.allowed_hosts import Allowed
from services.api import (
    accounts,
    ai,
    automation,
    estimates,
    operations,
    outcomes,
    planner,
    sites,
    stream,
    writer,
)
from services.api.ai import keep_tidy
from services.api.dependencies import Artifacts, Parts
from services.api.edge import Edge, route_of
from services.api.key_uses import KeyUses
from services.api.lookups import Receipts
from services.api.operations import Metrics
from services.api.pending import PendingCommands, keep_sending
from services.api.problems import NotFound, Problem, StillPending, answer, invalid, pending_answer
from services.api.rates import REQUESTS_PER_MINUTE, STREAMS_PER_KEY, Rates, Streams
from services.api.schemas import complete
from services.vault import Vault

DESCRIPTION = (
    "Runs seven-stage AI content pipelines for sites. Keys go into the Authorization header as "
    "Bearer; errors are application/problem+json with a stable code."
)
ROUTERS = (
    automation.router,
    estimates.router,
    stream.router,
    planner.router,
    writer.router,
    sites.router,
    outcomes.router,
    accounts.router,
    ai.router,
    accounts.admin,
    operations.router,
)


def create_app(
    *,
    engine: sa.Engine,
    pending: PendingCommands,
    key_uses: KeyUses,
    vault: Vault,
    publish: Publish,
    artifacts: Artifacts,
    admin_token: str,
    clock: Callable[[], datetime],
    new_id: Callable[[str], str],
    ready: Callable[[], Awaitable[dict[str, str]]],
    asyncapi: Callable[[], dict[str, Any]],
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    streams_per_key: int = STREAMS_PER_KEY,
    models: Models = LOCAL,
    allowed_hosts: tuple[Allowed, ...] = (),
) -> FastAPI:
    """Return the API.

    `engine` is the read model's. `ready` says of each part what is wrong with it, "" when nothing.
    The limits are this process's; 0 is none. `models` are the installation's,
    `allowed_hosts` those that accounts may choose for providers of their own.
    """
    parts = Parts(
        engine=engine,
        pending=pending,
        publish=publish,
        artifacts=artifacts,
        admin_token=admin_token,
        clock=clock,
        new_id=new_id,
        ready=ready,
        asyncapi=asyncapi,
        models=models,
        receipts=Receipts(engine),
        key_uses=key_uses,
        vault=vault,
        allowed_hosts=allowed_hosts,
        rates=Rates(requests_per_minute),
        streams=Streams(streams_per_key),
    )
    app = Api(
        title="Septet",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _: sending(parts),
    )
    app.state.parts = parts
    app.state.metrics = Metrics()
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(StillPending, on_pending)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_middleware(Edge, metrics=app.state.metrics)
    return app


class Api(FastAPI):
    """FastAPI, whose OpenAPI document tells all that we read and answer ourselves."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


@asynccontextmanager
async def sending(parts: Parts) -> AsyncIterator[None]:
    """Send commands without an outcome again, and tidy up, for as long as the API runs."""
    async with asyncio.TaskGroup() as tasks:
        kept = (
            tasks.create_task(
                keep_sending(parts.pending, parts.engine, parts.publish, parts.clock)
            ),
            tasks.create_task(keep_tidy(parts)),
        )
        yield
        for task in kept:
            task.cancel()
        await parts.key_uses.written()


async def on_problem(_: Request, error: Exception) -> Response:
    """Answer with the problem."""
    assert isinstance(error, Problem)
    return answer(error)


async def on_pending(_: Request, error: Exception) -> Response:
    """Answer that the outcome will be told later."""
    assert isinstance(error, StillPending)
    return pending_answer(error.command_id)


async def on_invalid(_: Request, error: Exception) -> Response:
    """Answer 400 to what FastAPI found wrong with the parameters."""
    assert isinstance(error, RequestValidationError)
    return answer(invalid(error.errors()))


async def on_http(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: unknown addresses and wrong methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == METHOD_NOT_ALLOWED:
        detail = "This address does not take this method."
        headers = {"Allow": ", ".join(methods_at(request))}
        return answer(Problem("method_not_allowed", detail, headers=headers))
    if error.status_code == NOT_FOUND:
        return answer(NotFound())
    return answer(Problem("invalid_request", "The request could not be read."))


NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405


def methods_at(request: Request) -> list[str]:
    """Return the methods of the address; the router names only those of the first that fits."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    return sorted(method.upper() for method in paths.get(route_of(request.scope), {})) or ["GET"]
