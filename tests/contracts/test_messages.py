"""Every message on the wire: samples that decode for ever, headers, schemas, documents."""

import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator
from pydantic_core import from_json, to_json

from events import documents
from events.dead_letters import dead_letter
from events.envelope import (
    ENVELOPE_FIELDS,
    BadMessage,
    Envelope,
    UnknownMessage,
    decode,
    encode,
)
from events.message import KNOWN, Command, Event, Message, wire_name
from events.reading import read, read_placed
from events.topics import (
    DEAD_LETTERS,
    PRIVATE,
    RUN_EVENTS,
    TOPICS,
    Record,
    report_record,
)
from events.upcasters import UPCASTERS
from tests.stored.make import AT, FOLDER, envelope_of, records_of, sample_of

SAMPLES = sorted(FOLDER.glob("septet.*.json"))
DOCS = Path(__file__).parents[2] / "docs"


def sample(path: Path) -> tuple[str, dict[str, str], bytes]:
    """Return a stored sample's topic, headers and body."""
    parts = json.loads(path.read_bytes())
    return parts["topic"], parts["headers"], to_json(parts["body"])


@pytest.mark.parametrize("name", KNOWN)
def test_every_message_has_a_stored_sample(name: str) -> None:
    assert (FOLDER / f"{name}.json").exists(), "run `python -m tests.stored.make`"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_stored_sample_decodes_and_says_the_same(path: Path) -> None:
    _, headers, body = sample(path)
    envelope = decode(headers["ce_type"], body)
    assert path.stem == headers["ce_type"]
    if path.stem in UPCASTERS:
        return
    said, again = from_json(body), from_json(encode(envelope))
    assert holds(again, said), again
    assert wire_name(envelope.message) == path.stem


def holds(again: Any, said: Any) -> bool:
    """Tell whether all that was said is said again, beside fields that have come since."""
    match again, said:
        case dict(), dict():
            return all(name in again and holds(again[name], value) for name, value in said.items())
        case list(), list():
            return len(again) == len(said) and all(map(holds, again, said))
        case _:
            return bool(again == said)


@pytest.mark.parametrize("name", KNOWN)
def test_a_message_comes_back_as_it_was_said(name: str) -> None:
    envelope = envelope_of(sample_of(KNOWN[name]))
    assert decode(name, encode(envelope)) == envelope
    for record in records_of(envelope.message):
        assert read(record) == envelope
        if record.topic == RUN_EVENTS:
            assert read_placed(record).position == 42


@pytest.mark.parametrize("name", KNOWN)
def test_no_field_of_a_message_bears_a_name_of_the_envelope(name: str) -> None:
    assert set(KNOWN[name].model_fields).isdisjoint(ENVELOPE_FIELDS)


@pytest.mark.parametrize("name", KNOWN)
def test_a_reader_tolerates_fields_that_a_newer_writer_has_added(name: str) -> None:
    envelope = envelope_of(sample_of(KNOWN[name]))
    newer = {**from_json(encode(envelope)), "added_later": {"x": 1}}
    assert decode(name, to_json(newer)) == envelope


# --- CloudEvents


@pytest.mark.parametrize("name", KNOWN)
def test_the_cloudevents_package_reads_every_record(name: str) -> None:
    envelope = envelope_of(sample_of(KNOWN[name]))
    for record in records_of(envelope.message):
        assert record.value is not None
        event = from_binary(
            KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value),
            JSONFormat(),
        )
        assert (event.get_id(), event.get_type()) == (envelope.id, name)
        assert (event.get_source(), event.get_specversion()) == ("septet", "1.0")
        assert event.get_subject() == (envelope.run_id or envelope.key)
        assert event.get_time() == envelope.at
        assert event.get_datacontenttype() == "application/json"
        assert event.get_extension("accountid") == envelope.account_id
        assert event.get_extension("siteid") == envelope.site_id
        assert event.get_data() == from_json(record.value)


def test_headers_appear_once() -> None:
    for kind in KNOWN.values():
        for record in records_of(sample_of(kind)):
            names = [name for name, _ in record.headers]
            assert len(set(names)) == len(names)


