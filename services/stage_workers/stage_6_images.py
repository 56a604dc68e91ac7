"""Stage 6: image prompts to rendered images, by AI. Files are artifacts, facts have hashes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from io import BytesIO

import PIL.Image

from events.content import AiCall, Image
from events.ids import derive
from services.stage_workers.ai.model import AnswerRejected, DrawImage, Picture, ProviderOf
from services.stage_workers.batch import Ask, Work, each
from services.stage_workers.items import Batch, PromptItem, ReadItems

TYPES = {"WEBP": "image/webp", "PNG": "image/png", "JPEG": "image/jpeg"}
LARGEST = 20_000_000  # bytes


@dataclass(frozen=True)
class RenderImages:
    """Asks for one image per prompt. `put` keeps bytes and returns their SHA-256 in hex."""

    read: ReadItems[PromptItem]
    provider: ProviderOf
    put: Callable[[bytes], Awaitable[str]]

    number = 6

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return one image per prompt; an answer that is no image fails its prompt only."""
        ask = await Ask.of(self.provider, batch, calls)

        async def image_of(prompt: PromptItem) -> tuple[Image, ...]:
            question = DrawImage(prompt.title, prompt.section, prompt.text, batch.site_name)
            picture = checked(await ask(question))
            return (to_image(picture, await self.put(picture.content), prompt, batch.run_id),)

        prompts = [(prompt.id, prompt) for prompt in await self.read(batch)]
        return await each(prompts, image_of, batch.seconds)


def checked(picture: Picture) -> Picture:
    """Return the picture with the type and the size that its file has.

    Raises AnswerRejected when it is empty or too large, or no image that pages show.
    """
    if not picture.content:
        raise AnswerRejected("the image is empty")
    if len(picture.content) > LARGEST:
        raise AnswerRejected(f"the image has {len(picture.content)} bytes, and may have {LARGEST}")
    try:
        with PIL.Image.open(BytesIO(picture.content)) as file:  # reads no more than the head
            kind, (width, height) = file.format, file.size
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise AnswerRejected("the answer is no image that can be read") from error
    if kind not in TYPES:
        raise AnswerRejected(f"{kind} is no image type for pages")
    return replace(picture, media_type=TYPES[kind], width=width, height=height)


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
