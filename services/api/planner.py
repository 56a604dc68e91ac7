"""The planner endpoints: keywords in; keywords, clusters and ideas out."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, WithJsonSchema

from events.commands import KeywordsSubmitted
from events.content import (
    MAX_DIFFICULTY,
    MAX_INTENT,
    MAX_KEYWORD,
    MAX_KEYWORDS,
    MAX_VOLUME,
)
from projections import planner
from projections.planner import ClusterRow, IdeaRow, KeywordRow
from projections.receipts import ReceiptRow
from services.api.csv_import import (
    Rejected,
    Rows,
    from_csv,
    from_list,
    in_messages,
)
from services.api.cursors import Listing
from services.api.dependencies import Paged, Read, Status, TheSite
from services.api.limits import Body, RawBody, check, media_type_of, parse, unchecked_json
from services.api.problems import InvalidRequest
from services.api.schemas import ACCEPTED, json_request
from services.api.sender import Send

router = APIRouter(prefix="/api/v1/planner", tags=["planner"])


# What a row should be; one that is not is rejected by its number, and the others are taken.
ROW = {
    "type": "object",
    "properties": {
        "keyword": {"type": "string", "maxLength": MAX_KEYWORD},
        "volume": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_VOLUME},
        "difficulty": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_DIFFICULTY},
        "intent": {"type": ["string", "null"], "maxLength": MAX_INTENT},
    },
    "required": ["keyword"],
    "additionalProperties": False,
}


class KeywordList(Body):
    """Keywords as JSON: objects with keyword and, where known, volume, difficulty and intent."""

    keywords: Annotated[
        list[Any], WithJsonSchema({"type": "array", "maxItems": MAX_KEYWORDS, "items": ROW})
    ]


class Imported(BaseModel):
    """What became of the rows: added, there already (or twice among them), or not taken and why."""

    imported: int
    duplicates: int
    rejected: list[Rejected]


def rows_in(body: RawBody, request: Request) -> Rows:
    """Return the keywords of the request, and the rows that are none."""
    match media_type_of(request):
        case "application/json":
            return from_list(listed(unchecked_json(body)))
        case "text/csv":
            return from_csv(body)
        case _:
            raise InvalidRequest("Content-Type: must be application/json or text/csv.")


def listed(value: Any) -> list[Any]:
    """Return the body's rows as they came, and all else of it checked. Raises InvalidRequest."""
    rows = value.get("keywords") if isinstance(value, dict) else None
    check(value | {"keywords": []} if isinstance(rows, list) else value)
    return parse(KeywordList, value).keywords


def total(receipts: list[ReceiptRow], name: str) -> int:
    """Return the sum of one of the receipts' numbers."""
    return sum(int(receipt.numbers.get(name, 0)) for receipt in receipts)


CSV_TOO = {
    "text/csv": {"schema": {"type": "string", "description": f"up to {MAX_KEYWORDS:,} rows"}}
}


@router.post("/keywords", openapi_extra=json_request(KeywordList, CSV_TOO), responses=ACCEPTED)
async def import_keywords(
    send: Send, site: TheSite, rows: Annotated[Rows, Depends(rows_in)]
) -> Imported:
    """Add keywords to the site, up to 10,000 rows of JSON or CSV."""
    keywords, rejected = rows
    commands = [KeywordsSubmitted(keywords=portion) for portion in in_messages(keywords)]
    receipts = await (send.all(commands, site.site_id) if commands else send.nothing())
    return Imported(
        imported=total(receipts, "imported"),
        duplicates=total(receipts, "duplicates"),
        rejected=rejected,
    )


@router.get("/keywords")
async def keywords(
    site: TheSite, read: Read, page: Paged, status: Status = None
) -> Listing[KeywordRow]:
    """The site's keywords, the oldest first."""
    rows, following = await read(
        planner.list_keywords, site.site_id, status, page.limit, page.start
    )
    return Listing(items=rows, next_cursor=page.cursor_of(following))


@router.get("/clusters")
async def clusters(
    site: TheSite, read: Read, page: Paged, status: Status = None
) -> Listing[ClusterRow]:
    """The site's clusters, the oldest first."""
    rows, following = await read(
        planner.list_clusters, site.site_id, status, page.limit, page.start
    )
    return Listing(items=rows, next_cursor=page.cursor_of(following))


@router.get("/ideas")
async def ideas(site: TheSite, read: Read, page: Paged, status: Status = None) -> Listing[IdeaRow]:
    """The site's ideas, the oldest first."""
    rows, following = await read(planner.list_ideas, site.site_id, status, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))