# --- what subscribers go by

NAMES_THAT_STAY = {
    "event": """RunStarted RunRefused StageStarted StageBatchRequested StageBatchCompleted
        StageCompleted RunPaused RunResumed RunCancelled RunCompleted RunFailed ConfigUpdated
        KeywordsAdded CreditsGranted CreditsHeld CreditsSettled CreditsReleased ContentApproved
        ContentRejected""",
    "command": """RunRequested PauseRequested ResumeRequested CancelRequested
        ConfigUpdateRequested KeywordsSubmitted TimerElapsed BatchTimedOut""",
}


@pytest.mark.parametrize("kind", NAMES_THAT_STAY)
def test_the_names_that_stay_are_there(kind: str) -> None:
    said = {"event": Event, "command": Command}[kind]
    for name in NAMES_THAT_STAY[kind].split():
        message = KNOWN[f"septet.{name}.v1"]
        assert (message.TYPE, issubclass(message, said)) == (name, True)


def test_topics_have_the_names_that_are_promised() -> None:
    stages = {f"septet.stage-{number}" for number in range(1, 8)}
    others = {"septet.commands", "septet.stage-reports", "septet.run-events"}
    assert stages | others | {"septet.dead-letters"} <= {topic.name for topic in TOPICS}


@pytest.mark.parametrize("name", KNOWN)
def test_a_record_goes_to_its_topic_under_its_key(name: str) -> None:
    """Sites come first; what concerns an account and no site is keyed by the account."""
    envelope = envelope_of(sample_of(KNOWN[name]))
    site = envelope.site_id or envelope.account_id
    public, *to_stage = records_of(envelope.message)
    topic = "septet.commands" if issubclass(KNOWN[name], Command) else "septet.run-events"
    assert (public.topic, public.key) == (topic, site.encode())
    assert public.header("ce_subject") == (envelope.run_id or site)
    assert public.header("ce_position") == (None if topic == "septet.commands" else "42")
    assert public.header("traceparent") == envelope.traceparent
    asked = [(record.topic, record.key) for record in to_stage]
    is_request = name == "septet.StageBatchRequested.v1"
    assert asked == ([("septet.stage-3", b"run-1")] if is_request else [])


def test_a_report_is_keyed_by_its_site() -> None:
    record = report_record(envelope_of(sample_of(KNOWN["septet.StageBatchCompleted.v1"])))
    assert (record.topic, record.key) == ("septet.stage-reports", b"site-1")


@pytest.mark.parametrize("name", KNOWN)
def test_a_body_is_flat_and_says_whom_it_concerns(name: str) -> None:
    message = sample_of(KNOWN[name])
    body = from_json(records_of(message)[0].value or b"")
    assert {"account_id", "site_id", "run_id", "at"} <= set(body)
    assert set(KNOWN[name].model_fields) <= set(body)
    assert "message" not in body


# --- what a stranger may send


