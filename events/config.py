"""A site's automation config: its fields, their limits and defaults, as the contract names them."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field

from events.brief import Brief
from events.message import Value

CLOCK = re.compile(r"^([01]\d|2[0-3]):[0-5]\d$")
# Without those that mean something else on each machine, or nothing.
ZONES = frozenset(available_timezones()) - {"localtime", "Factory"}


def _clock(text: str) -> str:
    if not CLOCK.fullmatch(text):
        raise ValueError("must be a time of day as HH:MM")
    return text


def _zone(text: str) -> str:
    if text not in ZONES:
        raise ValueError("is not a time zone; use a name such as Europe/Berlin")
    return text


def _line(text: str) -> str:
    return " ".join(text.split())


def _words(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({word.casefold(): word for word in words if word}.values())


Size = Annotated[int, Field(ge=1, le=100, strict=True)]
Seconds = Annotated[int, Field(ge=0, le=3600, strict=True)]
Frequency = Literal["daily", "weekly", "monthly"]
Clock = Annotated[str, AfterValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
Sentence = Annotated[str, Field(max_length=500), AfterValidator(_line)]
Word = Annotated[str, Field(max_length=60), AfterValidator(_line)]
Words = Annotated[tuple[Word, ...], Field(max_length=50), AfterValidator(_words)]


class Config(Value):
    """The settable fields. Delays are seconds; weekday 0 is Monday; batch size 7 is fixed.

    The last four say what the site's content should sound like; the language is a BCP 47 tag.
    """

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
    language: Language = "en"
    brand_voice: Sentence = ""
    audience: Sentence = ""
    banned_words: Words = ()

    @property
    def brief(self) -> Brief:
        """Return what whoever writes for the site is told."""
        return Brief(
            language=self.language,
            brand_voice=self.brand_voice,
            audience=self.audience,
            banned_words=self.banned_words,
        )

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
    language: Language | None = None
    brand_voice: Sentence | None = None
    audience: Sentence | None = None
    banned_words: Words | None = None

    def chosen(self) -> dict[str, Any]:
        """Return the fields that change."""
        return {name: value for name, value in self if value is not None}
