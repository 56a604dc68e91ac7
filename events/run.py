"""What happens to a run: its own stream, from RunStarted to its end."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from events.commands import TriggerType
from events.config import Config
from events.content import AiCall, Fact, Outcome, Tally
from events.message import Event, known


@known
class RunStarted(Event):
    """A run began, with the config and the price version that it keeps to its end."""

    TYPE: ClassVar = "RunStarted"
    STREAM: ClassVar = "run"
    trigger_type: TriggerType
    config: Config
    prices: int
    site_name: str
    estimated_credits: int
    required_credits: int
    available_credits: int


@known
class StageStarted(Event):
    """A stage began with these items, in this order: all that it will do in this run."""

    TYPE: ClassVar = "StageStarted"
    STREAM: ClassVar = "run"
    stage: int
    items: tuple[str, ...]
    batch_id: str | None = None


@known
class StageBatchRequested(Event):
    """One stage is asked for one batch.

    `items` are ids of what the stage takes, at most the run's batch size for it. After the `last`
    batch the worker also reports the stage: `so_far` and this batch together. So a last batch is
    asked for only when all others are recorded. Times are UTC.
    """

    TYPE: ClassVar = "StageBatchRequested"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    attempt: int
    items: tuple[str, ...]
    prices: int
    site_name: str
    last: bool
    so_far: Tally
    answer_by: AwareDatetime  # else the scheduler sends BatchTimedOut


@known
class StageBatchCompleted(Event):
    """A batch is done: an outcome for each item, the facts they made, the provider calls it took.

    `uncovered` are credits of calls that hold and balance could not pay: the calls stand at what
    was charged.
    """

    TYPE: ClassVar = "StageBatchCompleted"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    attempt: int
    outcomes: tuple[Outcome, ...]
    made: tuple[Fact, ...]
    calls: tuple[AiCall, ...]
    tally: Tally
    uncovered: int = 0


@known
class BatchFailed(Event):
    """A worker could not do the batch at all; it is asked again, up to three times."""

    TYPE: ClassVar = "BatchFailed"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    attempt: int
    error: str
    calls: tuple[AiCall, ...] = ()


@known
class BatchReturned(Event):
    """A worker did not begin the batch, as the run was not running or its items were not there."""

    TYPE: ClassVar = "BatchReturned"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    attempt: int
    reason: str


@known
class BatchExpired(Event):
    """Nobody answered this attempt in time. While the batch is asked for again a late report of it
    still counts, once; after that it changes nothing."""

    TYPE: ClassVar = "BatchExpired"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    attempt: int


@known
class BatchGivenUp(Event):
    """A batch failed for good: its items are failed, the stage goes on without them."""

    TYPE: ClassVar = "BatchGivenUp"
    STREAM: ClassVar = "run"
    stage: int
    batch_id: str
    items: tuple[str, ...]
    error: str


@known
class StageCompleted(Event):
    """A stage has no item left. `result` has the contract's counts; partial means some failed."""

    TYPE: ClassVar = "StageCompleted"
    STREAM: ClassVar = "run"
    stage: int
    result: dict[str, int]
    items_done: int
    items_failed: int
    credits_used: int
    partial: bool
    batch_id: str | None = None


@known
class TimerSet(Event):
    """The run waits until `due_at` (UTC) before its next step."""

    TYPE: ClassVar = "TimerSet"
    STREAM: ClassVar = "run"
    timer_id: str
    purpose: Literal["within_stage", "between_stages"]
    due_at: AwareDatetime


@known
class TimerFired(Event):
    """A wait is over."""

    TYPE: ClassVar = "TimerFired"
    STREAM: ClassVar = "run"
    timer_id: str


@known
class RunPaused(Event):
    """No further batch is asked for until RunResumed; `missing_credits` when that is the reason."""

    TYPE: ClassVar = "RunPaused"
    STREAM: ClassVar = "run"
    reason: Literal["requested", "insufficient_credits"] = "requested"
    missing_credits: int = 0


@known
class RunResumed(Event):
    """The run goes on with the items that are not done."""

    TYPE: ClassVar = "RunResumed"
    STREAM: ClassVar = "run"


@known
class RunCancelled(Event):
    """The run ended by request."""

    TYPE: ClassVar = "RunCancelled"
    STREAM: ClassVar = "run"


@known
class RunCompleted(Event):
    """The run ended after its seventh stage."""

    TYPE: ClassVar = "RunCompleted"
    STREAM: ClassVar = "run"
    total_credits_used: int


@known
class RunFailed(Event):
    """The run ended as it could not go on; `error_message` is for a person."""

    TYPE: ClassVar = "RunFailed"
    STREAM: ClassVar = "run"
    error_message: str
