"""The automation endpoints: config, runs, and what a site is at."""

from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field

from events.commands import (
    CancelRequested,
    ConfigUpdateRequested,
    PauseRequested,
    ResumeRequested,
    RunRequested,
)
from events.config import ConfigChanges
from events.ids import run_id_of
from events.message import Command
from projections import (
    accounts,
    audit_heads,
    configs,
    overview,
    refusals,
    run_events,
    run_log,
    runs,
)
from projections.configs import ConfigRow
from projections.overview import StageCounts
from projections.refusals import RefusalRow
from projections.run_events import EventRow
from projections.run_log import Level, LogLine
from projections.runs import Processing, RunRow
from services.api.cursors import Limit, Page
from services.api.dependencies import BlankIsNone, OptionalId, Read, TheRun, TheSite, pages
from services.api.limits import Body, JsonValue, RawBody, Whole, json_value, no_body, parse
from services.api.problems import InvalidRequest
from services.api.schemas import ACCEPTED, Pending, Responses, json_request
from services.api.sender import Send, Sender

router = APIRouter(prefix="/api/v1/automation", tags=["automation"])

NoBody = Depends(no_body)
Twenty = Annotated[Page, Depends(pages(20))]
MAX_POSITION = 2**63 - 1
After = Annotated[
    int,
    Query(ge=0, le=MAX_POSITION, description="a position; what follows it is given"),
    Whole,
    BeforeValidator(lambda value: 0 if value == "" else value),
]


def changes_in(value: JsonValue) -> ConfigChanges:
    """Return the fields to change. Raises InvalidRequest, for null too: no setting is empty."""
    changes = parse(ConfigChanges, value)
    empty = sorted(name for name in changes.model_fields_set if getattr(changes, name) is None)
    if empty:
        raise InvalidRequest(f"{empty[0]}: must have a value; leave it out to keep it as it is")
    return changes


@router.get("/config")
async def config(site: TheSite, read: Read) -> ConfigRow:
    """The site's automation config."""
    return await read.find(configs.find, site.site_id)


@router.put("/update_config", openapi_extra=json_request(ConfigChanges), responses=ACCEPTED)
async def update_config(
    send: Send, site: TheSite, changes: Annotated[ConfigChanges, Depends(changes_in)]
) -> ConfigRow:
    """Change any of the settable fields, from the next run on."""
    command = ConfigUpdateRequested(changes=changes)
    receipt = await send(command, site.site_id)
    return ConfigRow.model_validate(receipt.answer)


class Started(BaseModel):
    """A run that has begun."""

    run_id: str
    site_id: str
    status: Literal["running"] = "running"
    trigger_type: Literal["manual"] = "manual"


class Retried(Started):
    """A run over what failed in another one, and what it is priced at, in whole credits."""

    retry_of: str
    estimated_credits: int
    required_credits: int


STARTED: Responses = {
    202: {"model": Started | Pending, "description": "Started, or sent with its outcome unknown"},
}


@router.post("/run_now", status_code=202, dependencies=[NoBody], responses=STARTED)
async def run_now(send: Send, site: TheSite) -> Started:
    """Start a run of the site now."""
    run_id = run_id_of(send.command_id)
    await send(RunRequested(), site.site_id, run_id)
    return Started(run_id=run_id, site_id=site.site_id)


RETRIED: Responses = {
    202: {"model": Retried | Pending, "description": "Started, or sent with its outcome unknown"},
}


@router.post("/retry_failed", status_code=202, dependencies=[NoBody], responses=RETRIED)
async def retry_failed(send: Send, run: TheRun) -> Retried:
    """Start a run over exactly the items that failed in another run, and what comes of them."""
    run_id = run_id_of(send.command_id)
    receipt = await send(RunRequested(retry_of=run.run_id), run.site_id, run_id)
    known = {"run_id": run_id, "site_id": run.site_id, "retry_of": run.run_id}
    return Retried.model_validate(receipt.numbers | known)


class AuditHead(BaseModel):
    """A hash over all that has happened to a site up to a position, to keep elsewhere."""

    site_id: str
    position: int
    head: str


@router.get("/audit_head")
async def audit_head(site: TheSite, read: Read) -> AuditHead:
    """The newest head of the site's chain of hashes; see docs/audit.md."""
    row = await read.find(audit_heads.find, site.site_id)
    return AuditHead(site_id=site.site_id, position=row.position, head=row.head)


class Steering(Body):
    """Why a run is paused, resumed or cancelled, for whoever reads its history."""

    note: Annotated[str, Field(max_length=500)] = ""


async def note_in(body: RawBody, request: Request) -> str:
    """Return the note of an optional body. Raises InvalidRequest."""
    if not body.strip():
        return ""
    return parse(Steering, json_value(body, request)).note.strip()


Note = Annotated[str, Depends(note_in)]
OPTIONAL_NOTE = json_request(Steering, required=False)


async def changed(command: Command, run: RunRow, send: Sender) -> RunRow:
    """Return the run as it was right after the command."""
    receipt = await send(command, run.site_id, run.run_id)
    return RunRow.model_validate(receipt.answer)


@router.post("/pause", openapi_extra=OPTIONAL_NOTE, responses=ACCEPTED)
async def pause(send: Send, run: TheRun, note: Note) -> RunRow:
    """Ask for no further batch until the run is resumed.

    The answer says what is in flight and may still be done, and once nothing is, since when.
    """
    return await changed(PauseRequested(note=note), run, send)


