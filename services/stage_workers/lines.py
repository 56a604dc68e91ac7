"""What a model answers, as a line that a page can show: no marks, no labels, not too long."""

import re
import unicodedata
from collections.abc import Container, Iterable
from itertools import chain, count

from events.brief import is_english
from services.stage_workers.ai.local.casing import title_case

READ = 2_000  # characters of an answer that are looked at where a line is asked for
JOINERS = "\u200c\u200d"  # invisible, and some scripts and emoji cannot be written without them
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")

LIST_MARK = re.compile(r"^(?:[#>]+\s+|[-*+\u2022\u2013]\s+|\(?\d{1,2}[.)]\s+)")
LABEL = re.compile(
    r"^(?:(?:article|blog|cluster|topic|meta) )?(?:title|headline|heading|name|idea|cluster|topic"
    r"|section|h[1-6])(?:\s+\d{1,2})?\s*:\s+",
    re.IGNORECASE,
)
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
STRONG = re.compile(r"(\*\*|__|~~|`)(?=\S)(.+?)(?<=\S)\1")
EMPHASIS = re.compile(r"(?<![\w*_])([*_])(?=[^\s*_])(.+?)(?<=[^\s*_])\1(?![\w*_])")
TAG = re.compile(r"</?(?:b|i|u|em|strong|span|p|br|h[1-6])\s*/?>", re.IGNORECASE)
LEFT_OVER = re.compile(r"^(?:\*\*|__|`)+|(?:\*\*|__|`)+$")
QUOTES = tuple(
    (pair[0], pair[1]) for pair in ('""', "''", "“”", "\u2018\u2019", "«»", "„“", "「」", "《》")
)
BETWEEN = ",;:\u2013\u2014"  # what joins parts, and ends nothing
ABBREVIATION = re.compile(r"\b(?:\w\.){2,}$")

SHOUTED = 6  # letters of a word that is no acronym
WORDS_SHOUTED = 3  # so many words in capitals are not all acronyms


def line(text: str) -> str:
    """Return the text in one line of single spaces, without what nobody sees.

    NUL and halves of surrogate pairs go too, which neither tables nor UTF-8 take.
    """
    return " ".join("".join(_seen(char) for char in text[:READ]).split())


def cut(text: str, most: int) -> str:
    """Return the text, cut at a word where it is longer."""
    if len(text) <= most:
        return text
    return text[: most + 1].rpartition(" ")[0].rstrip() or text[:most]


def title_of(text: str, most: int, language: str = "en") -> str:
    """Return the text as a title of at most so many characters; empty when it has no letter.

    Marks of Markdown, list numbers, labels such as "Title:", quotes around it and a full stop at
    its end are removed. English in capitals or lower case alone gets title case.
    """
    said, before = line(text), ""
    while said != before:
        before, said = said, _ended(cut(cased(_shorter(said), language), most))
    return said if any(map(str.isalnum, said)) else ""


def cased(text: str, language: str = "en") -> str:
    """Return English that is all lower case or shouted in title case, and all else as it is."""
    if not is_english(language) or text.lower() == text.upper():
        return text
    words = text.split()
    is_loud = len(words) >= WORDS_SHOUTED or any(len(word) >= SHOUTED for word in words)
    if text == text.lower() or (text == text.upper() and is_loud):
        return title_case(text.lower())
    return text


def key_of(text: str) -> str:
    """Return what makes two titles the same: letters and digits, whatever case and marks."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", plain)) or " ".join(plain.split())


def first_of_each(texts: Iterable[str]) -> list[str]:
    """Return the texts that are not empty, the same one once."""
    found: dict[str, str] = {}
    for text in texts:
        if text:
            found.setdefault(key_of(text), text)
    return list(found.values())


def apart(text: str, hints: Iterable[str], used: Container[str], most: int) -> str:
    """Return the text, or with a hint or a number after it, as the first that is not used.

    `used` are keys as of `key_of`. The hints are tried in their order.
    """
    longer = (f"{text}: {title_of(hint, most)}" for hint in hints if key_of(hint) != key_of(text))
    numbered = (f"{cut(text, most - 8)} ({number})" for number in count(2))
    short = (one for one in longer if len(one) <= most)
    return next(one for one in chain([text], short, numbered) if key_of(one) not in used)


def _seen(char: str) -> str:
    if char.isspace():
        return " "
    is_unseen = char == "\ufffd" or unicodedata.category(char) in UNSEEN
    return "" if is_unseen and char not in JOINERS else char


def _shorter(text: str) -> str:
    """Take one layer of marks off."""
    text = TAG.sub(" ", text)
    text = LINK.sub(r"\1", text)
    text = EMPHASIS.sub(r"\2", STRONG.sub(r"\2", text))
    text = LABEL.sub("", LIST_MARK.sub("", LEFT_OVER.sub("", text).strip()))
    for first, last in QUOTES:
        inner = text[1:-1]
        if text[:1] == first and text[-1:] == last and first not in inner and last not in inner:
            text = inner
    return _ended(" ".join(text.split()))


def _ended(text: str) -> str:
    text = text.lstrip(f" {BETWEEN}").rstrip(f" -{BETWEEN}")
    return text if ABBREVIATION.search(text) else text.rstrip(f" .…-{BETWEEN}")
