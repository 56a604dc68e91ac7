"""Stage 5: drafts to image prompts, by AI: one featured image, and some within the article."""

from dataclasses import dataclass
from typing import Literal

from events.content import AiCall, Prompt
from events.ids import derive
from services.stage_workers.ai.model import (
    AnswerRejected,
    DescribeImages,
    ImageIdea,
    Provider,
)
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, DraftItem, ReadItems

ALT = 125  # characters
IN_ARTICLE = 2


@dataclass(frozen=True)
class WritePrompts:
    """Asks what the images of each draft should show."""

    read: ReadItems[DraftItem]
    provider: Provider

    number = 5

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return up to three prompts per draft; a draft without a usable one fails."""
        ask = Ask(self.provider, batch.prices, calls)

        async def prompts_of(draft: DraftItem) -> tuple[Prompt, ...]:
            question = DescribeImages(draft.title, draft.intent, draft.body, draft.keywords)
            return to_prompts(await ask(question), draft, batch.run_id)

        return await each([(draft.id, draft) for draft in await self.read(batch)], prompts_of)


def to_prompts(ideas: tuple[ImageIdea, ...], draft: DraftItem, run_id: str) -> tuple[Prompt, ...]:
    """Return one featured prompt and at most two in-article ones, each for another section.

    Without a featured idea the first one is taken as such; ideas without a text are dropped.
    Raises AnswerRejected when none is left.
    """
    usable = [idea for idea in ideas if idea.text.strip()]
    if not usable:
        raise AnswerRejected("no image is described")
    featured = next((idea for idea in usable if idea.role == "featured"), usable[0])
    sections = {
        idea.section.strip().casefold(): idea
        for idea in reversed(usable)
        if idea.role != "featured" and idea is not featured
    }
    inside = [idea for idea in usable if any(idea is one for one in sections.values())]
    others = tuple(_prompt(idea, "in_article", draft, run_id) for idea in inside[:IN_ARTICLE])
    return (_prompt(featured, "featured", draft, run_id), *others)


def _prompt(
    idea: ImageIdea,
    role: Literal["featured", "in_article"],
    draft: DraftItem,
    run_id: str,
) -> Prompt:
    section = "" if role == "featured" else " ".join(idea.section.split())
    text = " ".join(idea.text.split())
    return Prompt(
        id=derive("prompt", run_id, 5, draft.id, role, section, text),
        content_id=draft.id,
        role=role,
        section=section,
        text=text,
        alt=alt_of(idea.alt or section or draft.title),
    )


def alt_of(text: str) -> str:
    """Return an alternative text with single spaces, cut at a word after 125 characters."""
    text = " ".join(text.split())
    if len(text) <= ALT:
        return text
    return text[: ALT + 1].rpartition(" ")[0] or text[:ALT]
