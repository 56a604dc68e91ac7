"""What is said, for people and tools: JSON Schema, AsyncAPI 3, a catalogue, from the classes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from events import account, commands, receipts, run, site
from events.dead_letters import ATTEMPT
from events.envelope import ENVELOPE_FIELDS, Envelope
from events.message import KNOWN, Command, Event, Message, wire_name
from events.pipeline import STAGES
from events.run import (
    BatchFailed,
    BatchReturned,
    MessageReplayed,
    MessageSetAside,
    StageBatchCompleted,
    StageCompleted,
)
from events.topics import (
    COMMANDS,
    DEAD_LETTERS,
    PRIVATE,
    RUN_EVENTS,
    STAGE_REPORTS,
    TOPICS,
    Topic,
    stage_topic,
)

Json = dict[str, Any]

VERSION = "1.0.0"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PARTS = "#/components/schemas/{model}"
REPORTS: tuple[type[Message], ...] = (
    StageBatchCompleted,
    StageCompleted,
    BatchFailed,
    BatchReturned,
    MessageSetAside,
    MessageReplayed,
)
OF_ACCOUNT: tuple[type[Message], ...] = (
    commands.AccountRequested,
    commands.KeyRequested,
    commands.KeyRevocationRequested,
    commands.AiProviderRequested,
    commands.AiProviderDropRequested,
    commands.CreditsRequested,
)
HEADINGS: tuple[tuple[str, Any], ...] = (
    ("Commands", commands),
    ("Events of a run", run),
    ("Events of a site", site),
    ("Events of an account", account),
    ("Receipts", receipts),
)
WRITERS_AND_READERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    COMMANDS: (("api", "cli", "scheduler"), ("orchestrator",)),
    **{
        stage_topic(stage.number): (("relay",), (f"stage-worker-{stage.number}",))
        for stage in STAGES
    },
    STAGE_REPORTS: (
        (*(f"stage-worker-{stage.number}" for stage in STAGES), "orchestrator", "projector"),
        ("orchestrator",),
    ),
    RUN_EVENTS: (("relay",), ("projector", "api", "subscriber")),
    DEAD_LETTERS: (
        ("orchestrator", "projector", *(f"stage-worker-{stage.number}" for stage in STAGES)),
        ("operator",),
    ),
}
ABOUT: Mapping[str, str] = {
    COMMANDS: "What is asked for; each has one outcome, a receipt on septet.run-events.",
    STAGE_REPORTS: "What workers say of their batches, and every consumer of what it set aside; "
    "the rules record it as it came.",
    RUN_EVENTS: "The public log: per key in store order, an event perhaps twice with one ce_id.",
    DEAD_LETTERS: "Messages set aside: the bytes as they came, with the error and the origin.",
}
KEYS: Mapping[str, str] = {
    COMMANDS: "The site's id; the account's, where no site is concerned.",
    STAGE_REPORTS: "The site's id.",
    RUN_EVENTS: "The site's id; the account's, where no site is concerned.",
    DEAD_LETTERS: "The key of the original.",
}
HEADERS: Mapping[str, str] = {
    "ce_specversion": "The version of CloudEvents: 1.0.",
    "ce_id": "The message's identity: what has been seen under this id is nothing new.",
    "ce_source": "septet.",
    "ce_type": "septet.<Name>.v<version>.",
    "ce_subject": "The run's id; else the site's, else the account's.",
    "ce_time": "When it was said, RFC 3339 in UTC.",
    "ce_accountid": "The account that it concerns.",
    "ce_siteid": "The site that it concerns, if one.",
    "ce_position": "Its place in the store, rising per key; on what comes from the store.",
    "ce_chain": "On septet.run-events: SHA-256 over its key's history up to this event; see "
    "docs/audit.md.",
    "ce_chainunseen": "SHA-256 of what the key's history has before it and nobody publishes, if "
    "anything.",
    "content-type": "application/json.",
    "traceparent": "W3C trace context: the caller's, else one that follows from the run's id, or "
    "from that of the message that all began with.",
    ATTEMPT: "How often it had been set aside, on what an operator sent again.",
}
OPTIONAL_HEADERS = frozenset(
    {"ce_siteid", "ce_position", "ce_chain", "ce_chainunseen", "traceparent", ATTEMPT}
)
SET_ASIDE: Mapping[str, str] = {
    "septet-error": "Why it was set aside.",
    "septet-origin": "Topic, partition and offset where it stood.",
    "septet-consumer": "Who set it aside.",
    ATTEMPT: "1 for the first time; one more each time that it was sent again and failed again.",
    "septet-at": "When it was set aside, RFC 3339 in UTC.",
    "septet-cut": "What was too large and is kept cut: body, key, headers. Such a letter cannot be "
    "sent again.",
    "septet-size": "How many bytes the whole body had, where it was cut.",
    "septet-sha256": "The SHA-256 of the whole body, in hex, where it was cut.",
}
OPTIONAL_SET_ASIDE = frozenset({"septet-cut", "septet-size", "septet-sha256"})


def messages() -> dict[str, type[Message]]:
    """Return every message by its wire name, in the catalogue's order."""
    modules = [module.__name__ for _, module in HEADINGS]
    return dict(sorted(KNOWN.items(), key=lambda pair: modules.index(pair[1].__module__)))


