"""The endpoints of an account's sites, and of the outcomes of its commands."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, Field

from events.commands import SiteRequested
from events.config import Zone
from events.ids import derive
from projections import accounts
from projections.accounts import SiteRow
from services.api.cursors import Listing
from services.api.dependencies import Paged, Read
from services.api.limits import Body, json_body
from services.api.schemas import ACCEPTED, json_request
from services.api.sender import Send

router = APIRouter(prefix="/api/v1", tags=["sites"])

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _one_line(text: str) -> str:
    text = text.strip()
    if not text or CONTROL.search(text):
        raise ValueError("must be one line of text")
    return text


def _no_spaces(text: str) -> str:
    if re.search(r"\s", text):
        raise ValueError("must not contain spaces")
    return text


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Domain = Annotated[
    str,
    Field(min_length=1, max_length=253),
    AfterValidator(_one_line),
    AfterValidator(_no_spaces),
]


class NewSite(Body):
    """A web site to make content for; its schedule starts in its own zone."""

    name: Line
    domain: Domain
    timezone: Zone = "UTC"


class Site(BaseModel):
    """A site that was added."""

    site_id: str
    name: str
    domain: str
    timezone: str


@router.post("/sites", status_code=201, openapi_extra=json_request(NewSite), responses=ACCEPTED)
async def add_site(send: Send, body: Annotated[NewSite, Depends(json_body(NewSite))]) -> Site:
    """Add a site to the account."""
    site_id = derive("site", send.command_id)
    await send(SiteRequested(**body.model_dump()), site_id)
    return Site(site_id=site_id, **body.model_dump())


@router.get("/sites")
async def sites(read: Read, page: Paged) -> Listing[SiteRow]:
    """The account's sites, the oldest first."""
    rows, following = await read(accounts.sites, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))
