"""A message class that changed without a version fails here, and the line says what to do."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, create_model

from events.message import KNOWN, Event, Value, wire_name
from events.run import BatchReturned
from events.upcasters import UPCASTERS
from tests.stored import freeze, shapes
from tests.stored.make import FOLDER
from tests.stored.shapes import (
    FREEZE,
    changes,
    complaints,
    frozen,
    frozen_again,
    shape_of,
    shapes_now,
)

SAMPLES = {path.stem for path in FOLDER.glob("septet.*.json")}


def test_no_message_changed_without_a_version() -> None:
    lines = complaints(frozen(), shapes_now(), UPCASTERS, SAMPLES)
    assert lines == [], "\n".join(lines)


# --- what may change inside a version, on a message that has it all


class Part(Value):
    """A part of the message."""

    name: str
    weight: int = 1


class Noted(Event):
    """As it was shipped."""

    TYPE: ClassVar = "Noted"
    STREAM: ClassVar = "site"
    text: str
    level: Literal["info", "warning"]
    count: int = 0
    note: str | None = None
    parts: tuple[Part, ...] = ()
    sizes: dict[str, int] = Field(default_factory=dict)


NAME = wire_name(Noted)


def again(*, without: str = "", **fields: Any) -> type[Event]:
    """Return the class as a later hand may have written it."""
    kept = {
        name: (field.annotation, field)
        for name, field in Noted.model_fields.items()
        if name != without
    }
    made: Any = create_model("Noted", __base__=Event, **(kept | fields))
    made.TYPE, made.STREAM, made.VERSION = "Noted", "site", 1
    return made


def part(**fields: Any) -> Any:
    """Return the nested part with other fields."""
    kept = {name: (field.annotation, field) for name, field in Part.model_fields.items()}
    return create_model("Part", __base__=Value, **(kept | fields))


def on_another_stream() -> type[Event]:
    made = again()
    made.STREAM = "run"
    return made


ALLOWED: dict[str, type[Event]] = {
    "an optional field": again(colour=(str, "red")),
    "an optional field that may be none": again(colour=(str | None, None)),
    "an optional part": again(first=(part() | None, None)),
    "an optional field of a part": again(parts=(tuple[part(unit=(str, "g")), ...], ())),
}
BREAKING: dict[str, tuple[type[Event], str]] = {
    "removed": (again(without="count"), "count is gone"),
    "renamed": (again(without="text", words=(str, ...)), "text is gone"),
    "retyped": (again(count=(str, "0")), 'count type was "integer", is "string"'),
    "widened": (again(count=(int | str, 0)), 'count type was "integer", is null'),
    "required at last": (again(count=(int, ...)), "count was optional, is required"),
    "optional at last": (again(text=(str, "")), "text was required"),
    "a new required field": (again(colour=(str, ...)), "colour is new and required"),
    "a value less": (again(level=(Literal["info"], ...)), "level enum was"),
    "a value more": (again(level=(Literal["info", "warning", "bad"], ...)), "level enum was"),
    "none no more": (again(note=(str, "")), "note anyOf was"),
    "another default": (again(count=(int, 7)), "count default was 0, is 7"),
    "a limit": (again(text=(str, Field(max_length=5))), "text maxLength was null, is 5"),
    "one instead of many": (again(parts=(part() | None, None)), "parts anyOf was null"),
    "a part's field removed": (again(parts=(tuple[Value, ...], ())), "parts[].name is gone"),
    "a part's field retyped": (
        again(parts=(tuple[part(weight=(float, 1)), ...], ())),
        'parts[].weight type was "integer", is "number"',
    ),
    "a part's new required field": (
        again(parts=(tuple[part(unit=(str, ...)), ...], ())),
        "parts[].unit is new and required",
    ),
    "other values in a map": (again(sizes=(dict[str, str], {})), "sizes[] type was"),
    "another stream": (on_another_stream(), "stream was site, is run"),
}


def lines_of(kind: type[Event], released: str | None) -> list[str]:
    kept = {NAME: {"released": released, **shape_of(Noted)}}
    return complaints(kept, {NAME: shape_of(kind)}, {}, {NAME})


@pytest.mark.parametrize("what", ALLOWED)
def test_an_optional_field_may_be_added_to_what_was_released(what: str) -> None:
    (change,) = changes(shape_of(Noted), shape_of(ALLOWED[what]))
    assert change.allowed
    (line,) = lines_of(ALLOWED[what], "1.0.0")
    assert line == f"{NAME} is not as it was frozen: {change}. If that is meant, {FREEZE}"


def test_a_message_that_is_as_it_was_frozen_is_no_complaint() -> None:
    assert lines_of(again(), "1.0.0") == []


@pytest.mark.parametrize("what", BREAKING)
def test_whatever_else_changes_needs_a_new_version(what: str) -> None:
    kind, told = BREAKING[what]
    (line,) = lines_of(kind, "1.0.0")
    assert line.startswith(f"{NAME} has been released in 1.0.0 and changed: ")
    assert told in line
    assert f"@upcasts('{NAME}') in events/upcasters.py" in line
    assert "docs/evolution.md" in line


@pytest.mark.parametrize("what", BREAKING)
def test_before_a_release_a_change_is_frozen_on_purpose(what: str) -> None:
    kind, told = BREAKING[what]
    (line,) = lines_of(kind, None)
    assert told in line
    assert line.endswith(f"If that is meant, {FREEZE}")


def test_a_renamed_message_is_one_that_is_gone_and_one_that_is_new() -> None:
    kept = {NAME: {"released": "1.0.0", **shape_of(Noted)}}
    gone, new = complaints(kept, {"septet.Remarked.v1": shape_of(Noted)}, {}, {NAME})
    assert gone.startswith(f"{NAME} has been released in 1.0.0 and is gone")
    assert new.startswith("septet.Remarked.v1 is new")


def test_a_version_that_has_been_replaced_keeps_upcaster_and_sample() -> None:
    kept = {NAME: {"released": "1.0.0", **shape_of(Noted)}}
    now = {"septet.Noted.v2": shape_of(again(colour=(str, ...)))}
    kept |= {"septet.Noted.v2": {"released": None, **now["septet.Noted.v2"]}}
    assert complaints(kept, now, {NAME}, {NAME}) == []
    (no_upcaster,) = complaints(kept, now, {}, {NAME})
    assert f"@upcasts('{NAME}')" in no_upcaster
    (no_sample,) = complaints(kept, now, {NAME}, {})
    assert f"bring back tests/stored/{NAME}.json" in no_sample


def test_freezing_again_forgets_nothing_that_was_released() -> None:
    kept = {
        NAME: {"released": "1.0.0", **shape_of(Noted)},
        "septet.Tried.v1": {"released": None, **shape_of(Noted)},
    }
    now = {"septet.Noted.v2": shape_of(again(colour=(str, ...)))}
    made = frozen_again(kept, now)
    assert {name: one["released"] for name, one in made.items()} == {
        NAME: "1.0.0",
        "septet.Noted.v2": None,
    }


def test_the_envelope_may_only_grow_by_optional_fields() -> None:
    kept, now = shapes_now(), shapes_now()
    kept = {name: {"released": "1.0.0", **shape} for name, shape in kept.items()}
    now["envelope"]["schema"]["properties"]["tags"] = {"type": "string"}
    (line,) = complaints(kept, now, UPCASTERS, SAMPLES)
    assert "tags is new and optional" in line
    now["envelope"]["schema"]["required"].append("tags")
    (line,) = complaints(kept, now, UPCASTERS, SAMPLES)
    assert "tags is new and required" in line
    assert line.startswith("envelope has been released in 1.0.0 and changed")


def test_the_command_refuses_what_was_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shapes.json"
    monkeypatch.setattr(freeze, "FILE", file)
    monkeypatch.setattr(shapes, "FILE", file)
    assert freeze.freeze("1.0.0") == []
    assert {one["released"] for one in frozen().values()} == {"1.0.0"}
    name = "septet.BatchReturned.v1"
    monkeypatch.setitem(KNOWN, name, without_reason())
    before = file.read_bytes()
    (line,) = freeze.freeze(None)
    assert line.startswith(f"{name} has been released in 1.0.0 and changed: ")
    assert "reason is gone" in line
    assert file.read_bytes() == before


def without_reason() -> type[Event]:
    kept = {
        name: (field.annotation, field)
        for name, field in BatchReturned.model_fields.items()
        if name != "reason"
    }
    made: Any = create_model("BatchReturned", __base__=Event, **kept)  # type: ignore[call-overload]
    made.TYPE, made.STREAM = "BatchReturned", "run"
    return made


def test_every_message_of_this_release_is_frozen() -> None:
    assert set(KNOWN) <= set(frozen())