def record_with(**changes: Any) -> Record:
    (record,) = records_of(sample_of(KNOWN["septet.RunPaused.v1"]))
    headers = dict(record.headers) | {k: v for k, v in changes.items() if k.startswith("ce_")}
    given = {name: value for name, value in headers.items() if value is not None}
    body = changes.get("body", record.value)
    return Record(record.topic, record.key, body, tuple(given.items()), 0, 7)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ce_type": None}, BadMessage),
        ({"ce_type": b"septet.Nothing.v1"}, UnknownMessage),
        ({"ce_type": b"septet.RunPaused.v99"}, UnknownMessage),
        ({"ce_type": b"\xff\xfe"}, BadMessage),
        ({"ce_id": b"another"}, BadMessage),
        ({"ce_accountid": b"account-2"}, BadMessage),
        ({"ce_siteid": b"site-2"}, BadMessage),
        ({"body": None}, BadMessage),
        ({"body": b""}, BadMessage),
        ({"body": b"null"}, BadMessage),
        ({"body": b"[]"}, BadMessage),
        ({"body": b"{}"}, BadMessage),
        ({"body": b"\x00\xff"}, BadMessage),
        ({"body": b"[" * 100_000}, BadMessage),
        ({"body": b'{"id": NaN}'}, BadMessage),
    ],
)
def test_what_cannot_be_used_is_told_apart(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read(record_with(**changes))


@pytest.mark.parametrize("position", [None, b"", b"-1", b"x", "٣".encode()])
def test_an_event_without_its_position_is_of_no_use(position: bytes | None) -> None:
    with pytest.raises(BadMessage):
        read_placed(record_with(ce_position=position))


def test_a_time_without_a_zone_is_no_time() -> None:
    (record,) = records_of(sample_of(KNOWN["septet.RunPaused.v1"]))
    fields = from_json(record.value or b"") | {"at": "2026-03-02T09:00:00"}
    with pytest.raises(BadMessage):
        read(record_with(body=to_json(fields)))


def test_a_dead_letter_keeps_the_original_and_says_why() -> None:
    record = record_with(body=b"\x00garbage")
    letter = dead_letter(record, "x" * 5000, "projector", AT)
    assert (letter.topic, letter.key, letter.value) == (DEAD_LETTERS, record.key, record.value)
    assert letter.header("septet-origin") == f"{RUN_EVENTS}/0/7"
    assert letter.header("septet-consumer") == "projector"
    assert letter.header("septet-error") == "x" * 1000
    again = dead_letter(letter, "second", "orchestrator", AT)
    assert len(again.headers) == len(letter.headers)


# --- documents


@pytest.mark.parametrize("path", sorted(documents.documents()))
def test_the_documents_are_those_of_the_classes(path: str) -> None:
    """A shipped shape never changes: a new meaning is a new version, with an upcaster."""
    stored = (DOCS / path).read_text(encoding="utf-8")
    assert stored == documents.documents()[path], (
        "a shape that has been shipped needs a new version; else run `python -m events.documents`"
    )


def test_a_schema_that_was_shipped_stays() -> None:
    shipped = {path.stem for path in (DOCS / "schemas").glob("*.json")}
    assert shipped <= set(KNOWN) | set(UPCASTERS)


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_written_is_valid_by_its_schema(name: str) -> None:
    schema = documents.schema_of(KNOWN[name])
    Draft202012Validator.check_schema(schema)
    body = from_json(encode(envelope_of(sample_of(KNOWN[name]))))
    Draft202012Validator(schema).validate(body)


def test_asyncapi_has_every_public_topic_and_every_reference_leads_somewhere() -> None:
    document = documents.asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == {topic.name for topic in TOPICS} - PRIVATE
    for reference in references(document):
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    said = {name for one in document["channels"].values() for name in one["messages"]}
    assert said == {*KNOWN, "DeadLetter"}


def test_asyncapi_says_who_writes_and_reads_every_topic() -> None:
    operations = documents.asyncapi()["operations"].values()
    for topic in documents.asyncapi()["channels"]:
        actions = {
            one["action"] for one in operations if one["channel"]["$ref"] == f"#/channels/{topic}"
        }
        assert actions == {"send", "receive"}


def references(part: Any) -> list[str]:
    match part:
        case {"$ref": reference}:
            return [reference]
        case dict():
            return [found for one in part.values() for found in references(one)]
        case list():
            return [found for one in part for found in references(one)]
        case _:
            return []


@pytest.mark.parametrize("name", KNOWN)
def test_the_catalogue_tells_what_every_message_says(name: str) -> None:
    kind: type[Message] = KNOWN[name]
    text = documents.catalogue()
    assert f"`{name}`" in text
    assert documents.said(kind).split("\n\n", maxsplit=1)[0] in text
    assert kind.__doc__, "a message says in its docstring what it means"


def test_an_envelope_needs_an_id() -> None:
    envelope = envelope_of(sample_of(KNOWN["septet.RunPaused.v1"]))
    with pytest.raises(ValueError, match="at least 1 character"):
        Envelope(**{**dict(envelope), "id": ""})
