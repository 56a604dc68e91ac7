"""The real time and the real random ids: the only place where either comes from."""

from collections.abc import Callable
from datetime import UTC, datetime

from uuid_utils import uuid7

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)  # noqa: TID251


def new_id(kind: str) -> str:
    """Return an id that nobody has had: `kind-` and a UUIDv7 in hex, so ids sort by time."""
    return f"{kind}-{uuid7().hex}"
