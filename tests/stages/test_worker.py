"""A worker's answers: every request ends in reports or a dead letter, and is done at most once."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from events.commands import CancelRequested, PauseRequested, RunRequested
from events.content import AiCall, Outcome
from events.envelope import Envelope
from events.reading import read
from events.run import StageBatchRequested
from events.topics import DEAD_LETTERS, STAGE_REPORTS, Record, published, stage_topic
from projections.database import create_tables, open_engine
from projections.projector import project
from services.orchestrator.store import Stored
from services.stage_workers import reading
from services.stage_workers.batch import Work
from services.stage_workers.items import Batch
from services.stage_workers.reading import Reader
from services.stage_workers.worker import Worker
from tests.builders import AT, RUN, Scene, answer, report, stage_report


@dataclass
class Scripted:
    """A stage that counts what it is asked, and raises when it is told to."""

    number = 1
    batches: list[Batch] = field(default_factory=list)
    bug: Exception | None = None

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        self.batches.append(batch)
        call = AiCall(function="cluster_keywords", model="m", status="succeeded", credits_used=1)
        calls.append(call)
        if self.bug:
            raise self.bug
        return Work(tuple(Outcome(item=item) for item in batch.items), ())


class Desk:
    """A worker with a real read model, and a list for Kafka."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.sent = engine, list[Record]()
        self.scene, self.stage = Scene().furnish(), Scripted()
        self.worker = self.restarted()

    def restarted(self) -> Worker:
        return Worker(self.stage, Reader(self.engine, self._get), self._publish, lambda: AT)

    async def _publish(self, record: Record) -> None:
        self.sent.append(record)

    async def _get(self, digest: str) -> bytes:
        raise LookupError(digest)

    def project(self, upto: int | None = None) -> None:
        log = [one.placed for one in self.scene.log()]
        shown = [one for one in log if upto is None or one.position <= upto]
        project(self.engine, shown, lambda *_: pytest.fail("an event was set aside"))

    def requests(self, stage: int = 1) -> list[Record]:
        topic = stage_topic(stage)
        return [
            one for stored in self.scene.log() for one in _records(stored) if one.topic == topic
        ]

    def answer(self, *records: Record, worker: Worker | None = None) -> None:
        async def all_in_turn() -> None:
            for record in records:
                await (worker or self.worker).answer(record)

        asyncio.run(all_in_turn())

    def reports(self) -> list[Envelope]:
        return [read(record) for record in self.sent if record.topic == STAGE_REPORTS]

    def names(self) -> list[str]:
        return [one.message.TYPE for one in self.reports()]

    def letters(self) -> list[Record]:
        return [record for record in self.sent if record.topic == DEAD_LETTERS]


def _records(stored: Stored) -> Sequence[Record]:
    return published(stored.placed, stored.name, stored.body)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(engine)
    desk = Desk(engine)
    desk.scene.submit("one", "two")
    desk.scene.send(RunRequested(), run=RUN)
    desk.project()
    yield desk
    engine.dispose()


def test_the_last_batch_is_reported_and_then_its_stage(desk: Desk):
    desk.answer(*desk.requests())
    assert desk.names() == ["StageBatchCompleted", "StageCompleted"]
    batch, stage = (one.message for one in desk.reports())
    assert (batch.tally.items_done, batch.tally.credits_used) == (2, 1)
    assert (stage.items_done, stage.credits_used, stage.partial) == (2, 1, False)
    assert {one.key for one in desk.sent} == {b"site-a"}


def test_a_request_that_comes_again_is_answered_again_and_not_done_again(desk: Desk):
    request = desk.requests()[0]
    desk.answer(request, request)
    assert len(desk.stage.batches) == 1
    first, second = desk.reports()[:2], desk.reports()[2:]
    assert [one.id for one in first] == [one.id for one in second]


