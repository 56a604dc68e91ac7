"""How easy English text is to read, by the Flesch reading ease."""

import re

from events.brief import is_english
from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import folded, sentences, units

EASIEST = 30.0  # below it Flesch calls a text very difficult: for readers with a degree
SAMPLE = 100  # words, the size of the samples that the formula was made from
VOWELS = re.compile(r"[aeiouy]+")
# The endings -e, -es and -ed are silent, but in words like table, boxes, watches and wanted.
SILENT = re.compile(r"[^aeiouy]e$|(?:[^aeiouysxzcgh]|[^cs]h)es$|[^aeiouydt]ed$")
SOUNDED = re.compile(r"[^aeiouyl]l(?:e|es|ed)$")


def readability(document: Document, language: str) -> Measure:
    """Measure prose and list items: headings and cells are no sentences."""
    if not is_english(language):
        return _untold(f"It was not measured: the formula is for English, and this is {language}.")
    told = [
        sentence
        for block in document.text
        if block.kind != "cell"
        for sentence in sentences(block.text)
    ]
    words = [word for sentence in told for word in units(folded(sentence)) if word.isascii()]
    if len(words) < SAMPLE:
        return _untold(f"It was not measured: that takes {SAMPLE} words of text.")
    value = round(reading_ease(len(told), words), 1)
    return Measure(
        name="readability",
        value=value,
        passed=value >= EASIEST,
        detail=(
            f"Its Flesch reading ease is {value:g}; at least {EASIEST:g} is expected. Shorter"
            " sentences and shorter words raise it."
        ),
    )


def _untold(why: str) -> Measure:
    return Measure(name="readability", value=None, passed=True, detail=why)


def reading_ease(sentence_count: int, words: list[str]) -> float:
    """Return 206.835 - 1.015 words per sentence - 84.6 syllables per word.

    Source: R. Flesch, A New Readability Yardstick, Journal of Applied Psychology 32 (1948). 60 to
    70 is plain English, 100 very easy; there is no lowest value.
    """
    syllable_count = sum(map(syllables, words))
    per_sentence, per_word = len(words) / sentence_count, syllable_count / len(words)
    return 206.835 - 1.015 * per_sentence - 84.6 * per_word


def syllables(word: str) -> int:
    """Return the syllables of a folded English word: its groups of vowels that are heard."""
    is_silent = SILENT.search(word) is not None and SOUNDED.search(word) is None
    return max(len(VOWELS.findall(word)) - is_silent, 1)
