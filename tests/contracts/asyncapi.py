"""Reads records as a subscriber's tool does, that has nothing but `/asyncapi.json`."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from events.topics import Record

OFFICIAL = Path(__file__).parent / "official"
SUM = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"


def official_schema() -> Any:
    """Return the official JSON Schema of AsyncAPI 3.0.0 documents, as it was published."""
    published = (OFFICIAL / "asyncapi-3.0.0.json").read_bytes()
    assert hashlib.sha256(published).hexdigest() == SUM
    return json.loads(published)


def errors_of(document: Any) -> list[str]:
    """Return where a document is not one of AsyncAPI 3.0.0."""
    found = Draft7Validator(official_schema()).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]


class Reader:
    """Finds a record's message in the document and validates headers and body by it."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._validators: dict[str, tuple[Draft7Validator, Draft7Validator]] = {}

    def errors(self, record: Record) -> Iterator[str]:
        """Give a line for each way in which a record is not what the document says."""
        name = record.header("ce_type") or "no ce_type"
        channel = self._document["channels"].get(record.topic)
        if channel is None or name not in channel["messages"]:
            yield f"{record.topic}: {name} is not on this channel"
            return
        headers, body = self._of(name)
        texts = {header: value.decode() for header, value in record.headers}
        for error in headers.iter_errors(texts):
            yield f"{name}: headers: {error.json_path}: {error.message}"
        for error in body.iter_errors(json.loads(record.value or b"null")):
            yield f"{name}: body: {error.json_path}: {error.message}"

    def _of(self, name: str) -> tuple[Draft7Validator, Draft7Validator]:
        if name not in self._validators:
            components = self._document["components"]
            message = components["messages"][name]
            self._validators[name] = (
                Draft7Validator({**message["headers"], "components": components}),
                Draft7Validator({**message["payload"], "components": components}),
            )
        return self._validators[name]
