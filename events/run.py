"""What happens to a run: its own stream, from RunStarted to its end."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from events.brief import PLAIN, Brief
from events.commands import TriggerType
from events.config import Config
from events.content import AiCall, Fact, Halt, Outcome, Tally
from events.estimate import StageEstimate
from events.message import Event, Value, known
from events.prices import LOCAL, Models

PauseReason = Literal[
    "requested",
    "insufficient_credits",
    "provider_out_of_credits",
    "provider_key_refused",
    "provider_misconfigured",
]


class StageItems(Value):
    """Items of one stage."""

    stage: int
    items: tuple[str, ...]


@known
class RunStarted(Event):
    """A run began, with the config and the price version that it keeps to its end.

    `estimate` says stage by stage what the credits were estimated from. `slot` is the schedule's
    time that it answers (UTC). A retry takes only the items in `retried` and what comes of them.
    `models` are those that it asks and is priced for.
    """

    TYPE: ClassVar = "RunStarted"
    STREAM: ClassVar = "run"
    trigger_type: TriggerType
    config: Config
    prices: int
    site_name: str
    estimated_credits: int
    required_credits: int
    available_credits: int
    estimate: tuple[StageEstimate, ...] = ()
    slot: AwareDatetime | None = None
    retry_of: str | None = None
    retried: tuple[StageItems, ...] = ()
    models: Models = LOCAL


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
    models: Models = LOCAL
    brief: Brief = PLAIN


@known
class StageBatchCompleted(Event):
    """A batch is done: an outcome for each item, the facts they made, the provider calls it took.

    Of a provider that halts, the items it has not answered are `deferred`: they have no outcome and
    are asked for again, in another batch, after the halt.
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
    deferred: tuple[str, ...] = ()
    halt: Halt | None = None


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
    purpose: Literal["within_stage", "between_stages", "provider"]
    due_at: AwareDatetime


@known
class TimerFired(Event):
    """A wait is over."""

    TYPE: ClassVar = "TimerFired"
    STREAM: ClassVar = "run"
    timer_id: str


@known
class RunPaused(Event):
    """No further batch is asked for until RunResumed; `note` is why, in its actor's words.

    For lack of credits, `missing_credits` are those for the next batch, `missing_to_finish` an
    estimate for all that is left of the run. When a provider has stopped it, `note` is what that
    said, and what to do.
    """

    TYPE: ClassVar = "RunPaused"
    STREAM: ClassVar = "run"
    reason: PauseReason = "requested"
    missing_credits: int = 0
    missing_to_finish: int = 0
    note: str = ""

    def lack(self) -> str:
        """Return how many credits are missing, as the beginning of a sentence."""
        now, rest = self.missing_credits, self.missing_to_finish
        told = "1 credit is missing" if now == 1 else f"{now} credits are missing"
        more = f", about {rest} to finish the run" if rest > now else ""
        return f"{told} for the next batch{more}"


@known
class RunResumed(Event):
    """The run goes on with the items that are not done."""

    TYPE: ClassVar = "RunResumed"
    STREAM: ClassVar = "run"
    note: str = ""


@known
class RunCancelled(Event):
    """The run ended by request."""

    TYPE: ClassVar = "RunCancelled"
    STREAM: ClassVar = "run"
    note: str = ""


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


@known
class MessageSetAside(Event):
    """A consumer could not handle a message of this run: it is a dead letter, for operators.

    It changes nothing else about the run, which may have ended. `attempt` is 1 for the first time,
    one more each time that a replayed message fails again; `origin` is topic, partition and offset.
    """

    TYPE: ClassVar = "MessageSetAside"
    STREAM: ClassVar = "run"
    consumer: str
    message_id: str
    message_type: str
    attempt: int
    origin: str
    error: str
    stage: int | None = None


@known
class MessageReplayed(Event):
    """A message of this run that had been set aside came again and was handled by its consumer.

    Handled may mean that there was nothing left to do. `attempt` counts the times that it had
    failed.
    """

    TYPE: ClassVar = "MessageReplayed"
    STREAM: ClassVar = "run"
    consumer: str
    message_id: str
    message_type: str
    attempt: int
    stage: int | None = None
