"""Time is a message: due rows become commands, once, again when they are lost, and never twice."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from events.commands import ConfigUpdateRequested, RunRequested
from events.config import ConfigChanges
from events.envelope import Envelope
from events.reading import read
from events.topics import COMMANDS, DEAD_LETTERS, Record
from projections.configs import DueSchedule
from projections.database import create_tables, open_engine
from projections.projector import project
from services.orchestrator import handler
from services.orchestrator.consumer import Consumer
from services.orchestrator.scheduler import SAY_AGAIN, Scheduler, command_of_slot
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
        return self.look_at(self.scene.now)

    def look_at(self, clock: datetime) -> list[Envelope]:
        """Project what has happened, and return the commands that are sent by a clock."""
        log = [one.placed for one in self.scene.log()]
        project(self.engine, log, lambda *_: pytest.fail("an event was set aside"))
        before = len(self.sent)
        asyncio.run(self.scheduler.look(clock, self.scene.now.timestamp()))
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
        "system",
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


def watch_over_a_schedule(engine: sa.Engine) -> Watch:
    """A site that is due at half past nine, half an hour from now."""
    scene = Scene().furnish()
    scene.submit("one")
    changes = ConfigChanges(is_enabled=True, scheduled_time="09:30")
    scene.send(ConfigUpdateRequested(changes=changes))
    return Watch(engine, scene)


@pytest.mark.parametrize("ahead", [30, 90, 11 * 60])
def test_a_scheduler_whose_clock_is_ahead_starts_one_run_and_not_before_its_minute(
    engine: sa.Engine, ahead: int
):
    watch = watch_over_a_schedule(engine)
    scene, due = watch.scene, AT + timedelta(minutes=30)
    skew = timedelta(seconds=ahead)
    scene.now = due - skew
    other = Watch(engine, scene)
    while scene.now < due + skew + timedelta(minutes=1):
        for one, clock in ((watch, scene.now + skew), (other, scene.now)):
            for command in one.look_at(clock):
                events = names(scene.handle(command))
                if "RunStarted" in events:
                    begun = scene.now
        scene.now += timedelta(seconds=10)
    assert [event.TYPE for event in scene.stream(SITE)].count("SiteOccupied") == 1
    assert "RunRefused" not in names(scene.stream(SITE))
    assert due - timedelta(minutes=1) <= begun <= due + skew


def test_a_clock_that_goes_back_does_not_silence_a_scheduler(engine: sa.Engine):
    watch = watch_over_a_schedule(engine)
    (lost,) = watch.look(44 * 60)
    (again,) = watch.look(-5 * 60)
    assert again.id == lost.id


def test_a_slot_whose_command_hit_a_bug_is_asked_for_again(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
):
    watch = watch_over_a_schedule(engine)
    (command,) = watch.look(30 * 60)

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(handler, "decide", fail)
        with pytest.raises(KeyError):
            watch.scene.handle(command)
    assert watch.scene.receipt(command.id).code == "internal_error"  # type: ignore[union-attr]
    sent = [len(watch.look(60)) for _ in range(64)]
    assert sum(sent) == 64  # the same one again and again, and after 1, 2, 4, 8 … minutes another
    assert len({read(record).id for record in watch.sent}) == 8
    assert "RunStarted" in names(watch.scene.handle(read(watch.sent[-1])))


def test_a_slot_whose_every_command_hits_a_bug_makes_a_letter_a_command_and_no_more(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
):
    """The scheduler says every ten seconds what is due: thousands of times in 23 hours."""
    watch, published = watch_over_a_schedule(engine), list[Record]()

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    async def publish(record: Record) -> None:
        published.append(record)

    monkeypatch.setattr(handler, "decide", fail)
    consumer = Consumer(watch.scene.handler, publish, asyncio.Event(), lambda: watch.scene.now)
    watch.look(30 * 60)
    for _ in range(23 * 12):
        watch.look(5 * 60)
        asyncio.run(consumer(watch.sent))
        watch.sent.clear()
    letters = [record for record in published if record.topic == DEAD_LETTERS]
    assert len({letter.header("ce_id") for letter in letters}) == len(letters) <= 32


def test_a_slot_that_is_very_late_is_asked_for_again_each_hour():
    """An orchestrator whose clock stood a year back has set it, and refused it as too early."""
    due = DueSchedule(account_id="account-a", site_id="site-a", slot=AT)
    asked = [command_of_slot(due, AT + timedelta(days=400, hours=hours)).id for hours in range(5)]
    assert len(set(asked)) == 5


def watch_over_a_batch(engine: sa.Engine) -> Watch:
    """A scheduler that has looked, and then a run with a batch in flight."""
    scene = Scene().furnish()
    scene.submit("one")
    watch = Watch(engine, scene)
    assert watch.look() == []
    scene.send(RunRequested(), run=RUN)
    return watch


@pytest.mark.parametrize("hours", [2, -1, 24 * 30])
def test_a_clock_that_is_wrong_ends_no_wait_early_and_none_late(engine: sa.Engine, hours: int):
    """The scheduler's machine is ahead of the orchestrator's, or behind."""
    watch = watch_over_a_batch(engine)
    wrong = timedelta(hours=hours)
    for _ in range(TIMEOUT):
        assert watch.look_at(watch.scene.now + wrong) == []
        watch.scene.now += timedelta(seconds=1)
    (command,) = watch.look_at(watch.scene.now + wrong)
    assert command.message.TYPE == "BatchTimedOut"


def test_a_clock_that_is_set_in_a_wait_changes_nothing(engine: sa.Engine):
    watch = watch_over_a_batch(engine)
    assert watch.look() == []
    watch.scene.now += timedelta(seconds=TIMEOUT - 1)
    for wrong in (timedelta(days=30), timedelta(hours=-1), timedelta()):
        assert watch.look_at(watch.scene.now + wrong) == []
    watch.scene.now += timedelta(seconds=1)
    assert len(watch.look_at(watch.scene.now - timedelta(hours=1))) == 1


def test_after_a_start_no_wait_is_longer_than_it_was_set_to(engine: sa.Engine):
    """The clock was two hours ahead when the wait was set, and has been put right since."""
    scene = watch_over_a_delay(engine).scene
    fresh = Watch(engine, scene)
    assert fresh.look_at(scene.now - timedelta(hours=2)) == []
    scene.now += timedelta(seconds=5)
    (command,) = fresh.look_at(scene.now - timedelta(hours=2))
    assert command.message.TYPE == "TimerElapsed"
