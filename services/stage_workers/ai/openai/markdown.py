"""Mends what models write in Markdown: headings, links, and ends that were cut off."""

import re
from collections.abc import Sequence

from events.ids import fold
from services.stage_workers.ai.model import Link

HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(\s*<?([^()\s>]*)>?[^()]*\)")
PICTURE = re.compile(r"!\[[^\[\]]*\]\([^()]*\)")
BOLD_LINE = re.compile(r"\A\*\*(.+?)\*\*:?\s*\n")
SENTENCE = re.compile(r"[.!?\u061f\u0964][\"'\u201d\u2019)\]]*(?=\s|\Z)|[\u3002\uff01\uff1f]")
H2_PARTS = re.compile(r"^(?=## )", re.MULTILINE)
CODE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)[ \t]*$", re.MULTILINE | re.DOTALL)


def section_text(text: str, heading: str, links: Sequence[Link]) -> str:
    """Return a section's text: without its own heading, with no other above H3, links checked."""
    text = text.replace("\r\n", "\n").strip()
    text = _without_own_heading(text, heading)
    text = HEADING.sub(lambda found: f"{'#' * max(len(found[1]), 3)} {found[2]}", text)
    return linked_to(text, links).strip()


def _without_own_heading(text: str, heading: str) -> str:
    first, _, rest = text.partition("\n")
    found = HEADING.fullmatch(first) or BOLD_LINE.match(f"{first}\n")
    if found is None:
        return rest.strip() if fold(first.rstrip(":")) == fold(heading) else text
    said = found[found.re.groups]
    is_own = fold(said.strip("*: ")) == fold(heading) or (
        found.re is HEADING and len(found[1]) <= 2  # noqa: PLR2004
    )
    return rest.strip() if is_own else text


def linked_to(text: str, links: Sequence[Link]) -> str:
    """Return the text with links to these paths only, each once; of others the words stay."""
    free = {link.path for link in links}

    def kept(found: re.Match[str]) -> str:
        words, path = found[1], found[2]
        if path in free and words.strip():
            free.remove(path)
            return f"[{words}]({path})"
        return words

    return LINK.sub(kept, PICTURE.sub("", text))


def finished(text: str, *, is_whole: bool) -> str:
    """Return the text up to its last whole sentence where it was cut off."""
    text = text.strip()
    if is_whole:
        return text
    ends = [found.end() for found in SENTENCE.finditer(text)]
    return text[: ends[-1]].rstrip() if ends else ""


def questions_in(text: str) -> str:
    """Return H3 questions with their answers, once each; what stands before the first is left."""
    text = HEADING.sub(r"### \2", section_text(text, "", ()))
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    seen: set[str] = set()
    kept: list[str] = []
    for asked, answer in zip(parts[1::2], parts[2::2], strict=True):
        question = asked.strip().strip("*")
        if answer.strip() and fold(question) not in seen:
            seen.add(fold(question))
            kept += [f"### {question}", answer.strip()]
    return "\n\n".join(kept)


def assembled(
    introduction: str, sections: Sequence[tuple[str, str]], faq_heading: str, faq: str
) -> str:
    """Return the article's Markdown: introduction, an H2 for each section, questions last."""
    blocks = [introduction]
    for heading, text in sections:
        blocks += [f"## {' '.join(heading.split())}", text]
    if faq:
        blocks += [f"## {' '.join(faq_heading.split())}", faq]
    return "\n\n".join(block for block in blocks if block) + "\n"


def parts_of(body: str) -> list[str]:
    """Return the body cut before each H2; joined they are the body."""
    return [part for part in H2_PARTS.split(body) if part.strip()]


def revised(text: str, before: str, links: Sequence[Link]) -> str:
    """Return a revised text that links only where it did before, or to these."""
    old = tuple(Link(found[1], found[2]) for found in LINK.finditer(before))
    paths = [link.path for link in (*old, *links)]
    allowed = tuple(Link("", path) for path in dict.fromkeys(paths))
    return linked_to(text.replace("\r\n", "\n").strip(), allowed) + "\n"


def shortened(text: str, limit: int) -> str:
    """Return the text's plain words, cut at a sentence or at a word where it is too long."""
    lines = [line for line in CODE.sub("", text).splitlines() if not HEADING.match(line)]
    plain = " ".join(LINK.sub(r"\1", " ".join(lines)).replace("*", "").replace(">", "").split())
    if len(plain) <= limit:
        return plain
    ends = [found.end() for found in SENTENCE.finditer(plain[: limit + 1])]
    if ends and ends[-1] >= limit // 2:
        return plain[: ends[-1]]
    return (plain[: limit + 1].rpartition(" ")[0] or plain[:limit]).rstrip(" ,;:-")


def tail(text: str, words: int) -> str:
    """Return the text's last words."""
    return " ".join(text.split()[-words:])
