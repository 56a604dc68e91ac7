"""A worker's answers: every request ends in reports or a dead letter, and is done at most once."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic_core import from_json, to_json

from events.commands import CancelRequested, PauseRequested, RunRequested
from events.content import AiCall, Fact, Outcome
from events.dead_letters import NOTES, original
from events.envelope import Envelope
from events.message import Message
from events.prices import CURRENT
from events.reading import read
from events.run import StageBatchRequested
from events.topics import DEAD_LETTERS, STAGE_REPORTS, Record, published, stage_topic
from projections import database as db
from projections import run_log, runs
from projections.database import create_tables, open_engine
from projections.projector import project
from services.invariants import violations
from services.orchestrator.store import Stored
from services.stage_workers import reading
from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    Call,
    ClusterKeywords,
    ModelUnavailable,
    Question,
)
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch
from services.stage_workers.reading import Reader
from services.stage_workers.worker import Worker
from tests.builders import ACCOUNT, AT, RUN, Scene, answer, names, report, stage_report


@dataclass
class Scripted:
    """A stage that counts what it is asked, and raises when it is told to."""

    number = 1
    batches: list[Batch] = field(default_factory=list)
    bug: Exception | None = None
    silent: Exception | None = None  # what the provider raises for the batch's first item

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        self.batches.append(batch)
        if self.silent:
            return await each([(item, item) for item in batch.items], partial(self._ask, calls))
        call = AiCall(function="cluster_keywords", model="m", status="succeeded", credits_used=1)
        calls.append(call)
        if self.bug:
            raise self.bug
        return Work(tuple(Outcome(item=item) for item in batch.items), ())

    async def _ask(self, calls: list[AiCall], item: str) -> tuple[Fact, ...]:
        is_first = item == self.batches[-1].items[0]
        provider = Failing(self.silent if is_first else None)
        await Ask(provider, CURRENT, calls)(ClusterKeywords(()))  # type: ignore[type-var]
        return ()


@dataclass
class Failing:
    """A provider that raises, or answers nothing in particular."""

    error: Exception | None
    model = "m"

    async def answer(self, _: Question[A], calls: list[Call]) -> A:
        calls.append(Call("instant", error=str(self.error) if self.error else None))
        if self.error:
            raise self.error
        return ()  # type: ignore[return-value]


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

    def said(self) -> list[Envelope]:
        return [read(record) for record in self.sent if record.topic == STAGE_REPORTS]

    def reports(self) -> list[Envelope]:
        return [one for one in self.said() if not isinstance(one.message, NOTES)]

    def told(self) -> list[Message]:
        """Return what the run was told of messages that were set aside."""
        return [one.message for one in self.said() if isinstance(one.message, NOTES)]

    def go_on(self) -> None:
        """Follow what was said, and project it."""
        for one in self.said():
            self.scene.handle(one)
        self.project()

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


def test_what_follows_from_a_report_is_nobodys_wish(desk: Desk):
    """Who has the run resumed is not who pauses it when credits run out, or completes it."""
    request = desk.requests()[0]
    body = {**from_json(request.value or b""), "actor": "key-of-a-person"}
    desk.answer(replace(request, value=to_json(body)))
    assert {one.actor for one in desk.reports()} == {"system"}


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


# --- a provider that fails, a message that is poison and a bug of ours are three things

PROVIDER = [ModelUnavailable("the provider is away"), AnswerRejected("no answer that can be used")]


@pytest.mark.parametrize("error", PROVIDER)
def test_a_provider_that_fails_fails_the_item_and_makes_no_dead_letter(
    desk: Desk, error: Exception
):
    desk.stage.silent = error
    desk.answer(desk.requests()[0])
    assert (desk.letters(), desk.told()) == ([], [])
    batch = desk.reports()[0].message
    assert [outcome.error for outcome in batch.outcomes] == [str(error), None]
    assert [(call.status, call.error) for call in batch.calls] == [
        ("failed", str(error)),
        ("succeeded", None),
    ]
    desk.go_on()
    assert "StageCompleted" in names(desk.scene.stream(RUN))


@pytest.mark.parametrize("error", PROVIDER)
def test_a_provider_error_that_a_stage_forgot_fails_its_items_and_is_no_bug(
    desk: Desk, error: Exception
):
    desk.stage.bug = error
    desk.answer(desk.requests()[0])
    assert (desk.letters(), desk.told(), desk.names()[0]) == ([], [], "StageBatchCompleted")
    batch = desk.reports()[0].message
    assert [outcome.error for outcome in batch.outcomes] == [str(error)] * 2
    assert len(batch.calls) == 1  # and what it charged is charged


def test_a_bug_is_asked_again_three_times_and_then_the_run_goes_on_and_says_why(desk: Desk):
    desk.stage.bug = ZeroDivisionError("division by zero")
    asked = 0
    while (requests := desk.requests())[asked:]:
        desk.answer(*requests[asked:])
        asked = len(requests)
        desk.go_on()
    assert (asked, len(desk.letters()), len(desk.told())) == (3, 3, 3)
    happened = names(desk.scene.stream(RUN))
    assert happened.count("BatchFailed") == happened.count("MessageSetAside") == 3
    assert "BatchGivenUp" in happened
    with db.reading(desk.engine) as tx:
        run = runs.find(tx, ACCOUNT, RUN)
        lines = run_log.tail(tx, ACCOUNT, RUN, 100, "error")
    assert run is not None
    assert run.status == "failed"
    assert "ZeroDivisionError" in (run.error_message or "")
    assert (run.dead_letters, run.last_dead_letter) == (3, "ZeroDivisionError: division by zero")
    told = [line for line in lines if "stage-worker-1 set StageBatchRequested" in line.message]
    assert [(line.stage, "septet dead-letters" in line.message) for line in told] == [(1, True)] * 3
    assert violations(desk.scene.log()) == []


POISON: dict[str, Callable[[Record], Record]] = {
    "no JSON": lambda request: replace(request, value=b"\xff"),
    "no position": lambda request: without(request, "ce_position"),
    "another stage's": lambda request: replace(
        request, value=(request.value or b"").replace(b'"stage":1', b'"stage":2')
    ),
    "a report": lambda request: replace(
        request,
        headers=(*without(request, "ce_type").headers, ("ce_type", b"septet.RunPaused.v1")),
    ),
}
TRUSTED = ("no position", "another stage's", "a report")


def without(record: Record, name: str) -> Record:
    return replace(record, headers=tuple(pair for pair in record.headers if pair[0] != name))


@pytest.mark.parametrize("kind", POISON)
def test_poison_fails_no_item_and_is_nobodys_answer(desk: Desk, kind: str):
    """It is set aside; the run is told where the message can be trusted to be the run's."""
    desk.answer(POISON[kind](desk.requests()[0]))
    assert (desk.reports(), desk.stage.batches, len(desk.letters())) == ([], [], 1)
    assert len(desk.told()) == (kind in TRUSTED)
    desk.go_on()
    happened = names(desk.scene.stream(RUN))
    assert not {"BatchFailed", "BatchGivenUp", "StageBatchCompleted"} & set(happened)
    desk.answer(desk.requests()[0])
    desk.go_on()
    with db.reading(desk.engine) as tx:
        run = runs.find(tx, ACCOUNT, RUN)
    assert run is not None
    assert (run.stages[0].items_done, run.stages[0].items_failed) == (2, 0)
    assert violations(desk.scene.log()) == []


