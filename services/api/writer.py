"""The writer endpoints: tasks, articles and images, and the review of articles."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AfterValidator, BaseModel, Field

from events.commands import ApprovalRequested, ChangesRequested, RejectionRequested
from events.quality import Quality
from projections import writer
from projections.writer import (
    ContentRow,
    ContentStatus,
    ContentSummary,
    ImageRow,
    Lineage,
    TaskRow,
)
from services.api.cursors import Listing
from services.api.dependencies import InParts, Paged, PathId, Read, Status, TheSite
from services.api.limits import Body, json_body, no_body
from services.api.problems import NotFound
from services.api.schemas import ACCEPTED, json_request
from services.api.sender import Send

router = APIRouter(prefix="/api/v1/writer", tags=["writer"])

# Files are shown as what stages make, never as what a name or its bytes suggest.
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"})


@router.get("/tasks")
async def tasks(site: TheSite, read: Read, page: Paged, status: Status = None) -> Listing[TaskRow]:
    """The site's writing tasks, the oldest first."""
    rows, following = await read(writer.list_tasks, site.site_id, status, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))


Gates = Annotated[
    Literal["passed", "failed"] | None,
    Query(description="Only articles that passed their quality gates, or only those that failed"),
]


@router.get("/content")
async def contents(
    site: TheSite, read: Read, page: Paged, status: Status = None, quality: Gates = None
) -> Listing[ContentSummary]:
    """The site's articles, the oldest first."""
    passed = None if quality is None else quality == "passed"
    rows, following = await read(
        writer.list_content, site.site_id, status, page.limit, page.start, passed
    )
    return Listing(items=rows, next_cursor=page.cursor_of(following))


@router.get("/images")
async def images(
    site: TheSite, read: Read, page: Paged, status: Status = None
) -> Listing[ImageRow]:
    """The site's images, the oldest first; one that is not rendered bears its prompt's id."""
    rows, following = await read(writer.list_images, site.site_id, status, page.limit, page.start)
    return Listing(items=rows, next_cursor=page.cursor_of(following))


async def content_asked(content_id: PathId, read: Read) -> ContentRow:
    """Return the caller's article. Raises NotFound."""
    return await read.find(writer.content, content_id)


TheContent = Annotated[ContentRow, Depends(content_asked)]


class Content(BaseModel):
    """An article; `body` is Markdown, none when it has been erased.

    `revision` is 1, and one more for each change that was requested and written. `note` is the
    reviewer's last word, `decided_by` whose it is. `quality` has what was measured of the
    text as it is now, and is none where nothing was.
    """

    id: str
    site_id: str
    title: str
    slug: str
    body: str | None
    meta_title: str
    meta_description: str
    word_count: int
    quality: Quality | None
    status: ContentStatus
    revision: int
    note: str | None
    decided_by: str | None
    created_at: datetime
    updated_at: datetime
    keywords: Sequence[str]
    images: Sequence[ImageRow]
    lineage: Lineage


@router.get("/content/{content_id}")
async def content(found: TheContent, parts: InParts) -> Content:
    """One article with its body, its images and what it was made from."""
    try:
        body = (await parts.artifacts.get(found.body)).decode(errors="replace")
    except LookupError:
        body = None
    return Content.model_validate(found.model_dump() | {"body": body})


@router.get(
    "/images/{image_id}/file",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}, "description": "The image"}},
)
async def image_file(image_id: PathId, read: Read, parts: InParts) -> Response:
    """The image itself."""
    found = await read.find(writer.image, image_id)
    if found.file is None:
        raise NotFound
    try:
        data = await parts.artifacts.get(found.file)
    except LookupError as error:
        raise NotFound from error
    known = found.media_type in IMAGE_TYPES
    return Response(data, media_type=found.media_type if known else "application/octet-stream")


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Words = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_words)]


class Rejection(Body):
    """Why the article is rejected."""

    reason: Words


class Changes(Body):
    """What the writer should change."""

    note: Words


class Reviewed(BaseModel):
    """An article after the reviewer's word."""

    id: str
    status: Literal["approved", "rejected", "changes_requested"]


@router.post("/content/{content_id}/approve", dependencies=[Depends(no_body)], responses=ACCEPTED)
async def approve(send: Send, found: TheContent) -> Reviewed:
    """Approve an article that is in review."""
    await send(ApprovalRequested(content_id=found.id), found.site_id)
    return Reviewed(id=found.id, status="approved")


@router.post(
    "/content/{content_id}/reject", openapi_extra=json_request(Rejection), responses=ACCEPTED
)
async def reject(
    send: Send, found: TheContent, body: Annotated[Rejection, Depends(json_body(Rejection))]
) -> Reviewed:
    """Reject an article that is in review."""
    await send(RejectionRequested(content_id=found.id, reason=body.reason), found.site_id)
    return Reviewed(id=found.id, status="rejected")


@router.post(
    "/content/{content_id}/request_changes", openapi_extra=json_request(Changes), responses=ACCEPTED
)
async def request_changes(
    send: Send, found: TheContent, body: Annotated[Changes, Depends(json_body(Changes))]
) -> Reviewed:
    """Send an article that is in review back to writing."""
    await send(ChangesRequested(content_id=found.id, note=body.note), found.site_id)
    return Reviewed(id=found.id, status="changes_requested")
