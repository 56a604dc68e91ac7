"""Stands for the grammar checker, in its own process: what a text says is what it does."""

import os
import time
from dataclasses import dataclass


@dataclass
class Lint:
    """A finding, as the real one has it."""

    problem_text: str
    message: str
    lint_kind: str


class Linter:
    """Crashes, hangs, raises, or finds something of two kinds."""

    def lint(self, text: str, language: str) -> list[Lint]:
        assert language == "plaintext"
        match text:
            case "crash":
                os._exit(11)
            case "hang":
                time.sleep(3600)
            case "raise":
                raise RuntimeError(text)
        return [Lint(text, "a", "Grammar"), Lint(text, "b", "Spelling")]
