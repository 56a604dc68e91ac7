"""Stage 6: image prompts to rendered images, by AI. Files are artifacts, facts have hashes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from events.content import AiCall, Image
from events.ids import derive
from services.stage_workers.ai.model import AnswerRejected, DrawImage, Picture, Provider
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, PromptItem, ReadItems

TYPES = ("image/webp", "image/png", "image/jpeg")


@dataclass(frozen=True)
class RenderImages:
    """Asks for one image per prompt. `put` keeps bytes and returns their SHA-256 in hex."""

    read: ReadItems[PromptItem]
    provider: Provider
    put: Callable[[bytes], Awaitable[str]]

    number = 6

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return one image per prompt; an answer that is no image fails its prompt only."""
        ask = Ask(self.provider, batch.prices, calls)

        async def image_of(prompt: PromptItem) -> tuple[Image, ...]:
            question = DrawImage(prompt.title, prompt.section, prompt.text, batch.site_name)
            picture = checked(await ask(question))
            return (to_image(picture, await self.put(picture.content), prompt, batch.run_id),)

        return await each([(prompt.id, prompt) for prompt in await self.read(batch)], image_of)


def checked(picture: Picture) -> Picture:
    """Return the picture. Raises AnswerRejected when it is empty, or no image that pages show."""
    if not picture.content:
        raise AnswerRejected("the image is empty")
    if picture.media_type not in TYPES:
        raise AnswerRejected(f"{picture.media_type or 'nothing'} is no image type for pages")
    if picture.width < 1 or picture.height < 1:
        raise AnswerRejected("the image has no size")
    return picture


def to_image(picture: Picture, digest: str, prompt: PromptItem, run_id: str) -> Image:
    """Return the image's fact; its size is in bytes."""
    return Image(
        id=derive("image", run_id, 6, prompt.id, digest),
        prompt_id=prompt.id,
        content_id=prompt.content_id,
        file=digest,
        media_type=picture.media_type,
        width=picture.width,
        height=picture.height,
        size=len(picture.content),
        alt=prompt.alt,
    )
