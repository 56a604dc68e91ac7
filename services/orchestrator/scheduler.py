"""Time is a message: due rows become commands, and a second scheduler does no harm."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from events.commands import BatchTimedOut, RunRequested, TimerElapsed
from events.envelope import Envelope
from events.ids import derive, run_id_of
from events.kafka import AnswerLost, Broker, NothingSent, Producer, consume
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
    return _command(
        derive("cmd", "timer", row.timer_id),
        row.account_id,
        row.site_id,
        row.run_id,
        at,
        message,
    )


def command_of_slot(due: DueSchedule, at: datetime) -> Envelope:
    """Return the command that starts a scheduled run; one per site and slot."""
    id_ = derive("cmd", "schedule", due.site_id, due.slot.isoformat())
    message = RunRequested(trigger_type="scheduled", slot=due.slot)
    return _command(id_, due.account_id, due.site_id, run_id_of(id_), at, message)


def _command(
    id_: str,
    account_id: str,
    site_id: str,
    run_id: str,
    at: datetime,
    message: TimerElapsed | BatchTimedOut | RunRequested,
) -> Envelope:
    return Envelope(
        id=id_,
        account_id=account_id,
        site_id=site_id,
        run_id=run_id,
        at=at,
        cause=id_,
        actor="scheduler",
        message=message,
    )


class Scheduler:
    """Sends what is due, and again after a while as long as it is still due."""

    def __init__(self, engine: sa.Engine, publish: Publish) -> None:
        self._engine, self._publish = engine, publish
        self._sent: dict[str, datetime] = {}

    async def look(self, at: datetime) -> int:
        """Send the commands that are due at this time; return how many."""
        commands = await asyncio.to_thread(self._due, at)
        due = {command.id for command in commands}
        self._sent = {id_: sent for id_, sent in self._sent.items() if id_ in due}
        fresh = [
            one
            for one in commands
            if at - self._sent.get(one.id, datetime.min.replace(tzinfo=at.tzinfo)) >= SAY_AGAIN
        ]
        for command in fresh:
            await self._publish(command_record(command))
            self._sent[command.id] = at
        return len(fresh)

    def _due(self, at: datetime) -> Sequence[Envelope]:
        with reading(self._engine) as tx:
            return [
                *(command_of_timer(row, at) for row in timers.due(tx, at)),
                *(command_of_slot(slot, at) for slot in configs.due(tx, at)),
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
            await scheduler.look(now())
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