def said(kind: type[Message]) -> str:
    """Return what a message says: its docstring as one paragraph a block."""
    blocks = (kind.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def schema_of(kind: type[Message], parts: str = "#/$defs/{model}") -> Json:
    """Return the JSON Schema of a message's body: its own fields and the envelope's, flat."""
    own = kind.model_json_schema(mode="serialization", ref_template=parts)
    whole = Envelope.model_json_schema(mode="serialization", ref_template=parts)
    envelope = {
        name: field for name, field in whole["properties"].items() if name in ENVELOPE_FIELDS
    }
    schema: Json = {
        "$schema": DIALECT,
        "$id": wire_name(kind),
        "title": kind.TYPE,
        "description": said(kind),
        "type": "object",
        "properties": {**own.get("properties", {}), **envelope},
        "required": [*own.get("required", []), *sorted(envelope)],
    }
    if "$defs" in own:
        schema["$defs"] = own["$defs"]
    return schema


def topics_of(kind: type[Message]) -> list[str]:
    """Return the topics that carry a message."""
    if issubclass(kind, Command):
        return [COMMANDS]
    if kind.TYPE == "StageBatchRequested":
        return [RUN_EVENTS, *(stage_topic(stage.number) for stage in STAGES)]
    return [STAGE_REPORTS, RUN_EVENTS] if kind in REPORTS else [RUN_EVENTS]


def asyncapi() -> Json:
    """Return the AsyncAPI 3.0.0 document of all public topics."""
    public = [topic for topic in TOPICS if topic.name not in PRIVATE]
    parts: Json = {}
    described: Json = {}
    for name, kind in messages().items():
        schema = schema_of(kind, PARTS)
        parts |= schema.pop("$defs", {})
        # An $id would be what references are resolved by, and they lead into this document.
        payload = {key: part for key, part in schema.items() if key not in ("$schema", "$id")}
        described[name] = _message(name, kind, _one_word(payload))
    described["DeadLetter"] = _dead_letter()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Septet",
            "version": VERSION,
            "description": "Seven-stage content pipelines, event-sourced over Kafka. Messages are "
            "CloudEvents 1.0 in binary mode; bodies are one flat JSON object.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in public},
        "operations": _operations(public),
        "components": {
            "messages": described,
            "schemas": {
                "Headers": _headers(HEADERS, OPTIONAL_HEADERS),
                "DeadLetterHeaders": _headers(SET_ASIDE, OPTIONAL_SET_ASIDE),
                **_one_word(dict(sorted(parts.items()))),
            },
        },
    }


def _message(name: str, kind: type[Message], payload: Json) -> Json:
    return {
        "name": name,
        "title": kind.TYPE,
        "summary": said(kind).split("\n\n", maxsplit=1)[0],
        "contentType": "application/json",
        "headers": {"$ref": PARTS.format(model="Headers")},
        "payload": payload,
    }


def _one_word(part: Any) -> Any:
    """Return the schema with discriminators as AsyncAPI has them: a field's name, not an object."""
    match part:
        case {"discriminator": {"propertyName": field}}:
            return {**{key: _one_word(one) for key, one in part.items()}, "discriminator": field}
        case dict():
            return {key: _one_word(one) for key, one in part.items()}
        case list():
            return [_one_word(one) for one in part]
        case _:
            return part


def _dead_letter() -> Json:
    return {
        "name": "DeadLetter",
        "title": "Dead letter",
        "summary": ABOUT[DEAD_LETTERS],
        "headers": {"$ref": PARTS.format(model="DeadLetterHeaders")},
        "payload": {"description": "The bytes of the original."},
    }


def _headers(about: Mapping[str, str], optional: frozenset[str]) -> Json:
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text} for name, text in about.items()
        },
        "required": [name for name in about if name not in optional],
    }


def _about(topic: Topic) -> str:
    return ABOUT.get(topic.name) or "Batches that one stage is asked for."


