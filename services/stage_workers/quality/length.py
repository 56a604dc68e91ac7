"""Is it long enough to answer its title, and short enough to be read?"""

from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import counted, is_spaceless, units

# Under 300 words search engines and readers take a page for thin. A word is about 1.7 characters
# of Chinese, and about 2 of Japanese.
WORDS = (300, 5_000)
CHARACTERS = (500, 10_000)


def length(document: Document, language: str) -> Measure:
    """Count words, or characters in a language without spaces; code is not counted."""
    value = sum(len(units(text)) for text in document.passages)
    is_counted = is_spaceless(language)
    low, high = CHARACTERS if is_counted else WORDS
    noun = "character" if is_counted else "word"
    return Measure(
        name="length",
        value=value,
        passed=low <= value <= high,
        detail=f"It has {counted(value, noun)}; between {low:,} and {high:,} are expected.",
    )
