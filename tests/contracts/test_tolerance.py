"""What each reader makes of what a newer writer has added: the table of docs/evolution.md."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic_core import from_json, to_json

from events.commands import RunRequested
from events.dead_letters import ATTEMPT, original
from events.topics import DEAD_LETTERS, STAGE_REPORTS, Record
from projections.database import create_tables, open_engine
from projections.rebuild import differences
from services.api.schemas import operations
from tests.api import examples
from tests.builders import RUN
from tests.orchestrator.test_consumer import Desk as Orchestrator
from tests.projections.history import make_history
from tests.projections.test_worker import Sent, record_for, take
from tests.stages.test_worker import Desk as StageWorker

ADDED = {"added_later": {"by": ["a", "newer", "writer"]}, "and_another": None}
NAMES = ("septet.NeverHeardOf.v1", "septet.StageBatchRequested.v99")


def with_fields(record: Record) -> Record:
    return replace(record, value=to_json(from_json(record.value or b"") | ADDED))


def named(record: Record, name: str) -> Record:
    headers = dict(record.headers) | {"ce_type": name.encode()}
    return replace(record, headers=tuple(headers.items()))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(opened)
    yield opened
    opened.dispose()


def test_the_orchestrator_follows_a_command_with_more_fields() -> None:
    desk = Orchestrator()
    assert desk.consume(with_fields(desk.command(RunRequested(), "cmd-1"))) == []
    assert desk.scene.receipt("cmd-1").TYPE == "MessageAccepted"
    (begun, *_) = desk.scene.store.read("receipt-cmd-1")
    assert not hasattr(begun.envelope.message, "added_later")


def test_the_projector_folds_events_with_more_fields(engine: sa.Engine) -> None:
    world, sent = make_history(), Sent()
    take(engine, sent, world, [with_fields(record_for(placed)) for placed in world.placed])
    assert sent.records == []
    assert not differences(engine, world.placed)


def test_a_stage_worker_answers_a_request_with_more_fields(engine: sa.Engine) -> None:
    desk = StageWorker(engine)
    desk.scene.submit("k1")
    desk.scene.send(RunRequested(), run=RUN)
    desk.project()
    desk.answer(with_fields(desk.requests()[0]))
    assert desk.letters() == []
    assert "StageBatchCompleted" in desk.names()
    assert {record.topic for record in desk.sent} == {STAGE_REPORTS}


@pytest.mark.parametrize("name", NAMES)
def test_the_orchestrator_sets_aside_what_it_does_not_know(name: str) -> None:
    desk = Orchestrator()
    record = named(desk.command(RunRequested(), "cmd-1"), name)
    (letter,) = desk.consume(record)
    assert is_whole(letter, record)


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_worker_sets_aside_what_it_does_not_know(engine: sa.Engine, name: str) -> None:
    desk = StageWorker(engine)
    desk.scene.submit("k1")
    desk.scene.send(RunRequested(), run=RUN)
    desk.project()
    record = named(desk.requests()[0], name)
    desk.answer(record)
    (letter,) = desk.letters()
    assert is_whole(letter, record)
    assert desk.reports() == []


@pytest.mark.parametrize("name", NAMES)
def test_the_projector_sets_aside_what_it_does_not_know(engine: sa.Engine, name: str) -> None:
    world, sent = make_history(), Sent()
    record = named(record_for(world.placed[0]), name)
    take(engine, sent, world, [record, *(record_for(placed) for placed in world.placed[:50])])
    (letter,) = sent.records
    assert is_whole(letter, record)


def is_whole(letter: Record, record: Record) -> bool:
    """Tell whether a dead letter has all that a newer release needs to read it."""
    assert letter.topic == DEAD_LETTERS
    back = original(letter, record.topic)
    headers = tuple(pair for pair in back.headers if pair[0] != ATTEMPT)
    return (back.key, back.value, headers) == (record.key, record.value, record.headers)


def test_every_json_body_of_the_api_forbids_what_it_does_not_know() -> None:
    """A client's typing mistake is told, while a newer writer's field is not one."""
    with examples.a_world() as (world, _):
        document = world.app.openapi()
    bodies = [
        content["schema"]
        for _, operation in operations(document)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
    ]
    assert len(bodies) > 5
    for body in bodies:
        assert schema_at(document, body)["additionalProperties"] is False


def schema_at(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        schema = document["components"]["schemas"][name]
    return schema
