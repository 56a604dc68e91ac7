"""The live stream: the read model's events and progress, as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Header
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from projections import accounts, run_events, runs
from projections.run_events import EventRow
from projections.runs import Processing
from services.api.automation import MAX_POSITION, After
from services.api.dependencies import Caller, InParts, OptionalId, Parts, Read, Who
from services.api.lookups import look_up
from services.api.problems import InvalidRequest, Unavailable
from services.api.rates import Streams

router = APIRouter(prefix="/api/v1/automation", tags=["automation"])

LOOK_EVERY = 0.1  # seconds
ALIVE_EVERY = 15.0  # seconds; proxies cut connections that say nothing
CHECK_KEY_EVERY = 1.0  # seconds; the longest that a revoked key goes on listening
EVENTS_AT_ONCE = 500

Seen = tuple[list[EventRow], Processing | None]
Look = Callable[[int], Awaitable[Seen]]

LastEventId = Annotated[
    Annotated[int, Field(ge=0, le=MAX_POSITION)] | None,
    Header(description="the position of the last event that was received"),
    BeforeValidator(lambda value: None if value == "" else value),
]


def of_event(row: EventRow) -> str:
    """Return an event of the run's history; its id is the position, with which to go on."""
    return f"id: {row.position}\ndata: {row.model_dump_json()}\n\n"


def of_progress(progress: BaseModel) -> str:
    """Return the progress, without an id as it is no part of the history."""
    return f"event: progress\ndata: {progress.model_dump_json()}\n\n"


async def told(
    look: Look, after: int, may_listen: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """Yield what is new, in order, until the key is revoked or the store is away."""
    shown: Processing | None = None
    spoke = checked = time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        try:
            if time.monotonic() - checked >= CHECK_KEY_EVERY:
                if not await may_listen():
                    return
                checked = time.monotonic()
            rows, progress = await look(after)
        except Unavailable:
            return  # the client comes again with the last id it has
        for row in rows:
            yield of_event(row)
            after = row.position
        if progress is not None and progress != shown:
            yield of_progress(progress)
            shown = progress
            spoke = time.monotonic()
        if rows:
            spoke = time.monotonic()
        elif time.monotonic() - spoke >= ALIVE_EVERY:
            yield ": alive\n\n"
            spoke = time.monotonic()
        if len(rows) < EVENTS_AT_ONCE:
            await asyncio.sleep(LOOK_EVERY)


def seen_of_run(tx: sa.Connection, account_id: str, run_id: str, after: int) -> Seen:
    """Return the run's events after the position and what it is at, in one view."""
    rows = run_events.after_run(tx, account_id, run_id, after, EVENTS_AT_ONCE)
    return rows, runs.processing(tx, account_id, run_id)


def seen_of_site(tx: sa.Connection, account_id: str, site_id: str, after: int) -> Seen:
    """Return the site's events after the position and what its active run is at, in one view."""
    rows = run_events.after_site(tx, account_id, site_id, after, EVENTS_AT_ONCE)
    current = runs.current(tx, account_id, site_id)
    if current is None:
        return rows, None
    return rows, runs.processing(tx, account_id, current.run_id)


@dataclass(frozen=True)
class Subject:
    """What a stream is about, and the queries for it."""

    id: str
    exists: Callable[[sa.Connection, str, str], BaseModel | None]
    seen: Callable[[sa.Connection, str, str, int], Seen]


def subject_of(run_id: str | None, site_id: str | None) -> Subject:
    """Return the one that was named. Raises InvalidRequest for none and for both."""
    match run_id, site_id:
        case str(), None:
            return Subject(run_id, runs.find, seen_of_run)
        case None, str():
            return Subject(site_id, accounts.site, seen_of_site)
        case _:
            raise InvalidRequest("run_id: either run_id or site_id is needed")


async def still_valid(parts: Parts, who: Caller) -> bool:
    """Tell whether the key that opened the stream is still good."""
    row = await look_up(parts.engine, lambda tx: accounts.key(tx, who.key_id))
    return row is not None and not row.revoked


class LiveStream(StreamingResponse):
    """A stream that counts among its key's for exactly as long as it is being answered.

    The count is taken and given back here, as the generator of an answer that never begins is not
    run, and so runs no `finally` either.
    """

    def __init__(self, told: AsyncIterator[str], streams: Streams, key_id: str) -> None:
        super().__init__(told, media_type="text/event-stream")
        self.streams = streams
        self.key_id = key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with a 429 when the key has as many streams as it may."""
        with self.streams.one(self.key_id):
            await super().__call__(scope, receive, send)


EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events with `id:` and progress without, until the client goes away",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/stream", response_class=StreamingResponse, responses=EVENT_STREAM)
async def stream(
    who: Who,
    read: Read,
    parts: InParts,
    run_id: OptionalId = None,
    site_id: OptionalId = None,
    after: After = 0,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """The history of a run or a site as it happens, and its progress."""
    subject = subject_of(run_id, site_id)
    await read.find(subject.exists, subject.id)
    start = after if last_event_id is None else last_event_id

    async def look(position: int) -> Seen:
        return await read(subject.seen, subject.id, position)

    news = told(look, start, lambda: still_valid(parts, who))
    return LiveStream(news, parts.streams, who.key_id)
