"""What was measured of a draft before a person reviews it, and whether that is good enough."""

from events.message import Value


class Measure(Value):
    """One measure; `detail` is a sentence with what was found and what the limit is.

    `value` is none where a measure was not taken, as in a language that its rule is not for. An
    `advisory` one is for the reviewer to know: it fails no draft.
    """

    name: str
    value: float | int | None
    passed: bool
    advisory: bool = False
    detail: str


class Quality(Value):
    """What came of all measures; it `passed` when every one did that is not advisory.

    `rewritten`: it was written a second time with what was found, and is the better of both.
    """

    passed: bool
    rewritten: bool
    measures: tuple[Measure, ...]

    @property
    def failed(self) -> tuple[Measure, ...]:
        """The measures for which it did not pass."""
        return tuple(one for one in self.measures if not one.passed and not one.advisory)
