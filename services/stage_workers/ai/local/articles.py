"""Writes a draft that can be read: about method, and without a single fact about the topic.

No language model is asked. What stands in a section follows from its heading, the keywords and the
intent; which of the possible sentences, from a digest of the title and the heading, so that two
drafts differ and the same question always has the same answer.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from events.content import Intent
from events.ids import fold
from services.stage_workers.ai.local.casing import tidy, title_case
from services.stage_workers.ai.local.headings import answers_of, kind_of
from services.stage_workers.ai.local.names import content_words
from services.stage_workers.ai.local.nouns import quoted, said, topic_of
from services.stage_workers.ai.local.pen import Names, Pen, listed
from services.stage_workers.ai.local.stock import (
    ALSO,
    CLOSINGS,
    INTRODUCTIONS,
    LISTED,
    RELATED,
    REMINDED,
    REMINDERS,
    SCOPES,
    SEARCHED,
    SECOND_ANSWERS,
    SPARE_QUESTIONS,
    STANCES,
    STOCK,
    Kind,
)
from services.stage_workers.ai.local.titles import (
    heading_of,
    is_question,
    lead_of_title,
    question_of,
    shorten,
)
from services.stage_workers.ai.model import Article, WriteArticle

META_TITLE = 60  # characters, the contract's limit
META_TITLE_LEAST = 15
META_DESCRIPTION = 155
META_DESCRIPTION_LEAST = 50
LINKS = 5
QUESTIONS = (3, 5)  # frequent ones, at least and at most
SENTENCES = 34  # in all sections together; that makes about 800 words
SECTION = (4, 8)  # sentences of one, at least and at most
SHORT = 80  # characters of an answer that a third sentence follows
LIST_FROM = 6  # sentences of a section that ends in a list
FAQ = "Frequently Asked Questions"
LINKED = ("Related Articles", "More to Read", "See Also")

PROMISES: dict[Intent, tuple[str, ...]] = {
    "informational": (
        "A clear guide with answers to common questions.",
        "What to know, what to check and where to start.",
        "Plain steps and honest answers to what people ask.",
    ),
    "commercial": (
        "What to compare before you choose.",
        "The criteria that decide, and the questions to ask.",
        "How to narrow the options down, step by step.",
    ),
    "transactional": (
        "What to check before you commit.",
        "The questions to ask before you go ahead.",
        "What to have in writing before you act.",
    ),
    "navigational": (
        "The steps, and what to do when they fail.",
        "How to get there, and how to stay safe.",
    ),
}
NOTED = re.compile(
    r"\b(?:about|on|mention|cover|explain|include|describe)\s+(?:the\s+)?([^.,;:!?\n\"“”]{3,60})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A section to be written: its heading and kind, what it is about, what else it takes up."""

    heading: str
    kind: Kind
    name: str
    keywords: tuple[str, ...] = ()


