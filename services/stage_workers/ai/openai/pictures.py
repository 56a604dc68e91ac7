"""Pictures: described by the text model, drawn by the image model, their bytes left as they are."""

import base64
import binascii
import io
import json
from dataclasses import replace
from urllib.parse import urlsplit

from openai import omit
from PIL import Image, UnidentifiedImageError

from services.stage_workers.ai.local.image_prompts import sections_of
from services.stage_workers.ai.model import (
    AnswerRejected,
    Call,
    DescribeImages,
    DrawImage,
    ImageIdea,
    Picture,
)
from services.stage_workers.ai.openai.asking import Asker
from services.stage_workers.ai.openai.briefs import listed, told
from services.stage_workers.ai.openai.failures import NotSupported
from services.stage_workers.ai.openai.line import About, Line
from services.stage_workers.ai.openai.shapes import PicturesShape
from services.stage_workers.ai.openai.wire import CURRENT
from services.stage_workers.ai.prompts.reading import prompt
from services.stage_workers.threads import in_thread

TOKENS = 700
EXCERPT = 45  # words of a section
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
PIXELS = 40_000_000
BYTES = 32 * 2**20
PROMPT = 3_500  # characters; dall-e-3 takes 4,000
SIZES = {"gpt-image": "1536x1024", "dall-e-3": "1792x1024"}  # wide ones, where they are known


async def describe(question: DescribeImages, asker: Asker) -> tuple[ImageIdea, ...]:
    """Return one featured picture and up to two for sections. Raises as Provider.answer."""
    sections = sections_of(question.body)
    lines = (f"{one.heading}: {' '.join(one.text.split()[:EXCERPT])}" for one in sections)
    asked = prompt("describe_images").filled(
        brief=told(question.brief), title=question.title, sections=listed(lines)
    )
    answer = await asker.typed(asked, PicturesShape, TOKENS)
    headings = {one.heading.casefold(): one.heading for one in sections}
    return (
        ImageIdea("featured", "", answer.featured.text, answer.featured.alt),
        *(
            ImageIdea("in_article", headings[one.section.casefold()], one.text, one.alt)
            for one in answer.others
            if one.section.casefold() in headings and one.text
        ),
    )


async def draw(question: DrawImage, line: Line, model: str, calls: list[Call]) -> Picture:
    """Return what the image model drew. Raises as Provider.answer."""
    asked = prompt("draw_image").filled(prompt=question.prompt[:PROMPT])
    about = About(asked.name, model, of="images")
    dialect = line.dialect(model)

    async def send() -> bytes:
        await line.client.images.with_raw_response.generate(
            model=model,
            prompt=asked.task,
            size=next((size for name, size in SIZES.items() if model.startswith(name)), omit),
            response_format="b64_json" if dialect.says_format else omit,
        )
        return CURRENT.get().body

    try:
        body = await line.call(send, about, calls.append)
    except NotSupported as refusal:
        if not dialect.says_format or "response_format" not in str(refusal):
            raise
        dialect.says_format = False  # gpt-image answers in base64 and refuses to be asked for it
        body = await line.call(send, about, calls.append)
    try:
        content = await _content(body, line)
        return await in_thread(picture_of, content)
    except AnswerRejected as wrong:
        calls[-1] = replace(calls[-1], error=str(wrong))
        raise


async def _content(body: bytes, line: Line) -> bytes:
    """Return the bytes that the answer holds, or that lie at an address of the same server."""
    item = json.loads(body)["data"][0]
    encoded, url = item.get("b64_json"), item.get("url")
    if isinstance(url, str) and url.startswith("data:image/"):
        encoded = url.partition(",")[2]
    if isinstance(encoded, str) and encoded:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise AnswerRejected("the image is no base64") from error
    if isinstance(url, str) and url:
        if not is_same_server(url, line.credential.base_url):
            raise AnswerRejected("the image lies on another server, where Septet does not follow")
        return await line.fetch(url)
    raise AnswerRejected("the answer has no image")


def is_same_server(url: str, base_url: str) -> bool:
    """Tell whether both have the same scheme, host and port, and the address hides no login."""
    try:
        one, other = urlsplit(url), urlsplit(base_url)
        ports = {"http": 80, "https": 443}
        places = [
            (part.scheme, part.hostname, part.port or ports.get(part.scheme))
            for part in (one, other)
        ]
    except ValueError:
        return False
    return places[0] == places[1] and one.username is None


def picture_of(content: bytes) -> Picture:
    """Return the picture, its type told from its bytes, which stay as they are.

    Raises AnswerRejected for what is no PNG, JPEG or WebP, is cut off, or is far too large.
    """
    if len(content) > BYTES:
        raise AnswerRejected("the image is larger than 32 MB")
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(TYPES))
        width, height = image.size
        if width * height > PIXELS:
            raise AnswerRejected("the image has more than 40 million pixels")
        image.load()  # else one that was cut off would look whole
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        raise AnswerRejected("what the AI provider drew is no PNG, JPEG or WebP") from error
    return Picture(content, TYPES[str(image.format)], width, height)
