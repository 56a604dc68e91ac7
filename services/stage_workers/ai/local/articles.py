"""Writes a draft as a scaffold for an editor: structure, questions and checklists, and no facts."""

import hashlib
import re
from collections.abc import Sequence

from events.content import Intent
from services.stage_workers.ai.local.names import content_words, plain
from services.stage_workers.ai.local.titles import (
    heading_of,
    is_question,
    lead_of_title,
    question_of,
    shorten,
)
from services.stage_workers.ai.model import Article, WriteArticle

META_TITLE = 60  # characters, the contract's limit
META_DESCRIPTION = 155
RELATED = 5
FEWEST_QUESTIONS = 3  # in the section of frequent questions, the title's own aside

NOTE = (
    "> **Draft scaffold, not an article.** It was made without a language model and says nothing"
    " about the topic itself. The editor adds the facts and their sources, first-hand experience,"
    " examples and pictures, answers the questions, and then deletes this note and every"
    " instruction."
)
AIMS: dict[Intent, str] = {
    "informational": "wants to understand the topic and to act on it",
    "commercial": "is comparing options and wants to choose with confidence",
    "transactional": "is ready to act and wants no surprises",
    "navigational": "wants to reach one place and may be stuck on the way",
}
PROMISES: dict[Intent, str] = {
    "informational": "A clear guide with answers to common questions.",
    "commercial": "What to compare before you choose.",
    "transactional": "What to check before you commit.",
    "navigational": "The steps, and what to do when they fail.",
}
BRIEFS = (
    "Open with the answer in one or two sentences, then give the reasons. Name a source for every"
    " figure.",
    "Explain this part in the reader's own words, with one example from real use. Keep each"
    " paragraph to one thought.",
    "Start from what the reader already knows, then add what is new. Define each term where it"
    " first appears.",
    "Write what an expert would say across a table: short, concrete and with the exceptions. Add a"
    " picture if it saves a paragraph.",
)
STEPS = (
    "Give the steps as a numbered list, one action each, in the order in which they are done. Say"
    " how the reader sees that a step has worked."
)
SIDES = (
    "Treat both sides by the same criteria and in the same order. End with who is better served by"
    " which, and why."
)
SUMMARY = "Sum up in three to five short points, and name the one next step. Add nothing new here."
PROBES = (
    "What does a reader most often get wrong here?",
    "Which example makes this clear at once?",
    "Which figure matters, and who published it?",
    "What changes for a beginner?",
    "When does the usual advice not apply?",
    "What should a reader do next?",
)
FINAL_CHECKS = (
    "Every statement of fact has a source, and the source is linked.",
    "The introduction answers the title within the first hundred words.",
    "Each heading is followed by finished text instead of instructions.",
    "Pictures have alt texts, and the meta description matches the text.",
)


def write(question: WriteArticle) -> Article:
    """Return a Markdown body that has every target keyword as a phrase, and both metas."""
    keywords = tuple(dict.fromkeys(" ".join(text.split()) for text in question.target_keywords))
    placed = placements(keywords, question.outline)
    blocks = [NOTE, *_introduction(question, keywords)]
    turn = _digest(question.title)  # so that articles do not all start with the same brief
    for at, heading in enumerate(question.outline):
        blocks.append(f"## {heading}")
        if _is_faq(heading):
            blocks += _faq(keywords, question)
            continue
        own = [keyword for keyword in keywords if placed.get(keyword) == heading]
        if at == len(question.outline) - 1:
            blocks += [SUMMARY, *_keyword_line(own)]
            continue
        blocks += _section(heading, own, turn + at)
        if at == 0 and question.intent == "commercial":
            blocks += _comparison(keywords)
    blocks += _see_also(question) + _checklists(keywords, placed)
    return Article(
        body="\n\n".join(blocks) + "\n",
        meta_title=meta_title_of(question.title),
        meta_description=meta_description_of(question.title, question.intent, question.outline),
    )


def placements(keywords: Sequence[str], outline: Sequence[str]) -> dict[str, str]:
    """Return for each keyword the heading that shares most with it; the first opens the article.

    Questions, and what shares nothing with any heading, go to the frequent questions.
    """
    faq = next((heading for heading in outline if _is_faq(heading)), None)
    text = [heading for heading in outline if not _is_faq(heading)]
    found = {}
    for at, keyword in enumerate(keywords):
        said = content_words(heading_of(keyword)) | content_words(keyword)
        shares = {heading: _share(said, content_words(heading)) for heading in text}
        best = max(text, key=lambda heading: shares[heading], default=None)
        if at == 0 and text:
            found[keyword] = text[0]
        elif faq and (is_question(keyword) or best is None or shares[best] == 0):
            found[keyword] = faq
        elif best is not None:
            found[keyword] = best
    return found


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