def write(question: WriteArticle) -> Article:
    """Return a Markdown body that has every target keyword as it is searched for, and both metas.

    A draft that is written anew has other sentences, and a section on what the note asks for.
    """
    keywords = tuple(dict.fromkeys(" ".join(text.split()) for text in question.target_keywords))
    again = f"{question.previous}|{question.note}" if question.note else ""
    pen = Pen(f"{question.title}|{again}", question.brief.banned_words)
    *parts, last = parts_of(question, keywords)
    length = min(max(-(-SENTENCES // max(len(parts), 1)), SECTION[0]), SECTION[1])
    topic = topic_of(keywords)
    blocks = _introduction(question, keywords, parts, pen)
    for part in parts:
        blocks += [f"## {part.heading}", *_section(part, length, topic, pen)]
    blocks += [f"## {_faq_heading(question)}", *_questions(question, keywords, topic, blocks, pen)]
    blocks += [f"## {last.heading}", *_closing(question, last, topic, pen), *_links(question, pen)]
    return Article(
        body="\n\n".join(blocks) + "\n",
        meta_title=meta_title_of(question.title),
        meta_description=meta_description_of(question, pen),
    )


def parts_of(question: WriteArticle, keywords: Sequence[str]) -> list[Part]:
    """Return the outline's sections but for the frequent questions; the last one closes."""
    outline = [text for text in question.outline if not _is_faq(text)]
    outline = outline if len(outline) > 1 else ["At a Glance", "In Practice", *outline][:2]
    placed = placements(keywords, outline)
    main = keywords[0] if keywords else lead_of_title(question.title).lower()
    parts = []
    for heading in outline:
        own = tuple(keyword for keyword in keywords if placed.get(keyword) == heading)
        exact = next((text for text in own if fold(heading_of(text)) == fold(heading)), None)
        subject = exact or next(iter(own), main)
        others = tuple(text for text in own if text != subject)
        parts.append(Part(heading, kind_of(heading, exact, main), said(subject), others))
    if wanted := noted(question.note):
        parts.insert(-1, Part(title_case(f"more on {wanted}"), "understand", wanted))
    return parts


def placements(keywords: Sequence[str], outline: Sequence[str]) -> dict[str, str]:
    """Return for each keyword the heading that shares most with it; the first opens the article.

    What shares nothing with any heading is left out: it is asked among the frequent questions.
    """
    found = {}
    for at, keyword in enumerate(keywords):
        words = content_words(heading_of(keyword)) | content_words(keyword)
        shares = {heading: _share(words, content_words(heading)) for heading in outline[:-1]}
        best = max(shares, key=lambda heading: shares[heading], default=None)
        if at == 0 and outline:
            found[keyword] = outline[0]
        elif best is not None and shares[best] > 0 and not is_question(keyword):
            found[keyword] = best
    return found


def noted(note: str) -> str:
    """Return what a reviewer's note asks to be told about, or nothing where no rule finds it."""
    match = NOTED.search(note) if note and "\n- " not in note else None
    words = match[1].split()[:6] if match else []
    return shorten(" ".join(words), META_TITLE)


def meta_title_of(title: str) -> str:
    """Return 15 to 60 characters: the title, its part before the colon, or its first words."""
    text = title if len(title) <= META_TITLE else shorten(lead_of_title(title), META_TITLE)
    if len(text) >= META_TITLE_LEAST:
        return text
    return f"{text}{'' if text.endswith('?') else ':'} A Practical Guide"


def meta_description_of(question: WriteArticle, pen: Pen) -> str:
    """Return 50 to 155 characters: the title's lead, a promise, and headings that fit."""
    lead = shorten(lead_of_title(question.title), 90)
    promises = pen.pick(PROMISES[question.intent], "meta", 2)
    start = f"{lead}{'' if lead.endswith(('?', '!', '.')) else '.'} {' '.join(promises[:1])}"
    chosen: list[str] = []
    for heading in question.outline[1:-1]:
        if _is_faq(heading) or heading.endswith("?"):
            continue
        if len(_covering(start, [*chosen, heading])) <= META_DESCRIPTION:
            chosen.append(heading)
    text = _covering(start, chosen)
    if len(text) < META_DESCRIPTION_LEAST:
        text = f"{text} {' '.join(promises[1:])}"
    return shorten(text, META_DESCRIPTION)


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _covering(start: str, headings: Sequence[str]) -> str:
    return f"{start} Covers: {'; '.join(headings)}." if headings else start


def _introduction(
    question: WriteArticle, keywords: Sequence[str], parts: Sequence[Part], pen: Pen
) -> list[str]:
    subject = said(keywords[0]) if keywords else "this topic"
    names = [f"“{part.heading}”" for part in parts[:4]]
    opening = pen.sentences(INTRODUCTIONS[question.intent], "introduction", 2, Names(subject, "it"))
    scope = pen.pick(SCOPES, "scope", 1)
    stance = pen.pick(STANCES, "stance", 2)
    first = [*opening, *(line.format(parts=listed(names)) for line in scope)]
    return [" ".join(first), *([" ".join(stance)] if stance else [])]


def _section(part: Part, length: int, topic: str, pen: Pen) -> list[str]:
    """Return one or two paragraphs, and a list where there is room for one."""
    stock, where = STOCK[part.kind], part.heading
    names = Names(part.name, "it", "the value" if part.kind == "measure" else topic, "this")
    points = pen.sentences(stock.points, where, 1 + (length >= LIST_FROM), names)
    if part.keywords:
        others = listed([said(keyword) for keyword in part.keywords])
        points += [line.format(others=others) for line in pen.pick(ALSO, where, 1)]
    tasks = pen.orders(stock.actions, where, max(length - len(points), 2), names)
    if length < LIST_FROM:
        return [" ".join([*points, *tasks])]
    items, after = tasks[-3:], tasks[:-3]
    listing = [*pen.pick(LISTED, where, 1), "\n".join(f"- {item}" for item in items)]
    return [" ".join(points + after), *listing]


def _questions(
    question: WriteArticle,
    keywords: Sequence[str],
    topic: str,
    blocks: Sequence[str],
    pen: Pen,
) -> list[str]:
    """Return questions with their answers, after all wordings that have no place elsewhere."""
    asked = frequent(question, keywords, topic, pen)
    answered = []
    for text, keyword in asked.items():
        first = pen.sentences(answers_of(text, keyword), text, 1, Names("it"))
        more = pen.pick(SECOND_ANSWERS, text, 1 + (len(" ".join(first)) < SHORT))
        answered += [f"### {text}", " ".join([*first, *more])]
    text = fold(" ".join([*blocks, *answered]))
    missing = [quoted(keyword) for keyword in keywords if fold(keyword) not in text]
    if not missing:
        return answered
    lines = pen.pick(SEARCHED, "searches", 1) or ("{literal}.",)
    return [lines[0].format(literal=listed(missing)), *answered]


def frequent(
    question: WriteArticle, keywords: Sequence[str], topic: str, pen: Pen
) -> dict[str, str]:
    """Return three to five questions, or all that searchers ask, each with its keyword or ""."""
    least, most = QUESTIONS
    own = [keyword for keyword in keywords if is_question(keyword)]
    others = [keyword for keyword in keywords if not is_question(keyword)]
    headings = {fold(heading).rstrip("?") for heading in question.outline}
    asked = {question_of(keyword): keyword for keyword in [*own, *others]}
    asked = {text: keyword for text, keyword in asked.items() if _is_new(text, headings)}
    spare = pen.pick(SPARE_QUESTIONS, "questions", max(least - len(asked), 0))
    kept = dict(list(asked.items())[: max(most, len(own))])
    return kept | {tidy(text.format(x=topic)): "" for text in spare}


def _is_new(text: str, headings: Set[str]) -> bool:
    return fold(text).rstrip("?") not in headings


def _closing(question: WriteArticle, part: Part, topic: str, pen: Pen) -> list[str]:
    names = Names(part.name, "it", topic)
    text = pen.sentences(CLOSINGS[question.intent], "closing", 2, names)
    text += pen.sentences(STOCK["overview"].points, "closing", 1, names)
    reminders = "\n".join(f"- {line}" for line in pen.pick(REMINDERS, "closing", 4))
    lead = pen.pick(REMINDED, "closing", 1)
    return [" ".join(text), *lead, reminders]


def _links(question: WriteArticle, pen: Pen) -> Iterator[str]:
    words, own = content_words(question.title), fold(question.title)
    others = {link.path: link for link in question.related if fold(link.title) != own}
    near = sorted(others.values(), key=lambda link: -len(words & content_words(link.title)))
    if not near:
        return
    yield f"## {(pen.pick(LINKED, 'links', 1) or LINKED)[0]}"
    yield from pen.pick(RELATED, "links", 1)
    yield "\n".join(f"- [{_escaped(link.title)}]({link.path})" for link in near[:LINKS])


def _escaped(title: str) -> str:
    return re.sub(r"([\[\]\\])", r"\\\1", title)


def _faq_heading(question: WriteArticle) -> str:
    return next((heading for heading in question.outline if _is_faq(heading)), FAQ)


def _is_faq(heading: str) -> bool:
    return "frequently asked" in heading.lower()
