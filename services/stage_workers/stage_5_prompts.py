"""Stage 5: drafts to image prompts, by AI: one featured image, and some within the article."""

import re
from dataclasses import dataclass
from typing import Literal

from events.content import AiCall, Prompt
from events.ids import derive
from services.stage_workers.ai.model import (
    AnswerRejected,
    DescribeImages,
    ImageIdea,
    ProviderOf,
)
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, DraftItem, ReadItems
from services.stage_workers.lines import cut, key_of, line, title_of

ALT = 125  # characters
TEXT = 1_000  # characters, the least that an images API takes (dall-e-2)
HEADING = 200
IN_ARTICLE = 2
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
HEADINGS = re.compile(r"^#{2,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class WritePrompts:
    """Asks what the images of each draft should show."""

    read: ReadItems[DraftItem]
    provider: ProviderOf

    number = 5

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return up to three prompts per draft; a draft without a usable one fails."""
        ask = await Ask.of(self.provider, batch, calls)

        async def prompts_of(draft: DraftItem) -> tuple[Prompt, ...]:
            question = DescribeImages(
                draft.title, draft.intent, draft.body, draft.keywords, batch.brief
            )
            return to_prompts(await ask(question), draft, batch.run_id)

        drafts = [(draft.id, draft) for draft in await self.read(batch)]
        return await each(drafts, prompts_of, batch.seconds)


def to_prompts(ideas: tuple[ImageIdea, ...], draft: DraftItem, run_id: str) -> tuple[Prompt, ...]:
    """Return one featured prompt and at most two in-article ones, each under another heading.

    Without a featured idea the first one is taken as such, and other featured ones are dropped. So
    are ideas without a text or with that of another, and those for a heading that the draft does
    not have. Raises AnswerRejected when none is left.
    """
    described: dict[str, ImageIdea] = {}
    for idea in ideas:
        if any(map(str.isalnum, idea.text[:TEXT])):
            described.setdefault(key_of(idea.text[:TEXT]), idea)
    usable = list(described.values())
    if not usable:
        raise AnswerRejected("no image is described")
    featured = next((idea for idea in usable if _role(idea) == "featured"), usable[0])
    headings = {_section(heading): heading for heading in reversed(headings_of(draft.body))}
    inside: dict[str, ImageIdea] = {}
    for idea in usable:
        heading = headings.get(_section(idea.section))
        if heading and _role(idea) != "featured" and idea is not featured:
            inside.setdefault(heading, idea)
    chosen = list(inside.items())[:IN_ARTICLE]
    return (
        _prompt(featured, "featured", "", draft, run_id),
        *(_prompt(idea, "in_article", heading, draft, run_id) for heading, idea in chosen),
    )


def headings_of(body: str) -> list[str]:
    """Return a Markdown body's headings below the title's level, plain, code aside, in order."""
    return [title_of(one, HEADING, "und") for one in HEADINGS.findall(FENCED.sub("", body))]


def alt_of(text: str) -> str:
    """Return an alternative text of one line, cut at a word after 125 characters."""
    return cut(line(text), ALT)


def _role(idea: ImageIdea) -> str:
    return key_of(idea.role)


def _section(heading: str) -> str:
    return key_of(title_of(heading, HEADING))


def _prompt(
    idea: ImageIdea,
    role: Literal["featured", "in_article"],
    section: str,
    draft: DraftItem,
    run_id: str,
) -> Prompt:
    text = cut(line(idea.text), TEXT)
    return Prompt(
        id=derive("prompt", run_id, 5, draft.id, role, section, text),
        content_id=draft.id,
        role=role,
        section=section,
        text=text,
        alt=alt_of(idea.alt) or alt_of(section or draft.title),
    )
