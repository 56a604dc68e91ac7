"""A consumer that hears nothing of what waits for it is found out, and no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiokafka import TopicPartition

from events.commands import RunRequested
from events.kafka.producers import partition_of
from events.topics import stage_topic
from projections.database import create_tables, open_engine
from projections.projector import project
from services.stage_workers.app import Deaf, Listener
from services.stage_workers.hearing import Hearing, patience_of
from tests.builders import RUN, Scene

WAITS = {"batch-1/1": 3}


def hearing() -> Hearing:
    """One of half a minute's patience that has looked once, when nothing waited."""
    one = Hearing(patience=30)
    assert one.unheard({}, 100) is None
    return one


def test_a_request_that_nobody_takes_up_is_noticed_when_patience_ends() -> None:
    one = hearing()
    assert [one.unheard(WAITS, at) for at in (105, 135, 136)] == [None, None, "batch-1/1"]


def test_a_request_that_waited_before_the_process_began_proves_nothing() -> None:
    one = Hearing(patience=30)
    assert [one.unheard(WAITS, at) for at in (100, 500, 9_000)] == [None, None, None]
    assert one.unheard({"batch-1/2": 3}, 9_005) is None
    assert one.unheard({"batch-1/2": 3}, 9_036) == "batch-1/2"


def test_a_long_batch_is_not_silence() -> None:
    one = hearing()
    one.begin(3)
    assert [one.unheard(WAITS, at) for at in (105, 500)] == [None, None]
    one.end(3, 510)
    assert [one.unheard(WAITS, at) for at in (540, 541)] == [None, "batch-1/1"]


def test_a_request_behind_others_of_its_partition_waits_its_turn() -> None:
    one = hearing()
    for at in range(105, 300, 20):
        one.begin(3)
        one.end(3, at)
        assert one.unheard(WAITS, at + 15) is None
    one.begin(4)
    one.end(4, 320)
    assert one.unheard(WAITS, 320) == "batch-1/1"  # another partition's work says nothing


def test_what_was_answered_is_forgotten() -> None:
    one = hearing()
    assert one.unheard(WAITS, 105) is None
    assert one.unheard({}, 110) is None
    assert one.unheard(WAITS, 136) is None


@pytest.mark.parametrize(("timeout", "patience"), [(5, 10), (30, 15), (600, 60)])
def test_patience_is_half_of_what_a_batch_is_given(timeout: float, patience: float) -> None:
    assert patience_of(timeout) == patience


MINE = partition_of(stage_topic(1), RUN.encode())


@dataclass
class App:
    """What is asked of Faust's app."""

    partitions: set[int]
    crash_reason: Exception | None = None

    @property
    def crashed(self) -> bool:
        return self.crash_reason is not None

    @property
    def consumer(self) -> "App":
        return self

    def assignment(self) -> Sequence[TopicPartition]:
        return [TopicPartition(stage_topic(1), one) for one in self.partitions]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """A read model in which a run waits for its first batch."""
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(engine)
    scene = Scene().furnish()
    scene.submit("one")
    scene.send(RunRequested(), run=RUN)
    log = [one.placed for one in scene.log()]
    project(engine, log, lambda *_: pytest.fail("an event was set aside"))
    yield engine
    engine.dispose()


def listener(*partitions: int, stage: int = 1, crashed: Exception | None = None) -> Listener:
    """One without patience, whose first look was before anything waited."""
    deaf = Hearing(patience=-1)
    deaf.unheard({}, 0)
    return Listener(stage, App(set(partitions), crashed), deaf)


def test_a_consumer_that_has_the_partition_and_does_not_hear_is_deaf(engine: sa.Engine) -> None:
    with pytest.raises(Deaf, match=r"stage 1 does not hear batch-"):
        listener(MINE).require_hearing(engine)


def test_what_another_consumer_or_stage_should_hear_is_nobodys_silence(engine: sa.Engine) -> None:
    listener((MINE + 1) % 16).require_hearing(engine)
    listener(MINE, stage=2).require_hearing(engine)
    listener().require_hearing(engine)  # one worker too many has no partition


def test_a_crashed_app_is_told_with_its_reason(engine: sa.Engine) -> None:
    with pytest.raises(Deaf, match=r"stage 1 crashed: KeyError\('x'\)"):
        listener(MINE, crashed=KeyError("x")).require_hearing(engine)