def test_a_request_whose_report_is_recorded_is_not_done_by_another_worker(desk: Desk):
    request = desk.requests()[0]
    envelope = read(request)
    assert isinstance(envelope.message, StageBatchRequested)
    desk.scene.handle(answer(envelope, report(envelope.message), AT))
    desk.scene.handle(answer(envelope, stage_report(envelope.message), AT))
    desk.project()
    desk.answer(request, worker=desk.restarted())
    assert (desk.stage.batches, desk.sent) == ([], [])


def test_a_stage_whose_own_report_was_lost_is_reported_again(desk: Desk):
    request = desk.requests()[0]
    envelope = read(request)
    assert isinstance(envelope.message, StageBatchRequested)
    desk.scene.handle(answer(envelope, report(envelope.message), AT))
    desk.project()
    desk.answer(request, worker=desk.restarted())
    assert (desk.stage.batches, desk.names()) == ([], ["StageCompleted"])
    desk.scene.handle(desk.reports()[0])
    assert "StageCompleted" in [event.TYPE for event in desk.scene.stream(RUN)]


@pytest.mark.parametrize("command", [PauseRequested(), CancelRequested()])
def test_nothing_begins_after_pause_or_cancel_has_been_shown(
    desk: Desk, command: PauseRequested | CancelRequested
):
    desk.scene.send(command, run=RUN)
    desk.project()
    desk.answer(desk.requests()[0])
    assert (desk.stage.batches, desk.names()) == ([], ["BatchReturned"])


def test_a_bug_in_a_stage_is_reported_and_set_aside(desk: Desk):
    desk.stage.bug = ZeroDivisionError("division by zero")
    desk.answer(desk.requests()[0])
    assert desk.names() == ["BatchFailed"]
    failed = desk.reports()[0].message
    assert ("ZeroDivisionError" in failed.error, failed.calls[0].credits_used) == (True, 1)
    assert len(desk.letters()) == 1


def test_a_batch_waits_until_the_read_model_shows_its_request(desk: Desk, tmp_path: Path):
    late = Desk(open_engine(f"sqlite:///{tmp_path / 'late.db'}"))
    create_tables(late.engine)
    late.scene = desk.scene

    async def answer_while_it_is_projected() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(late.worker.answer(desk.requests()[0]))
            await asyncio.sleep(0.05)
            assert late.sent == []
            await asyncio.to_thread(late.project)

    asyncio.run(answer_while_it_is_projected())
    assert late.names() == ["StageBatchCompleted", "StageCompleted"]
    late.engine.dispose()


def test_a_batch_that_the_read_model_never_shows_is_returned(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(reading, "CATCH_UP_WITHIN", 0.05)
    blind = Desk(open_engine(f"sqlite:///{tmp_path / 'blind.db'}"))
    create_tables(blind.engine)
    blind.answer(desk.requests()[0])
    assert (blind.stage.batches, blind.names()) == ([], ["BatchReturned"])
    blind.engine.dispose()


def test_what_is_no_request_of_the_stage_is_set_aside(desk: Desk):
    request = desk.requests()[0]
    garbage = [
        replace(request, value=b"\xff"),
        replace(request, value=None),
        replace(request, headers=()),
        replace(request, headers=tuple(one for one in request.headers if one[0] != "ce_position")),
        replace(request, headers=(("ce_type", b"septet.Nothing.v1"), *request.headers)),
        replace(request, value=(request.value or b"").replace(b'"stage":1', b'"stage":2')),
    ]
    desk.answer(*garbage)
    assert (desk.stage.batches, desk.names()) == ([], [])
    assert [bool(letter.header("septet-error")) for letter in desk.letters()] == [True] * 6
    desk.answer(request)
    assert len(desk.stage.batches) == 1


def test_a_record_that_names_another_tenant_outside_than_inside_is_set_aside(desk: Desk):
    request = desk.requests()[0]
    others = tuple(
        (name, b"account-b" if name == "ce_accountid" else value) for name, value in request.headers
    )
    desk.answer(replace(request, headers=others))
    assert (desk.stage.batches, len(desk.letters())) == ([], 1)
