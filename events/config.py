"""A site's automation config: its fields, their limits and defaults, as the contract names them."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field

from events.message import Value

CLOCK = re.compile(r"^([01]\d|2[0-3]):[0-5]\d$")
ZONES = frozenset(available_timezones())


def _clock(text: str) -> str:
    if not CLOCK.fullmatch(text):
        raise ValueError("must be a time of day as HH:MM")
    return text


def _zone(text: str) -> str:
    if text not in ZONES:
        raise ValueError("is not a time zone; use a name such as Europe/Berlin")
    return text


Size = Annotated[int, Field(ge=1, le=100, strict=True)]
Seconds = Annotated[int, Field(ge=0, le=3600, strict=True)]
Frequency = Literal["daily", "weekly", "monthly"]
Clock = Annotated[str, AfterValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]


class Config(Value):
    """The settable fields. Delays are seconds; weekday 0 is Monday; batch size 7 is fixed."""

    is_enabled: bool = False
    frequency: Frequency = "daily"
    scheduled_time: Clock = "02:00"
    timezone: Zone = "UTC"
    schedule_weekday: Annotated[int, Field(ge=0, le=6, strict=True)] = 0
    schedule_day: Annotated[int, Field(ge=1, le=28, strict=True)] = 1
    stage_1_batch_size: Size = 20
    stage_2_batch_size: Size = 1
    stage_3_batch_size: Size = 20
    stage_4_batch_size: Size = 1
    stage_5_batch_size: Size = 1
    stage_6_batch_size: Size = 1
    within_stage_delay: Seconds = 3
    between_stage_delay: Seconds = 5
    max_items_per_stage: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 500
    max_parallel_batches: Annotated[int, Field(ge=1, le=10, strict=True)] = 1

    def batch_size(self, stage: int) -> int:
        """Return how many items one batch of the stage takes."""
        sizes = (
            self.stage_1_batch_size,
            self.stage_2_batch_size,
            self.stage_3_batch_size,
            self.stage_4_batch_size,
            self.stage_5_batch_size,
            self.stage_6_batch_size,
            REVIEW_BATCH_SIZE,
        )
        return sizes[stage - 1]


REVIEW_BATCH_SIZE = 100


class ConfigChanges(Value):
    """Any subset of the settable fields; what is not named stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_enabled: Annotated[bool, Field(strict=True)] | None = None
    frequency: Frequency | None = None
    scheduled_time: Clock | None = None
    timezone: Zone | None = None
    schedule_weekday: Annotated[int, Field(ge=0, le=6, strict=True)] | None = None
    schedule_day: Annotated[int, Field(ge=1, le=28, strict=True)] | None = None
    stage_1_batch_size: Size | None = None
    stage_2_batch_size: Size | None = None
    stage_3_batch_size: Size | None = None
    stage_4_batch_size: Size | None = None
    stage_5_batch_size: Size | None = None
    stage_6_batch_size: Size | None = None
    within_stage_delay: Seconds | None = None
    between_stage_delay: Seconds | None = None
    max_items_per_stage: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None
    max_parallel_batches: Annotated[int, Field(ge=1, le=10, strict=True)] | None = None

    def chosen(self) -> dict[str, Any]:
        """Return the fields that change."""
        return {name: value for name, value in self if value is not None}
