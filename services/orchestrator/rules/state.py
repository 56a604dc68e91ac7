"""What decisions need to know, folded from events; what people want to see is the projections'."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from events.config import Config
from events.content import Tally
from events.estimate import History
from events.message import Event
from events.pipeline import STAGES
from events.prices import LOCAL, Models
from events.run import StageItems

RunStatus = Literal["absent", "running", "paused", "cancelled", "completed", "failed"]
ENDED: frozenset[RunStatus] = frozenset({"cancelled", "completed", "failed"})
NONE: Mapping[Any, Any] = MappingProxyType({})


UNKNOWN = "There is no such run, site or account."  # also of what belongs to someone else


class Refused(Exception):
    """The rules say no: a code of the contract, a sentence, its numbers, and events it leaves."""

    def __init__(
        self,
        code: str,
        detail: str,
        numbers: Mapping[str, int | str] = NONE,
        events: tuple[Event, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.numbers, self.events = (
            code,
            detail,
            dict(numbers),
            events,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch that was asked for; `failures` counts attempts that failed or were not answered."""

    stage: int
    items: tuple[str, ...]
    attempt: int
    last: bool
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run. The stage is the one that is open, or else the last that was.

    `settled` are items of the stage that are done or failed; `again` are batches that came back
    and are to be asked for again; `reported` is the stage's last batch once it is recorded, while
    its StageCompleted is awaited; `rest` is the kind of delay that is due before the next step, of
    `wait` seconds where a provider said so.
    `scope` are the items that a retry may take, with what it has made of them; else none.
    """

    id: str = ""
    status: RunStatus = "absent"
    config: Config = field(default_factory=Config)
    prices: int = 0
    models: Models = LOCAL
    site_name: str = ""
    stage: int = 0
    is_open: bool = False
    items: tuple[str, ...] = ()
    settled: frozenset[str] = frozenset()
    in_flight: Mapping[str, Asked] = field(default_factory=dict)
    again: Mapping[str, Asked] = field(default_factory=dict)
    batches: int = 0
    tally: Tally = field(default_factory=Tally)
    credits_used: int = 0
    reported: str | None = None
    timer: str | None = None
    timers: int = 0
    rest: Literal["within_stage", "between_stages", "provider"] | None = None
    wait: int = 0
    last_error: str = ""
    scope: frozenset[str] | None = None

    def may_take(self, item: str) -> bool:
        """Tell whether the run may take an item that waits."""
        return self.scope is None or item in self.scope

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def taken(self) -> tuple[str, ...]:
        """Items of batches in flight."""
        return tuple(item for asked in self.in_flight.values() for item in asked.items)


@dataclass(frozen=True, slots=True)
class Site:
    """A site with its backlog: for each stage the items that wait, oldest first.

    `failed` maps for each stage the items that failed to the run in which they did. `taken` are
    items in flight of runs that have ended. `outstanding` counts a draft's prompts that are not
    settled, `content_of` maps those prompts to it. `clusters` are all that ever waited, as several
    batches may report the same one. `contents` maps each draft to drafted, review, approved,
    rejected or changes_requested, `task_of` to the task that it was written for. `revising` are
    the tasks that wait to be written anew. `history` is what estimates are learned from.
    `answered` is the newest slot of the schedule that has its answer.
    """

    id: str = ""
    is_created: bool = False
    name: str = ""
    config: Config = field(default_factory=Config)
    next_run_at: datetime | None = None
    answered: datetime | None = None
    active: str | None = None
    keywords: frozenset[str] = frozenset()
    pending: tuple[Mapping[str, None], ...] = ({},) * len(STAGES)
    failed: tuple[Mapping[str, str], ...] = ({},) * len(STAGES)
    taken: frozenset[str] = frozenset()
    outstanding: Mapping[str, int] = field(default_factory=dict)
    content_of: Mapping[str, str] = field(default_factory=dict)
    clusters: frozenset[str] = frozenset()
    slugs: frozenset[str] = frozenset()
    contents: Mapping[str, str] = field(default_factory=dict)
    task_of: Mapping[str, str] = field(default_factory=dict)
    revising: frozenset[str] = frozenset()
    history: History = field(default_factory=dict)

    def waiting(self, stage: int) -> tuple[str, ...]:
        """Return the stage's items that a run may take, oldest first."""
        if not self.taken:
            return tuple(self.pending[stage - 1])
        return tuple(item for item in self.pending[stage - 1] if item not in self.taken)

    def failed_in(self, run_id: str) -> tuple[StageItems, ...]:
        """Return what failed in the run and has not been tried again since."""
        found = (
            StageItems(
                stage=stage.number,
                items=tuple(item for item, of in failed.items() if of == run_id),
            )
            for stage, failed in zip(STAGES, self.failed, strict=True)
        )
        return tuple(one for one in found if one.items)


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger: available credits are the balance less what runs hold. `keys` maps to roles.

    `models` are those of a provider of its own, none when it asks the installation's.
    """

    id: str = ""
    is_open: bool = False
    balance: int = 0
    holds: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    models: Models | None = None

    @property
    def available(self) -> int:
        return self.balance - sum(self.holds.values())


@dataclass(frozen=True, slots=True)
class State:
    """All that one decision may look at; `now` is UTC, `batch_timeout` seconds.

    `models` are the installation's: those of a run of an account without a provider of its own.

    `is_foreign` says that a stream belongs to another account than the message's, or the run to
    another site.
    """

    now: datetime
    batch_timeout: int
    run: Run = field(default_factory=Run)
    site: Site = field(default_factory=Site)
    account: Account = field(default_factory=Account)
    is_foreign: bool = False
    models: Models = LOCAL

    @property
    def models_now(self) -> Models:
        """The models that a run asks which begins now."""
        return self.account.models or self.models
