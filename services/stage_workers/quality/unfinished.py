"""Is it a text, or what a template or a model has left of one?"""

import re
from collections import Counter

from events.brief import is_english, language_of
from events.quality import Measure
from services.stage_workers.quality.markdown import Document
from services.stage_workers.quality.words import bare, counted, named, sentences, units
from services.stage_workers.quality.written import Written

PLACEHOLDERS = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}|\$\{\w+\}"
    r"|[\[<]\s*(?:(?:insert|add|enter|describe|mention)\s+(?:a|an|the|your|more|here|\w+ here)"
    r"|insert\s+\w+|your\s|placeholder|todo|tbd|company name|brand name|name of|link to)"
    r"\b[^\]>]*[\]>]"
    r"|\blorem ipsum\b",
    re.IGNORECASE,
)
# What writers leave in a text for later, in capitals only. In Spanish "todo" is a word, so in
# all languages but English it takes a mark behind it.
MARKS = re.compile(r"\bTODO(?=\s*[:(\[\]])|\b(?:TBD|FIXME)\b")
MARKS_IN_ENGLISH = re.compile(r"\b(?:TODO|TBD|TBC|FIXME)\b")
ABOUT_ITSELF = re.compile(
    r"\bas an ai (?:language model|model|assistant|chatbot)\b|\bas an ai, i\b"
    r"|\bas a (?:large )?language model,? i\b"
    r"|\bi(?: am|'m) sorry, but i can(?:not|'t)\b"
    r"|\bi can(?:not|'t) (?:fulfill|assist with|comply with) (?:this|that|your)\b"
    r"|\bmy (?:knowledge cutoff|last knowledge update)\b"
)
# What models say before and after what was asked for; in the middle it may be the author's.
AROUND = re.compile(
    r"\b(?:here is|here's|below is) (?:the|your|my|a (?:revised|rewritten)) (?:\w+ ){0,3}?"
    r"(?:article|blog post|draft|rewrite|version|section)\b"
    r"|^(?:sure|certainly|of course|absolutely)[!,.] (?:here|below|i )"
    r"|\blet me know if you(?:'d| would)? (?:like|need|want)\b"
    r"|\bi hope this (?:article|draft|version|rewrite)\b"
)
CHECKBOX = re.compile(r"^\[[ xX]\](?: |$)")
CLOSING = "\"'”’»)]」』）*_"  # noqa: RUF001
NO_STOPS = frozenset({"th", "lo"})  # their sentences end without a mark
ENDS = ".!?…。！？｡।॥။។؟۔;"  # noqa: RUF001
LONG = 6  # words of a sentence that nobody repeats by chance
LONG_PARAGRAPH = 12
REPEATED = 1


def unfinished(document: Document, written: Written, language: str) -> Measure:
    """Find placeholders, marks for later, words of a model about itself, and a cut-off end."""
    said = [section.heading for section in document.headings]
    said += [block.said for block in document.text]
    metas = (written.title, written.meta_title, written.meta_description)
    found = [one for text in (*said, *metas) for one in left_over(text, language)]
    found += [hit.group() for text in said for hit in ABOUT_ITSELF.finditer(_spoken(text))]
    found += [hit.group() for text in _edges(document) for hit in AROUND.finditer(_spoken(text))]
    boxes = [block.said for block in document.text if CHECKBOX.match(block.said)]
    problems = []
    if found:
        problems.append(f"It has text that is to be replaced or left out: {named(_once(found))}")
    if boxes:
        problems.append(f"It has boxes to tick: {named(boxes)}")
    if is_one_fence(document):
        problems.append("The whole text is set as code")
    end = cut_off(document, language)
    if end:
        problems.append(f"The last sentence is cut off: “{end}”")
    return Measure(
        name="unfinished",
        value=len(found) + len(boxes) + is_one_fence(document) + bool(end),
        passed=not problems,
        detail=f"{'. '.join(problems) or 'Nothing in it is unfinished or from a template'}.",
    )


def left_over(text: str, language: str) -> list[str]:
    """Return the placeholders of a template in a text, and its author's marks for later."""
    marks = MARKS_IN_ENGLISH if is_english(language) else MARKS
    return [hit.group() for pattern in (PLACEHOLDERS, marks) for hit in pattern.finditer(text)]


def _edges(document: Document) -> list[str]:
    blocks = [block.said for block in document.text]
    return [*blocks[:1], *blocks[1:][-1:]]


def _spoken(text: str) -> str:
    return " ".join(text.casefold().replace("\u2019", "'").split())


def _once(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def is_one_fence(document: Document) -> bool:
    """Tell whether the body is a single block of code, as some models hand over Markdown."""
    return [block.kind for block in document.blocks] == ["code"] and not document.headings


def cut_off(document: Document, language: str) -> str:
    """Return the end of the last paragraph when it ends in the middle of a sentence, or nothing.

    A list or a table may end without a mark, and so does every sentence of some languages.
    """
    blocks = document.blocks
    if not blocks or blocks[-1].kind != "prose" or language_of(language) in NO_STOPS:
        return ""
    text = blocks[-1].text
    return "" if text.rstrip(CLOSING).endswith(tuple(ENDS)) else text[-40:]


def repetition(document: Document) -> Measure:
    """Count sentences that stand there already, which a model that runs in circles makes."""
    prose = [block for block in document.text if block.kind != "cell"]
    again = Counter(_folded(one, LONG) for block in prose for one in sentences(block.text))
    whole = Counter(_folded(block.text, LONG_PARAGRAPH) for block in prose)
    repeats = {text: count - 1 for text, count in again.items() if text and count > 1}
    paragraphs = [text for text, count in whole.items() if text and count > 1]
    value = sum(repeats.values())
    told = f": {named(list(repeats))}" if repeats else ""
    return Measure(
        name="repetition",
        value=value,
        passed=value <= REPEATED and not paragraphs,
        detail=(
            f"It repeats {counted(value, 'sentence')} and {counted(len(paragraphs), 'paragraph')}"
            f"{told}; at most {counted(REPEATED, 'sentence')} and no paragraph is expected."
        ),
    )


def _folded(text: str, least: int) -> str:
    said = units(bare(text))
    return " ".join(said) if len(said) >= least else ""
