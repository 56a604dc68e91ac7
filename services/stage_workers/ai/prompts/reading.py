"""Reads a prompt's file and fills it in, so that nobody's data can pass for an instruction."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

FOLDER = Path(__file__).parent
FILE = re.compile(r"(?P<name>[a-z_]+)\.v(?P<version>\d+)\.md")
PARTS = "\n---\n"  # between what the model is and what it is asked
MARK = re.compile(r"<(?=\s*/?\s*[a-z])", re.IGNORECASE)  # would open or close a part of the prompt


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt as it is sent; `name` is its name and version: `name_clusters@1`."""

    name: str
    role: str
    task: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt: the model's role, and its task with $places for data."""

    name: str
    role: Template
    task: Template

    def filled(self, **values: str) -> Filled:
        """Return it with the values in their places. A value cannot open a place or a tag itself.

        Raises KeyError when a place has no value.
        """
        shown = {name: as_data(value) for name, value in values.items()}
        return Filled(self.name, self.role.substitute(shown), self.task.substitute(shown))


def as_data(text: str) -> str:
    """Return the text with what looks like a tag defused, and without control characters."""
    kept = "".join(char for char in text if char in "\n\t" or char.isprintable())
    return MARK.sub("\u2039", kept).strip()


@cache
def prompt(name: str) -> Prompt:
    """Return the newest version of a prompt. Raises KeyError."""
    versions = {
        int(found["version"]): path
        for path in FOLDER.glob("*.md")
        if (found := FILE.fullmatch(path.name)) and found["name"] == name
    }
    if not versions:
        raise KeyError(name)
    newest = max(versions)
    role, _, task = versions[newest].read_text(encoding="utf-8").partition(PARTS)
    return Prompt(f"{name}@{newest}", Template(role.strip()), Template(task.strip()))
