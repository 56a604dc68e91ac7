"""Describes images for a draft: what to show, how, and what the section says."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from events.content import Intent
from services.stage_workers.ai.local.articles import LINKED
from services.stage_workers.ai.local.titles import shorten
from services.stage_workers.ai.model import DescribeImages, ImageIdea

ALT = 125  # characters, what screen readers are said to read in one go
TWO_FROM = 8  # H2 headings of a draft, questions and links aside, that gets two in-article images
EXCERPT = 160  # characters of the section's text
ASKED = re.compile(r"^- (.+\?)$", re.MULTILINE)
APART = ("frequently asked", *map(str.lower, LINKED))

COMPOSITIONS: dict[Intent, str] = {
    "informational": "one clear subject in the middle distance, seen from slightly above, with calm"
    " space on the left for a headline",
    "commercial": "two or three comparable objects in a row on a plain surface, evenly lit, with"
    " space on the left for a headline",
    "transactional": "a close view of hands at the deciding moment, shallow depth of field, with"
    " space on the left for a headline",
    "navigational": "a tidy desk with one screen at eye level, the rest out of focus, with space on"
    " the left for a headline",
}
MOODS: dict[Intent, str] = {
    "informational": "calm and curious",
    "commercial": "sober and trustworthy",
    "transactional": "confident and friendly",
    "navigational": "clear and reassuring",
}
COLOURS = (
    "deep teal, warm sand and off-white",
    "ink blue, soft coral and pale grey",
    "forest green, oat and a touch of amber",
    "plum, dusty rose and cream",
    "graphite, sky blue and white",
    "terracotta, olive and ivory",
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a draft under one H2, without Markdown marks, with the questions that it lists."""

    heading: str
    text: str
    questions: tuple[str, ...] = ()

    @property
    def is_apart(self) -> bool:
        """Tell whether it is no part of the argument: frequent questions, links."""
        return self.heading.lower().startswith(APART)


def describe(question: DescribeImages) -> tuple[ImageIdea, ...]:
    """Return one featured image, and one or two for the sections that say most."""
    sections = [one for one in sections_of(question.body) if not one.is_apart]
    subject = question.keywords[0] if question.keywords else question.title
    colours = COLOURS[_digest(question.title) % len(COLOURS)]
    mood = MOODS[question.intent]
    covered = ", ".join(section.heading for section in sections[1:4])
    featured = ImageIdea(
        role="featured",
        section="",
        text=(
            f'Featured image for the article "{question.title}". Subject: {subject}, shown as it is'
            f" in everyday use. Composition: {COMPOSITIONS[question.intent]}. Mood: {mood}."
            f" Colours: {colours}. The article covers: {covered or subject}."
            " No text, logos or recognisable people in the picture."
        ),
        alt=shorten(f"Title image of the article {question.title}", ALT),
    )
    chosen = most_substantial(sections, 2 if len(sections) >= TWO_FROM else 1)
    return (
        featured,
        *(_in_article(question.title, one, mood, colours) for one in chosen),
    )


def sections_of(body: str) -> list[Section]:
    """Return the parts under the body's H2 headings, in order."""
    parts = re.split(r"^## +(.+?) *$", body, flags=re.MULTILINE)
    return [
        Section(heading, _plain(text), tuple(ASKED.findall(text))[:2])
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def most_substantial(sections: Sequence[Section], count: int) -> list[Section]:
    """Return the sections of most words, in their order."""
    best = sorted(sections, key=lambda section: -len(section.text.split()))[:count]
    return [section for section in sections if section in best]


def _in_article(title: str, section: Section, mood: str, colours: str) -> ImageIdea:
    says = " ".join(section.questions) or shorten(section.text, EXCERPT)
    verb = "answers" if section.questions else "says"
    return ImageIdea(
        role="in_article",
        section=section.heading,
        text=(
            f'Image for the section "{section.heading}" of the article "{title}". Subject:'
            f" {section.heading}, explained by one simple scene or diagram. Composition: centred,"
            f" uncluttered, wide format. Mood: {mood}. Colours: {colours}."
            f" The section {verb}: {says or section.heading}."
            " No text, logos or recognisable people in the picture."
        )
        .replace("..", ".")
        .replace("?.", "?"),
        alt=shorten(f"Illustration for the section {section.heading}", ALT),
    )


def _plain(markdown: str) -> str:
    text = re.sub(r"^(?:#+|>|- \[ \]|[-*]|\|.*\|$)", " ", markdown, flags=re.MULTILINE)
    return " ".join(re.sub(r"\*\*|\*|`|_{2}", "", text).split())


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
