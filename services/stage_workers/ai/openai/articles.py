"""Articles: a plan, then introduction, sections and questions in reading order, then the metas."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from services.stage_workers.ai.local.articles import placements
from services.stage_workers.ai.local.names import content_words
from services.stage_workers.ai.model import (
    AnswerRejected,
    Article,
    ItemFailed,
    Link,
    WriteArticle,
)
from services.stage_workers.ai.openai.asking import Asker, Text
from services.stage_workers.ai.openai.briefs import listed, told
from services.stage_workers.ai.openai.markdown import (
    assembled,
    finished,
    parts_of,
    questions_in,
    revised,
    section_text,
    shortened,
    tail,
)
from services.stage_workers.ai.openai.shapes import (
    META_DESCRIPTION,
    META_TITLE,
    MetasShape,
    PlanShape,
)
from services.stage_workers.ai.prompts.reading import Filled, prompt

INTRODUCTION = 300  # tokens at most
SECTION = 700
QUESTIONS = 700
PLAN = 800
METAS = 200
WORDS = 170  # of a section, as asked for
WHOLE = 12_000  # characters of a text that is revised in one answer; a longer one part by part
LINKS = 2  # links of the site offered to one section
EXCERPT = 1_500  # characters of the article that metas are written from
REMEMBERED = 200  # articles that were begun
BEFORE = 60  # words before a section that it continues
AGAIN = "Your last answer had no whole sentence of text. Answer anew."
QUESTION_HEADINGS = ("frequently asked", "faq")


@dataclass(frozen=True, slots=True)
class Section:
    """A section to be written: what it tells, with which keywords, and where it may link."""

    heading: str
    covers: str
    keywords: tuple[str, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """An article before it is written. Its questions stand under their own heading at the end."""

    sections: tuple[Section, ...]
    questions: tuple[str, ...]
    questions_heading: str

    def told(self) -> str:
        """Return the sections in lines, as a model is told them."""
        return listed(f"{one.heading}: {one.covers}".rstrip(": ") for one in self.sections)


@dataclass(frozen=True, slots=True)
class Author:
    """Asks as the asker does, but nothing that is written already: an article may be put off."""

    asker: Asker
    written: dict[Filled, Text | PlanShape]

    async def text(self, asked: Filled, most: int) -> Text:
        """Return the text. Raises as Asker.text."""
        known = self.written.get(asked)
        if not isinstance(known, Text):
            known = self.written[asked] = await self.asker.text(asked, most)
        return known

    async def plan(self, asked: Filled, most: int) -> PlanShape:
        """Return the plan. Raises as Asker.typed."""
        known = self.written.get(asked)
        if not isinstance(known, PlanShape):
            known = self.written[asked] = await self.asker.typed(asked, PlanShape, most)
        return known


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes articles. Of one that the provider halted at, what there is is kept and not repeated.

    The texts are found by the prompts that they answer, so nothing old can get into a new article.
    """

    begun: OrderedDict[str, dict[Filled, Text | PlanShape]] = field(default_factory=OrderedDict)

    async def __call__(self, question: WriteArticle, asker: Asker) -> Article:
        """Return the article, new or changed as a reviewer asks. Raises as Provider.answer."""
        author = Author(asker, self.begun.setdefault(question.task, {}))
        while len(self.begun) > REMEMBERED:
            self.begun.popitem(last=False)
        is_revision = question.previous.strip() and question.note.strip()
        try:
            body = await (_revise if is_revision else _write)(question, author)
            title, description = await _metas(question, body, asker)
        except ItemFailed:
            self.begun.pop(question.task, None)  # what it failed by may be what was kept
            raise
        self.begun.pop(question.task, None)
        return Article(body, title, description)


async def _write(question: WriteArticle, author: Author) -> str:
    plan = await _plan(question, author)
    common = {
        "brief": told(question.brief),
        "title": question.title,
        "plan": plan.told(),
        "note": question.note,
    }
    asked = prompt("write_introduction").filled(
        **common, keywords=listed(question.target_keywords[:2])
    )
    text = await author.text(asked, INTRODUCTION)
    introduction = section_text(finished(text.said, is_whole=text.is_whole), question.title, ())
    written: list[tuple[str, str]] = []
    before = introduction
    for section in plan.sections:
        asked = prompt("write_section").filled(
            **common,
            before=tail(before, BEFORE) or "(nothing)",
            heading=section.heading,
            covers=section.covers or section.heading,
            words=str(WORDS),
            keywords=listed(section.keywords),
            links=listed(f"[{link.title}]({link.path})" for link in section.links),
        )
        before = await _section(section, asked, author)
        written.append((section.heading, before))
    return assembled(
        introduction, written, plan.questions_heading, await _faq(plan, common, author)
    )


