"""Words and sentences of any language, folded so that they can be compared.

Scripts that put no space between words have no words here: each of their characters counts as one.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from events.brief import is_english, language_of

# Languages that are written without spaces between words, by BCP 47 primary subtag.
SPACELESS = frozenset({"zh", "yue", "wuu", "nan", "hak", "ja", "th", "lo", "km", "my"})
# First and last code points of their scripts: Thai and Lao, Myanmar, Khmer, kana, Han.
ALONE = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# Words of English that a phrase keeps its meaning without, and those that make it a question.
SMALL = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "in", "is")
).union(("of", "on", "or", "so", "that", "the", "this", "to", "with", "you", "your"))
ASKING = frozenset(("how", "what", "when", "where", "which", "who", "why", "can", "should"))
SHORT_FORMS = frozenset(
    ("e.g.", "i.e.", "etc.", "vs.", "dr.", "mr.", "mrs.", "ms.", "st.", "approx.", "ca.", "fig.")
)
ENDS = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？｡။។])[」』”）]*\s*")  # noqa: RUF001
MARKS = re.compile("[\u0300-\u036f]")  # the accents of Latin, Greek and Cyrillic letters
YEAR = re.compile(r"(19|20)\d\d")


def is_spaceless(tag: str) -> bool:
    """Tell whether the language is written without spaces, so that its characters are counted."""
    return language_of(tag) in SPACELESS


def folded(text: str) -> str:
    """Return the text without differences of case, width and apostrophe."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def bare(text: str) -> str:
    """Return the folded text, without accents too: people type keywords as they come."""
    apart = unicodedata.normalize("NFD", folded(text))
    return unicodedata.normalize("NFC", MARKS.sub("", apart))


@lru_cache(20_000)
def _kind(character: str) -> Literal["letter", "alone", "mark", "apostrophe", "gap"]:
    if unicodedata.category(character)[0] == "M":
        return "mark"
    if not character.isalnum() and character not in "\u3005\u30fc":
        return "apostrophe" if character in "'\u2019" else "gap"
    code = ord(character)
    return "alone" if any(first <= code <= last for first, last in ALONE) else "letter"


def units(text: str) -> list[str]:
    """Return the words, and of scripts without spaces the characters; marks are left out."""
    found: list[str] = []
    word = ""
    for character in text:
        match _kind(character):
            case "letter":
                word += character
            case "apostrophe" if word:
                word += character
            case "mark" if word:
                word += character
            case "mark" if found:
                found[-1] += character
            case kind:
                if word:
                    found.append(word.rstrip("'\u2019"))
                    word = ""
                if kind == "alone":
                    found.append(character)
    return [*found, word.rstrip("'\u2019")] if word else found


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph; a common short form with a full stop ends none."""
    made: list[str] = []
    start = ""
    for piece in ENDS.split(text):
        whole = f"{start} {piece}".strip()
        last = whole.rsplit(" ", 1)[-1].lower().lstrip("([\"'")
        if last in SHORT_FORMS:
            start = whole
        else:
            made.append(whole)
            start = ""
    return [sentence for sentence in [*made, start] if sentence]


def singular(word: str) -> str:
    """Return an English word without the ending of its plural or possessive."""
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004  # but ties, pies
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004
        return word[:-1]
    return word


def content_words(text: str, language: str) -> list[str]:
    """Return the words that carry meaning, in their order.

    In English small words and plurals make no difference. What has nothing but small words keeps
    them.
    """
    said = units(bare(text))
    if not is_english(language):
        return said
    return [singular(word) for word in said if word not in SMALL] or said


def phrase(text: str, language: str) -> list[str]:
    """Return the content words of a keyword or a text without those that ask a question."""
    said = content_words(text, language)
    if not is_english(language):
        return said
    return [word for word in said if word not in ASKING] or said


@lru_cache(20_000)  # of the site's other articles they are asked for again with every draft
def subject(text: str, language: str) -> frozenset[str]:
    """Return what a title or keyword is about: its content words, whatever the order and year."""
    said = frozenset(content_words(text, language))
    return frozenset(word for word in said if not YEAR.fullmatch(word)) or said


def holds(text: Sequence[str], wanted: Sequence[str]) -> bool:
    """Tell whether these words follow each other in the text."""
    sought, size = list(wanted), len(wanted)
    return size > 0 and any(
        word == sought[0] and list(text[at : at + size]) == sought for at, word in enumerate(text)
    )


def named(texts: Sequence[str], most: int = 5, length: int = 60) -> str:
    """Return texts in quotes as a sentence names them; of many only the first."""
    quoted = [f"“{text if len(text) <= length else text[: length - 1] + '…'}”" for text in texts]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def counted(number: int, noun: str) -> str:
    """Return how many there are, in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
