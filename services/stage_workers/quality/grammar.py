"""What a grammar checker has to say about English text: hints for the reviewer, no verdict."""

from collections.abc import Callable
from dataclasses import dataclass

from events.brief import is_english
from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import counted, folded, named, units

PER_THOUSAND = 10  # hints in a thousand words


@dataclass(frozen=True, slots=True)
class Hint:
    """What stands there, and what the checker says of it."""

    text: str
    message: str


class Unchecked(Exception):
    """The checker is not there, or has failed; the sentence says why."""


Check = Callable[[str], tuple[Hint, ...]]
"""Returns the hints about plain English text. Raises Unchecked."""


def nobody(text: str) -> tuple[Hint, ...]:  # noqa: ARG001
    """Stand for a checker that is not there. Raises Unchecked."""
    raise Unchecked("no checker was asked")


def grammar(document: Document, language: str, check: Check) -> Measure:
    """Count the hints about paragraphs and list items; it is always advisory.

    The same hint about the same words counts once: most often they are a name.
    """
    if not is_english(language):
        return _untold(f"the checker is for English, and this is {language}")
    prose = [block.text for block in document.text if block.kind in ("prose", "item")]
    words = sum(len(units(text)) for text in prose)
    if not words:
        return _untold("there is no text")
    try:
        found = check("\n\n".join(prose))
    except Unchecked as error:
        return _untold(str(error))
    hints = {(folded(hint.text), folded(hint.message)): hint for hint in found}.values()
    told = named([f"{hint.text}: {hint.message}" for hint in hints], most=3, length=120)
    return Measure(
        name="grammar",
        value=len(hints),
        passed=len(hints) * 1000 <= PER_THOUSAND * words,
        advisory=True,
        detail=(
            f"The checker has {counted(len(hints), 'hint')}{f': {told}' if hints else ''}; up to"
            f" {PER_THOUSAND} in 1,000 words are fine."
        ),
    )


def _untold(why: str) -> Measure:
    detail = f"It was not checked: {why}."
    return Measure(name="grammar", value=None, passed=True, advisory=True, detail=detail)
