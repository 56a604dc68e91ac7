"""Time is a message: due rows become commands, and a second scheduler does no harm."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from events.commands import BatchTimedOut, RunRequested, TimerElapsed
from events.envelope import Envelope
from events.ids import derive, run_id_of
from events.kafka.connection import AnswerLost, Broker, NothingSent
from events.kafka.consumer import consume
from events.kafka.producers import Producer
from events.topics import BROKER_EPOCH, Publish, Record, command_record
from projections import configs, timers
from projections.configs import DueSchedule
from projections.database import open_engine, reading
from projections.timers import TimerRow
from services.clock import now
from services.places import broker_of, read_model_url
from services.settings import Settings

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.2  # seconds
SAY_AGAIN = timedelta(seconds=10)  # a row that is still due was lost on its way, or its answer lags
GROUP = "septet-scheduler"


def command_of_timer(row: TimerRow, at: datetime) -> Envelope:
    """Return the command that a due row stands for; its id follows from the row's."""
    message: TimerElapsed | BatchTimedOut
    if row.kind == "batch":
        message = BatchTimedOut(stage=row.stage, batch_id=row.batch_id, attempt=row.attempt)
    else:
        message = TimerElapsed(timer_id=row.timer_id)
    id_ = derive("cmd", "timer", row.timer_id)
    return _command(id_, row.account_id, row.site_id, row.run_id, at, message, "system")


def command_of_slot(due: DueSchedule, at: datetime) -> Envelope:
    """Return the command that starts a scheduled run: one per site and slot, whoever sends it.

    A command has one outcome for ever. Should that have left the slot unanswered (a bug of ours,
    a clock that was ahead), another asks when it is 1, 2, 4, 8, … minutes late, after two hours
    each hour; a slot that has been answered is not due, so nothing starts twice.
    """
    late, hour = at - due.slot, timedelta(hours=1)
    asked = (late // timedelta(minutes=1)).bit_length() + max(0, late // hour - 1)
    id_ = derive("cmd", "schedule", due.site_id, due.slot.isoformat(), asked)
    message = RunRequested(trigger_type="scheduled", slot=due.slot)
    run_id = run_id_of(id_)
    return _command(id_, due.account_id, due.site_id, run_id, at, message, "scheduler")


def _command(
    id_: str,
    account_id: str,
    site_id: str,
    run_id: str,
    at: datetime,
    message: TimerElapsed | BatchTimedOut | RunRequested,
    actor: str,
) -> Envelope:
    return Envelope(
        id=id_,
        account_id=account_id,
        site_id=site_id,
        run_id=run_id,
        at=at,
        cause=id_,
        actor=actor,
        message=message,
    )


class Waits:
    """Tells which timers have waited long enough, whatever the clocks of two machines say.

    A timer that was not there at the last look is not older than that look, so no clock can make
    it so. Only what is there at the first look is judged by the time of day, and never waits for
    longer than it was set to. `elapsed` are seconds of a clock that nobody sets.
    """

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._looked = -math.inf

    def over(self, rows: Sequence[TimerRow], at: datetime, elapsed: float) -> list[TimerRow]:
        """Return those of all present timers that are over."""
        oldest, known, self._looked = elapsed - self._looked, self._ends, elapsed
        self._ends = {
            row.timer_id: known.get(row.timer_id, elapsed + _left(row, at, oldest)) for row in rows
        }
        return [row for row in rows if self._ends[row.timer_id] <= elapsed]


def _left(row: TimerRow, at: datetime, oldest: float) -> float:
    """Return how many seconds a timer that is at most so old has still to wait."""
    whole = (row.due_at - row.set_at).total_seconds()
    by_the_clock = (row.due_at - at).total_seconds()
    return min(max(by_the_clock, whole - oldest), whole)


class Scheduler:
    """Sends what is due, and again after a while as long as it is still due."""

    def __init__(self, engine: sa.Engine, publish: Publish) -> None:
        self._engine, self._publish = engine, publish
        self._sent: dict[str, datetime] = {}
        self._waits = Waits()

    async def look(self, at: datetime, elapsed: float) -> int:
        """Send the commands that are due at this time; return how many.

        `elapsed` are the seconds of a clock that nobody sets.
        """
        commands = await asyncio.to_thread(self._due, at, elapsed)
        due = {command.id for command in commands}
        self._sent = {id_: sent for id_, sent in self._sent.items() if id_ in due}
        fresh = [one for one in commands if not self._has_just_sent(one.id, at)]
        for command in fresh:
            await self._publish(command_record(command))
            self._sent[command.id] = at
        return len(fresh)

    def _has_just_sent(self, id_: str, at: datetime) -> bool:
        sent = self._sent.get(id_)
        return sent is not None and abs(at - sent) < SAY_AGAIN  # the clock may have gone back

    def _due(self, at: datetime, elapsed: float) -> Sequence[Envelope]:
        with reading(self._engine) as tx:
            waiting, slots = timers.waiting(tx), configs.due(tx, at)
        return [
            *(command_of_timer(row, at) for row in self._waits.over(waiting, at, elapsed)),
            *(command_of_slot(slot, at) for slot in slots),
        ]


async def run(settings: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Look for due rows until `stop`."""
    broker = broker_of(settings)
    engine = open_engine(read_model_url(settings))
    producer = Producer(broker)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_be_seen(broker, stop))
            tasks.create_task(_look(Scheduler(engine, producer.publish), stop, ready))
    finally:
        await producer.stop()
        engine.dispose()


async def _look(scheduler: Scheduler, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    while not stop.is_set():
        try:
            await scheduler.look(now(), time.monotonic())
            ready()
        except (NothingSent, AnswerLost, sa.exc.OperationalError) as error:
            logger.warning("cannot look or send, trying again", extra={"error": repr(error)})
            await asyncio.sleep(1)
        await asyncio.sleep(LOOK_EVERY)


async def _be_seen(broker: Broker, stop: asyncio.Event) -> None:
    """Be a member of a group, so that readiness can be asked of the broker as of every service."""

    async def nothing(_: Sequence[Record]) -> None:
        return

    await consume(broker, [BROKER_EPOCH], GROUP, nothing, stop, wait_ms=2_000)