def _key(topic: str) -> str:
    return KEYS.get(topic) or "The run's id."


def _names_on(topic: Topic) -> list[str]:
    if topic.name == DEAD_LETTERS:
        return ["DeadLetter"]
    return [name for name, kind in messages().items() if topic.name in topics_of(kind)]


def _channel(topic: Topic) -> Json:
    return {
        "address": topic.name,
        "description": f"{_about(topic)} Key: {_key(topic.name)}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names_on(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"retention.ms": topic.retention},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations(topics: list[Topic]) -> Json:
    operations: Json = {}
    for topic in topics:
        writers, readers = WRITERS_AND_READERS[topic.name]
        for who, action in [*((w, "send") for w in writers), *((r, "receive") for r in readers)]:
            operations[f"{who}.{action}.{topic.name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": f"{who} {'writes' if action == 'send' else 'reads'} {topic.name}.",
            }
    return operations


def catalogue() -> str:
    """Return docs/events.md: each message with what it says, its fields, stream, topics and key."""
    lines = [
        "# Messages",
        "",
        "Made by `python -m events.documents` from the classes in `events/`; a test compares.",
        "",
        "Every body also has the envelope's fields: "
        + ", ".join(f"`{name}`" for name in Envelope.model_fields if name in ENVELOPE_FIELDS)
        + ".",
        "",
        "## Topics",
        "",
        "| topic | key | partitions | written by | read by |",
        "|---|---|---|---|---|",
    ]
    for topic in TOPICS:
        if topic.name in WRITERS_AND_READERS:
            writers, readers = (", ".join(names) for names in WRITERS_AND_READERS[topic.name])
            key = _key(topic.name).rstrip(".")
            lines.append(f"| `{topic.name}` | {key} | {topic.partitions} | {writers} | {readers} |")
    for heading, module in HEADINGS:
        lines += ["", f"## {heading}"]
        for name, kind in messages().items():
            if kind.__module__ == module.__name__:
                lines += _entry(name, kind)
    lines += ["", "## Parts of messages"]
    for part, schema in sorted(_parts().items()):
        lines += ["", f"### {part}", "", " ".join(schema.get("description", "").split()), ""]
        lines += _fields(schema)
    return "\n".join(lines) + "\n"


def _parts() -> Json:
    parts: Json = {}
    for kind in messages().values():
        parts |= kind.model_json_schema(mode="serialization").get("$defs", {})
    return parts


def _fields(schema: Json) -> list[str]:
    rows = [f"| `{field}` | {_shape(shape)} |" for field, shape in schema["properties"].items()]
    return ["| field | type |", "|---|---|", *rows]


def _entry(name: str, kind: type[Message]) -> list[str]:
    where = ", ".join(f"`{topic}`" for topic in topics_of(kind))
    if kind.TYPE == "StageBatchRequested":
        where = f"`{RUN_EVENTS}`, and `septet.stage-<stage>` by run"
    stream = f"Stream: {kind.STREAM}. " if issubclass(kind, Event) else ""
    keyed = _keyed(kind)
    lines = ["", f"### {kind.TYPE}", "", f"`{name}`", "", said(kind), ""]
    lines += [f"{stream}Topics: {where}. Key: {keyed}."]
    schema = kind.model_json_schema(mode="serialization")
    if schema.get("properties"):
        lines += ["", *_fields(schema)]
    return lines


def _keyed(kind: type[Message]) -> str:
    if kind in OF_ACCOUNT:
        return "the account"
    if kind.__module__ == account.__name__:
        return "the site whose run it concerns, else the account"
    return "as its message" if kind.__module__ == receipts.__name__ else "the site"


def _shape(shape: Json) -> str:  # one line a form
    match shape:
        case {"$ref": ref}:
            return str(ref).rsplit("/", 1)[-1]
        case {"anyOf": forms} | {"oneOf": forms}:
            return " or ".join(_shape(form) for form in forms)
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "items": items}:
            return f"list of {_shape(items)}"
        case {"type": "object", "additionalProperties": values} if isinstance(values, dict):
            return f"map to {_shape(values)}"
        case {"format": "date-time"}:
            return "time"
        case _:
            return str(shape.get("type", "anything"))


def documents() -> dict[str, str]:
    """Return every document by its path under docs/."""
    return {
        "events.md": catalogue(),
        "asyncapi.json": _text(asyncapi()),
        **{f"schemas/{name}.json": _text(schema_of(kind)) for name, kind in messages().items()},
    }


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write every document under a folder."""
    for name, text in documents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path("docs"))