async def _section(section: Section, asked: Filled, author: Author) -> str:
    """Return the section's text; where nothing is left of it, it is asked for once more."""
    for task in (asked.task, f"{asked.task}\n\n{AGAIN}"):
        text = await author.text(replace(asked, task=task), SECTION)
        whole = finished(text.said, is_whole=text.is_whole)
        if found := section_text(whole, section.heading, section.links):
            return found
    raise AnswerRejected(f"the AI model wrote nothing about {section.heading!r}")


async def _plan(question: WriteArticle, author: Author) -> Plan:
    """Return the plan; without a usable one of the model's the headings speak for themselves."""
    headings = tuple(one for one in question.outline if not _asks_questions(one))
    asked = prompt("plan_article").filled(
        brief=told(question.brief),
        title=question.title,
        intent=question.intent,
        headings=listed(headings),
        keywords=listed(question.target_keywords),
        note=question.note,
    )
    try:
        answer = await author.plan(asked, PLAN)
    except AnswerRejected:
        answer = PlanShape(sections=[], questions=[], questions_heading="")
    return plan_of(question, headings, answer)


def plan_of(question: WriteArticle, headings: Sequence[str], answer: PlanShape) -> Plan:
    """Return the plan of the outline's headings: a keyword in one section, a link in one too."""
    headings = list(headings) or [question.title]
    placed = placements(question.target_keywords, headings)
    placed = {keyword: placed.get(keyword, headings[-1]) for keyword in question.target_keywords}
    linked = links_of(headings, question.related)
    covers = [*answer.sections, *([""] * len(headings))]
    own = next((one for one in question.outline if _asks_questions(one)), "")
    return Plan(
        tuple(
            Section(
                heading,
                said.removeprefix(heading).lstrip(" :-"),
                tuple(keyword for keyword, at in placed.items() if at == heading),
                tuple(link for link, at in linked.items() if at == heading),
            )
            for heading, said in zip(headings, covers, strict=False)
        ),
        tuple(one for one in answer.questions if one.rstrip().endswith(("?", "\uff1f", "\u061f"))),
        own or answer.questions_heading[:80],
    )


def links_of(headings: Sequence[str], related: Sequence[Link]) -> dict[Link, str]:
    """Return where each link fits best: by words in common, at most two in a section.

    One that has no word in common with any heading goes nowhere.
    """
    room = dict.fromkeys(headings, LINKS)
    said = {heading: content_words(heading) for heading in headings}
    shares = [
        (len(content_words(link.title) & said[heading]), at, link, heading)
        for at, link in enumerate(dict.fromkeys(related))
        for heading in headings
    ]
    found: dict[Link, str] = {}
    for share, _, link, heading in sorted(shares, key=lambda one: (-one[0], one[1])):
        if share and link not in found and room[heading]:
            found[link] = heading
            room[heading] -= 1
    return found


async def _faq(plan: Plan, common: dict[str, str], author: Author) -> str:
    """Return questions with answers in Markdown, nothing where there are none to answer."""
    if not plan.questions or not plan.questions_heading:
        return ""
    asked = prompt("write_faq").filled(**common, questions=listed(plan.questions))
    text = await author.text(asked, QUESTIONS)
    return questions_in(finished(text.said, is_whole=text.is_whole))


async def _revise(question: WriteArticle, author: Author) -> str:
    """Return the previous text changed: in one answer, or part by part where it is too long."""
    if len(question.previous) <= WHOLE:
        text = await _revised(question, question.previous, author)
        if text is not None:
            return text
    parts = [await _revised(question, part, author) or part for part in parts_of(question.previous)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


async def _revised(question: WriteArticle, text: str, author: Author) -> str | None:
    """Return the text changed, None where the model did not come to its end."""
    asked = prompt("revise_article").filled(
        brief=told(question.brief),
        title=question.title,
        text=text,
        note=question.note,
        links=listed(f"[{link.title}]({link.path})" for link in question.related[:20]),
    )
    answer = await author.text(asked, 500 + len(text) // 2)
    return revised(answer.said, text, question.related) if answer.is_whole else None


async def _metas(question: WriteArticle, body: str, asker: Asker) -> tuple[str, str]:
    """Return both metas; without usable ones of the model's they are cut from what it wrote."""
    asked = prompt("write_metas").filled(
        brief=told(question.brief),
        title=question.title,
        article=body[:EXCERPT],
        keywords=listed(question.target_keywords[:5]),
    )
    try:
        metas = await asker.typed(asked, MetasShape, METAS)
    except AnswerRejected:
        return shortened(question.title, META_TITLE), shortened(body, META_DESCRIPTION)
    return metas.meta_title, metas.meta_description


def _asks_questions(heading: str) -> bool:
    return any(one in heading.casefold() for one in QUESTION_HEADINGS)