@router.post("/resume", openapi_extra=OPTIONAL_NOTE, responses=ACCEPTED)
async def resume(send: Send, run: TheRun, note: Note) -> RunRow:
    """Go on with exactly the items that are not done."""
    return await changed(ResumeRequested(note=note), run, send)


@router.post("/cancel", openapi_extra=OPTIONAL_NOTE, responses=ACCEPTED)
async def cancel(send: Send, run: TheRun, note: Note) -> RunRow:
    """End the run; what is finished stays, and the hold is released when nothing is in flight."""
    return await changed(CancelRequested(note=note), run, send)


class Current(BaseModel):
    """The run that occupies a site, if one does."""

    run: RunRow | None


@router.get("/current_run")
async def current_run(site: TheSite, read: Read) -> Current:
    """The site's running or paused run."""
    return Current(run=await read(runs.current, site.site_id))


@router.get("/run")
async def run(run: TheRun) -> RunRow:
    """One run with its seven stages."""
    return run


class History(BaseModel):
    """A page of a site's runs, newest first."""

    runs: list[RunRow]
    next_cursor: str | None


@router.get("/history")
async def history(site: TheSite, read: Read, page: Twenty) -> History:
    """The site's runs, newest first."""
    rows, following = await read(runs.history, site.site_id, page.limit, page.start)
    return History(runs=rows, next_cursor=page.cursor_of(following))


class Logs(BaseModel):
    """Lines of a run's log, oldest first."""

    run_id: str
    lines: list[LogLine]


Lines = Annotated[int, Query(ge=1, le=1000, description="how many lines at most"), Whole]
AtLeast = Annotated[Level, Query(description="this level and those above")]
OfStage = Annotated[
    Annotated[int, Query(ge=1, le=7, description="only lines of this stage"), Whole] | None,
    BlankIsNone,
]
AfterLine = Annotated[
    Annotated[
        int, Query(ge=0, le=MAX_POSITION, description="the last line's position, to go on"), Whole
    ]
    | None,
    BlankIsNone,
]


@router.get("/logs")
async def logs(
    run: TheRun,
    read: Read,
    lines: Lines = 100,
    level: AtLeast = "info",
    stage: OfStage = None,
    after: AfterLine = None,
) -> Logs:
    """The newest lines of the run's log; with `after`, the first ones that follow a position."""
    if after is None:
        found = await read(run_log.tail, run.run_id, lines, level, stage)
    else:
        found = await read(run_log.following, run.run_id, after, lines, level, stage)
    return Logs(run_id=run.run_id, lines=found)


class Overview(BaseModel):
    """A site's items by stage."""

    site_id: str
    stages: list[StageCounts]


@router.get("/pipeline_overview")
async def pipeline_overview(site: TheSite, read: Read) -> Overview:
    """How many items wait, are worked on, are done and have failed, per stage."""
    return Overview(site_id=site.site_id, stages=await read(overview.counts, site.site_id))


class Idle(BaseModel):
    """What a site without an active run is at: nothing."""

    run_id: None = None
    status: None = None
    stage: None = None
    stage_name: None = None
    items_total: int = 0
    items_done: int = 0
    percentage: int = 0
    processing: list[str] = []
    eta_seconds: None = None
    waiting_until: None = None
    waiting_for: None = None


def processing_of(
    tx: sa.Connection, account_id: str, site_id: str | None, run_id: str | None
) -> Processing | Idle | None:
    """Return what the run is at, or the site's active one; none for what is not the account's."""
    if site_id is not None and accounts.site(tx, account_id, site_id) is None:
        return None
    if run_id is None:
        current = None if site_id is None else runs.current(tx, account_id, site_id)
        return Idle() if current is None else runs.processing(tx, account_id, current.run_id)
    run = runs.find(tx, account_id, run_id)
    if run is None or site_id not in {None, run.site_id}:
        return None
    return runs.processing(tx, account_id, run_id)


@router.get("/current_processing")
async def current_processing(
    read: Read, site_id: OptionalId = None, run_id: OptionalId = None
) -> Processing | Idle:
    """What the run is working on right now; without run_id, the site's active run."""
    if site_id is None and run_id is None:
        raise InvalidRequest("site_id: is missing")
    return await read.find(processing_of, site_id, run_id)


class Events(BaseModel):
    """A page of a run's history; ask again after the last position until it is empty."""

    events: list[EventRow]


EVENTS_AT_ONCE = 200


@router.get("/events")
async def events(
    run: TheRun, read: Read, after: After = 0, limit: Limit = EVENTS_AT_ONCE
) -> Events:
    """The run's history, in order."""
    return Events(events=await read(run_events.after_run, run.run_id, after, limit))


class Refusal(RefusalRow):
    """A run that was not started: the rule that said no, and its numbers."""

    rule: str


class Why(BaseModel):
    """The last refusals and skipped schedules of a site, newest first."""

    site_id: str
    refusals: list[Refusal]


@router.get("/why")
async def why(site: TheSite, read: Read, limit: Limit = 20) -> Why:
    """Why runs of the site were not started."""
    rows = await read(refusals.recent, site.site_id, limit)
    shown = [Refusal(**row.model_dump(), rule=row.code) for row in rows]
    return Why(site_id=site.site_id, refusals=shown)
