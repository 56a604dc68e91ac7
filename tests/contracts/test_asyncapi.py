"""The AsyncAPI document is one by the official schema, and every record is one by the document."""

import json
from dataclasses import replace

import pytest
from jsonschema import Draft7Validator

from events import documents
from events.message import KNOWN
from events.topics import Record
from tests.contracts.asyncapi import Reader, errors_of, official_schema
from tests.stored.make import records_of, sample_of

DOCUMENT = documents.asyncapi()
READER = Reader(DOCUMENT)


def test_the_document_is_valid_by_the_official_schema() -> None:
    assert errors_of(DOCUMENT) == []


def test_the_official_schema_can_say_no() -> None:
    broken = json.loads(json.dumps(DOCUMENT))
    broken["channels"]["septet.commands"]["address"] = 7
    (line,) = errors_of(broken)
    assert line.startswith("channels/septet.commands")
    del broken["info"]["version"]
    assert len(errors_of(broken)) == 2
    Draft7Validator.check_schema(official_schema())


@pytest.mark.parametrize("name", KNOWN)
def test_every_record_is_what_the_document_says(name: str) -> None:
    for record in records_of(sample_of(KNOWN[name])):
        assert [*READER.errors(record)] == []


def test_a_record_that_is_not_is_told() -> None:
    (record,) = records_of(sample_of(KNOWN["septet.RunPaused.v1"]))
    body = json.loads(record.value or b"")

    def told(changed: Record) -> list[str]:
        return [*READER.errors(changed)]

    (line,) = told(replace(record, value=json.dumps(body | {"missing_credits": "3"}).encode()))
    assert "body: $.missing_credits" in line
    headers = tuple(pair for pair in record.headers if pair[0] != "ce_id")
    (line,) = told(replace(record, headers=headers))
    assert "'ce_id' is a required property" in line
    (line,) = told(replace(record, topic="septet.commands"))
    assert line == "septet.commands: septet.RunPaused.v1 is not on this channel"


def test_a_payload_leads_nowhere_but_into_the_document() -> None:
    """An `$id` inside would make tools look for `#/components` elsewhere."""
    for message in DOCUMENT["components"]["messages"].values():
        assert "$id" not in message["payload"]
        assert "$schema" not in message["payload"]