def test_a_batch_that_failed_is_told_again_and_not_done_again(desk: Desk):
    desk.stage.bug = ZeroDivisionError("division by zero")
    desk.answer(*desk.requests(), *desk.requests())
    assert (desk.names(), len(desk.stage.batches)) == (["BatchFailed", "BatchFailed"], 1)
    assert len({one.id for one in desk.reports()}) == 1


def test_a_database_that_is_away_is_no_fault_of_the_message(desk: Desk):
    """So it comes again to the next process; a failed batch would cost the run an attempt."""
    desk.stage.bug = sa.exc.OperationalError("SELECT 1", {}, OSError("connection refused"))
    with pytest.raises(sa.exc.OperationalError):
        desk.answer(desk.requests()[0])
    assert desk.sent == []


def test_a_request_that_is_replayed_after_its_bug_is_mended_is_done(desk: Desk):
    desk.stage.bug = ZeroDivisionError("division by zero")
    desk.answer(desk.requests()[0])
    desk.sent, letter = [], desk.letters()[0]
    desk.stage.bug = None
    desk.answer(original(letter, stage_topic(1)), worker=desk.restarted())
    assert desk.names() == ["StageBatchCompleted", "StageCompleted"]
    assert [(one.TYPE, one.attempt) for one in desk.told()] == [("MessageReplayed", 1)]
    assert desk.letters() == []


def test_a_request_that_is_replayed_and_fails_again_has_the_next_attempt(desk: Desk):
    desk.stage.bug = ZeroDivisionError("division by zero")
    desk.answer(desk.requests()[0])
    desk.answer(original(desk.letters()[0], stage_topic(1)))
    assert [letter.header("septet-attempt") for letter in desk.letters()] == ["1", "2"]
    assert [(one.TYPE, one.attempt) for one in desk.told()] == [
        ("MessageSetAside", 1),
        ("MessageSetAside", 2),
    ]


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
