"""The shape of a message without the words in it: what readers and stored rows go by."""

import hashlib
import json
from functools import cache
from typing import Any

from events.envelope import Envelope
from events.message import KNOWN, Message

Json = dict[str, Any]

WORDS = frozenset({"title", "description", "examples"})  # for people: they may change at any time


def plain(schema: Json) -> Json:
    """Return a JSON Schema with every part written out in its place, and no words in it."""
    parts = schema.get("$defs", {})

    def of(node: Any) -> Any:
        match node:
            case {"$ref": str(ref)}:
                return of(parts[ref.rsplit("/", 1)[-1]])
            case dict():
                return {key: one(key, part) for key, part in node.items() if key not in LEFT_OUT}
            case list():
                return [of(part) for part in node]
            case _:
                return node

    def one(key: str, part: Any) -> Any:
        if key == "properties":  # its keys are fields, which may well be called title
            return {field: of(shape) for field, shape in part.items()}
        return of(part)

    made: Json = of(schema)
    return made


LEFT_OUT = WORDS | {"$defs", "discriminator"}


def digest() -> str:
    """Return a name for the shapes of all messages of this release together."""
    return _digest(tuple(KNOWN.items()))


@cache
def _digest(known: tuple[tuple[str, type[Message]], ...]) -> str:
    shapes = {name: plain(kind.model_json_schema()) for name, kind in known}
    shapes["envelope"] = plain(Envelope.model_json_schema())
    return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]
