"""What a shipped message may still become: its frozen shape, and the rules for changing it.

`docs/evolution.md` tells them to people. Inside a version an optional field may be added, nothing
else: whatever was stored in that version must mean the same for ever, and readers of that version
must be able to read what is written in it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from events import documents
from events.envelope import ENVELOPE_FIELDS, Envelope
from events.message import KNOWN, Command, Event, Message
from events.shapes import plain

Json = dict[str, Any]
Shapes = Mapping[str, Json]

FILE = Path(__file__).with_name("shapes.json")
ENVELOPE = "envelope"
PARTS = "properties", "required", "additionalProperties"
FREEZE = "run `python -m tests.stored.freeze`"


class Change(NamedTuple):
    """Where a shape differs, and how; an added optional field is the one `allowed` change."""

    where: str
    what: str
    allowed: bool = False

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


def shapes_now(known: Mapping[str, type[Message]] = KNOWN) -> dict[str, Json]:
    """Return the shape of every message of this release, and that of the envelope."""
    envelope = plain(Envelope.model_json_schema())
    for part in ("properties", "required"):
        kept = [name for name in envelope[part] if name in ENVELOPE_FIELDS]
        envelope[part] = (
            kept if part == "required" else {name: envelope[part][name] for name in kept}
        )
    return {ENVELOPE: {"schema": envelope}} | {name: shape_of(kind) for name, kind in known.items()}


def shape_of(kind: type[Message]) -> Json:
    """Return what readers and writers of a message go by: its fields, where it stands and goes."""
    is_event = issubclass(kind, Event)
    return {
        "said": "event" if is_event else "command" if issubclass(kind, Command) else "message",
        "stream": kind.STREAM if is_event else None,
        "topics": documents.topics_of(kind),
        "schema": plain(kind.model_json_schema()),
    }


def changes(old: Json, new: Json) -> Iterator[Change]:
    """Give every way in which a message's shape differs from the frozen one."""
    for part in ("said", "stream", "topics"):
        if old.get(part) != new.get(part):
            yield Change(part, f"was {old.get(part)}, is {new.get(part)}")
    yield from _changes("", old["schema"], new["schema"])


def _changes(where: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_fields(where, old, new)
        for key in sorted({*old, *new} - {*PARTS}):
            yield from _of_key(where, key, old.get(key), new.get(key))
    else:
        yield Change(where or "the body", f"was {_short(old)}, is {_short(new)}")


def _of_fields(where: str, old: Json, new: Json) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    must, must_now = {*old.get("required", ())}, {*new.get("required", ())}
    for name, field in before.items():
        at = f"{where}.{name}" if where else name
        if name not in after:
            yield Change(at, "is gone")
            continue
        if (name in must) != (name in must_now):
            yield Change(at, "was optional, is required" if name in must_now else "was required")
        yield from _changes(at, field, after[name])
    for name in after.keys() - before.keys():
        at = f"{where}.{name}" if where else name
        if name in must_now:
            yield Change(at, "is new and required")
        else:
            yield Change(at, "is new and optional", allowed=True)
    yield from _of_key(
        where, "values", old.get("additionalProperties"), new.get("additionalProperties")
    )


def _of_key(where: str, key: str, old: Any, new: Any) -> Iterator[Change]:
    at = where or "the body"
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _changes(f"{where}[]", old, new)
    elif _are_forms(old) and _are_forms(new) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _changes(where, before, after)
    else:
        yield Change(at, f"{key} was {_short(old)}, is {_short(new)}")


def _are_forms(found: Any) -> bool:
    """Tell whether these are the forms of a union (or the places of a tuple), not bare values."""
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def frozen() -> dict[str, Json]:
    """Return the frozen shapes by wire name; `released` says in which release one was first."""
    found: dict[str, Json] = json.loads(FILE.read_text("utf-8"))
    return found


def complaints(
    kept: Shapes, now: Shapes, upcasters: Collection[str], samples: Collection[str]
) -> list[str]:
    """Return one line for each message that changed as none may, with what to do about it."""
    return [
        line
        for name in sorted({*kept, *now})
        for line in _complaints(name, kept.get(name), now.get(name), upcasters, samples)
    ]


def _complaints(
    name: str,
    kept: Json | None,
    now: Json | None,
    upcasters: Collection[str],
    samples: Collection[str],
) -> Iterator[str]:
    if kept is None:
        yield f"{name} is new: {FREEZE}"
        return
    if now is None:
        yield from _of_the_gone(name, kept, upcasters, samples)
        return
    found = [*changes(kept, now)]
    breaking = [change for change in found if not change.allowed]
    if kept["released"] and breaking:
        told = "; ".join(str(change) for change in breaking)
        yield f"{name} has been released in {kept['released']} and changed: {told}. {_advice(name)}"
    elif found:
        told = "; ".join(str(change) for change in found)
        yield f"{name} is not as it was frozen: {told}. If that is meant, {FREEZE}"


def _of_the_gone(
    name: str, kept: Json, upcasters: Collection[str], samples: Collection[str]
) -> Iterator[str]:
    """A version that was released stays readable for ever, one that never was just goes."""
    if not kept["released"]:
        if name not in upcasters:
            yield f"{name} is gone, and was never released: {FREEZE}"
        return
    if name not in upcasters:
        yield (
            f"{name} has been released in {kept['released']} and is gone, so what is stored can "
            f"not be read: write @upcasts({name!r}) in events/upcasters.py"
        )
    if name not in samples:
        yield f"{name} has been released and has no sample: bring back tests/stored/{name}.json"


def _advice(name: str) -> str:
    if name == ENVELOPE:
        return "Every stored event has the envelope: add optional fields with a default only"
    return (
        "Leave it as it was and make a new version: VERSION = n + 1 in the class, "
        f"@upcasts({name!r}) in events/upcasters.py, `python -m events.documents`, `python -m "
        "tests.stored.make`, `python -m tests.stored.freeze`; the old sample and schema stay. See "
        "docs/evolution.md"
    )


def frozen_again(kept: Shapes, now: Shapes) -> dict[str, Json]:
    """Return the shapes to keep from now on: what was released keeps its mark, and its place."""
    gone = {name: shape for name, shape in kept.items() if name not in now and shape["released"]}
    marks = {name: kept[name]["released"] if name in kept else None for name in now}
    shapes = {name: {"released": marks[name], **shape} for name, shape in now.items()}
    return dict(sorted((gone | shapes).items()))