def meta_title_of(title: str) -> str:
    """Return at most 60 characters: the title, its part before the colon, or its first words."""
    lead = lead_of_title(title)
    return title if len(title) <= META_TITLE else shorten(lead, META_TITLE)


def meta_description_of(title: str, intent: Intent, outline: Sequence[str]) -> str:
    """Return at most 155 characters: the title's lead, what is promised, and headings that fit."""
    lead = shorten(lead_of_title(title), 90)
    start = f"{lead}{'' if lead.endswith(('?', '!', '.')) else '.'} {PROMISES[intent]}"
    chosen: list[str] = []
    for heading in outline[1:-1]:
        if _is_faq(heading) or heading.endswith("?"):
            continue
        if len(_covering(start, [*chosen, heading])) <= META_DESCRIPTION:
            chosen.append(heading)
    return shorten(_covering(start, chosen), META_DESCRIPTION)


def _covering(start: str, headings: Sequence[str]) -> str:
    if not headings:
        return start
    *most, last = headings
    return f"{start} Covers: {'; '.join([*most, last])}."


def _introduction(question: WriteArticle, keywords: Sequence[str]) -> list[str]:
    aim = f"**Reader:** someone who {AIMS[question.intent]}."
    main = f"**Main keyword:** {keywords[0]}" if keywords else ""
    brief = (
        "**Introduction:** in three or four sentences, say what the reader will be able to do"
        " afterwards, answer the title in short, and show why this site can be trusted on it."
    )
    return [block for block in (aim, main, brief) if block]


def _section(heading: str, keywords: Sequence[str], turn: int) -> list[str]:
    probes = [PROBES[turn % len(PROBES)], PROBES[(turn + 2) % len(PROBES)]]
    asked = list(dict.fromkeys(question_of(keyword) for keyword in keywords[:3]))
    questions = "\n".join(f"- {text}" for text in [*asked, *probes])
    brief = _brief(heading, turn)
    return [brief, *_keyword_line(keywords), "### Questions to Answer", questions]


def _keyword_line(keywords: Sequence[str]) -> list[str]:
    return [f"**Keywords for this section:** {'; '.join(keywords)}"] if keywords else []


def _brief(heading: str, turn: int) -> str:
    words = heading.lower()
    if " vs. " in words or "difference" in words or "side by side" in words:
        return SIDES
    if words.startswith("how to ") or "step" in words:
        return STEPS
    return BRIEFS[turn % len(BRIEFS)]


def _comparison(keywords: Sequence[str]) -> list[str]:
    sides = next((_sides(plain(text)) for text in keywords if " vs" in plain(text)), [])
    options = sides or ["Option A", "Option B", "Option C"]
    head = "| Option | Price | Strengths | Drawbacks | Best for | Source |"
    rows = [f"| {option} | | | | | |" for option in options]
    return [
        "### Comparison Table",
        "Fill one row for each option, from the makers' pages and from tests. Remove a column that"
        " tells nothing apart.",
        "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows]),
    ]


def _sides(keyword: str) -> list[str]:
    return [heading_of(side) for side in re.split(r" (?:vs\.?|versus) ", keyword) if side]


def _faq(keywords: Sequence[str], question: WriteArticle) -> list[str]:
    own = [question_of(keyword) for keyword in keywords if is_question(keyword)]
    others = [question_of(keyword) for keyword in keywords if not is_question(keyword)]
    spare = max(FEWEST_QUESTIONS - len(own), 0)
    asked = dict.fromkeys([*own, *others[:spare], _as_question(question.title)])
    hint = "Answer each in two or three sentences that stand on their own, and link the source."
    return [hint, *(f"### {text}" for text in asked)]


def _as_question(title: str) -> str:
    lead = lead_of_title(title)
    return question_of(lead.lower().removesuffix("?"))


def _see_also(question: WriteArticle) -> list[str]:
    said = content_words(question.title)
    own = question.title.casefold()
    others = dict.fromkeys(title for title in question.related if title.casefold() != own)
    near = sorted(others, key=lambda title: -len(said & content_words(title)))[:RELATED]
    if not near:
        return []
    items = "\n".join(f"- See also: {title}" for title in near)
    return [
        "## See Also",
        "Link these where they help the reader, and drop the others.",
        items,
    ]


def _checklists(keywords: Sequence[str], placed: dict[str, str]) -> list[str]:
    used = "\n".join(f"- [ ] {text} ({placed.get(text, 'introduction')})" for text in keywords)
    done = "\n".join(f"- [ ] {check}" for check in FINAL_CHECKS)
    blocks = ["## Keyword Checklist", used] if used else []
    return [*blocks, "## Before Publishing", done]


def _is_faq(heading: str) -> bool:
    return "frequently asked" in heading.lower()


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
