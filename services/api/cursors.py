"""Pages of a list: a cursor is a position, sealed for one account and one list."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from services.api.limits import Whole
from services.api.problems import InvalidRequest

PLACE, SEAL = 8, 12  # bytes

MAX_LIMIT = 1000
ABOUT_LIMIT = f"how many, 1 to {MAX_LIMIT}"
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=ABOUT_LIMIT), Whole]
CursorText = Annotated[str, Query(max_length=200, description="`next_cursor` of the page before")]


def seal(secret: bytes, scope: str, position: int) -> str:
    """Return the cursor of a position within a scope."""
    place = position.to_bytes(PLACE, "big")
    return base64.urlsafe_b64encode(place + _mark(secret, scope, place)).rstrip(b"=").decode()


def unseal(secret: bytes, scope: str, cursor: str) -> int:
    """Return the position. Raises InvalidRequest for what `seal` did not make for this scope."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(BAD) from error
    place, mark = raw[:PLACE], raw[PLACE:]
    if len(place) < PLACE or not hmac.compare_digest(mark, _mark(secret, scope, place)):
        raise InvalidRequest(BAD)
    return int.from_bytes(place, "big")


BAD = "cursor: use the next_cursor of the page before, for the same list."


def _mark(secret: bytes, scope: str, place: bytes) -> bytes:
    return hmac.new(secret, scope.encode() + b"\0" + place, hashlib.sha256).digest()[:SEAL]


@dataclass(frozen=True)
class Page:
    """Which part of a list was asked for: at most `limit` rows on from the position `start`."""

    limit: int
    start: int | None
    cursor_of: Callable[[int | None], str | None]


AnyRow = TypeVar("AnyRow", bound=BaseModel)


class Listing(BaseModel, Generic[AnyRow]):
    """A page of a list; `next_cursor` is none on the last one."""

    items: list[AnyRow]
    next_cursor: str | None
