"""Every promise names tests, and every test that is named exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NAMED = sorted(set(TEST.findall(TEXT)))
HEAD = re.compile(r"\| (What the outside may rely on|Promise|---) \|")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and not HEAD.match(line)]


@cache
def defined_in(path: str) -> frozenset[str]:
    """Return the names that a file of tests gives at its top level."""
    names = set[str]()
    for part in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        match part:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
    return frozenset(names)


@pytest.mark.parametrize(("path", "name"), NAMED, ids="::".join)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert name.startswith(("test_", "Test")), "pytest would not find it"
    assert (ROOT / path).is_file(), f"docs/promises.md names {path}, which is not there"
    assert name in defined_in(path), f"docs/promises.md names a test that {path} does not have"


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        says, *_, proof = (cell.strip() for cell in row.strip("|").split(" | "))
        assert says, row
        assert TEST.findall(proof), f"nothing proves: {says}"
        assert not TEST.sub("", proof).strip(" ,"), f"more than tests stands beside: {says}"


def test_all_nine_promises_are_there_and_can_be_seen_to_fail() -> None:
    promised, planted = TEXT.split("## Nine promises")[1].split("## How we know")
    for number in range(1, 10):
        assert f"\n| {number}. " in promised
        assert f"\n| {number} | " in planted


def test_every_promised_target_is_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {"demo", "test", "up", "test-kafka"} <= set(targets)
