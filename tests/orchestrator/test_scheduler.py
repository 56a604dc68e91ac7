"""Time is a message: due rows become commands, once, again when they are lost, and never twice."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from events.commands import ConfigUpdateRequested, RunRequested
from events.config import ConfigChanges
from events.envelope import Envelope
from events.reading import read
from events.topics import COMMANDS, Record
from projections.database import create_tables, open_engine
from projections.projector import project
from services.orchestrator.scheduler import SAY_AGAIN, Scheduler
from tests.builders import AT, RUN, SITE, TIMEOUT, Scene, answer, names, report


class Watch:
    """A scheduler over a real read model, with a list for Kafka and a clock that is moved."""

    def __init__(self, engine: sa.Engine, scene: Scene) -> None:
        self.engine, self.scene, self.sent = engine, scene, list[Record]()
        self.scheduler = Scheduler(engine, self._publish)

    async def _publish(self, record: Record) -> None:
        self.sent.append(record)

    def look(self, seconds: float = 0) -> list[Envelope]:
        """Move the clock, project what has happened, and return the commands that are sent."""
        self.scene.now += timedelta(seconds=seconds)
        log = [one.placed for one in self.scene.log()]
        project(self.engine, log, lambda *_: pytest.fail("an event was set aside"))
        before = len(self.sent)
        asyncio.run(self.scheduler.look(self.scene.now))
        fresh = self.sent[before:]
        assert {record.topic for record in fresh} <= {COMMANDS}
        return [read(record) for record in fresh]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(engine)
    yield engine
    engine.dispose()


def watch_over_a_delay(engine: sa.Engine) -> Watch:
    """A run whose first batch of two is recorded, with 5 seconds to the next."""
    scene = Scene().furnish(stage_1_batch_size=1, within_stage_delay=5)
    scene.submit("one", "two")
    scene.send(RunRequested(), run=RUN)
    (request,) = scene.open_requests()
    scene.handle(answer(request, report(request.message), scene.now))  # type: ignore[arg-type]
    return Watch(engine, scene)


def test_a_delay_ends_with_a_command_and_the_next_batch(engine: sa.Engine):
    watch = watch_over_a_delay(engine)
    assert watch.look(4) == []
    (command,) = watch.look(1)
    assert (command.message.TYPE, command.actor, command.site_id) == (
        "TimerElapsed",
        "scheduler",
        SITE,
    )
    assert names(watch.scene.handle(command)) == [
        "TimerFired",
        "StageBatchRequested",
        "MessageAccepted",
    ]
    assert watch.look(1) == []


def test_a_command_that_was_lost_is_sent_again_and_acts_once(engine: sa.Engine):
    watch = watch_over_a_delay(engine)
    (first,) = watch.look(5)
    assert watch.look(SAY_AGAIN.total_seconds() - 1) == []
    (again,) = watch.look(1)
    assert again.id == first.id
    assert watch.scene.handle(first) != []
    assert watch.scene.handle(again) == []


def test_two_schedulers_send_the_same_command(engine: sa.Engine):
    watch = watch_over_a_delay(engine)
    (mine,) = watch.look(5)
    (other,) = Watch(engine, watch.scene).look()
    assert mine.id == other.id


def test_a_batch_that_nobody_answers_is_asked_for_again(engine: sa.Engine):
    scene = Scene().furnish()
    scene.submit("one")
    scene.send(RunRequested(), run=RUN)
    watch = Watch(engine, scene)
    assert watch.look(TIMEOUT - 1) == []
    (command,) = watch.look(1)
    assert command.message.TYPE == "BatchTimedOut"
    expired, request, _ = scene.handle(command)
    assert (expired.TYPE, request.TYPE) == ("BatchExpired", "StageBatchRequested")
    assert request.attempt == 2  # type: ignore[attr-defined]
    assert watch.look(SAY_AGAIN.total_seconds()) == []  # the row of the first attempt is gone


def test_a_due_schedule_starts_one_run_and_moves_on(engine: sa.Engine):
    scene = Scene().furnish()
    scene.submit("one")
    changes = ConfigChanges(is_enabled=True, scheduled_time="09:30")
    scene.send(ConfigUpdateRequested(changes=changes))
    watch = Watch(engine, scene)
    assert watch.look(29 * 60) == []
    (command,) = watch.look(60)
    (other,) = Watch(engine, scene).look()
    assert command.id == other.id
    assert isinstance(command.message, RunRequested)
    assert command.message.slot == AT + timedelta(minutes=30)
    events = names(scene.handle(command))
    assert ("RunStarted" in events, "ScheduleAdvanced" in events) == (True, True)
    assert scene.handle(other) == []
    assert watch.look(SAY_AGAIN.total_seconds()) == []
    (tomorrow,) = (one for one in watch.look(24 * 3600) if isinstance(one.message, RunRequested))
    assert tomorrow.id != command.id
    assert names(scene.handle(tomorrow))[:2] == ["RunRefused", "ScheduleAdvanced"]
