"""The local provider's images: valid files, the same bytes twice, and text within its margins."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from services.stage_workers.ai.instant import PIXEL
from services.stage_workers.ai.local.cards import (
    HEIGHT,
    MARGIN,
    TEXT_WIDTH,
    WIDTH,
    draw,
    face,
    fitted,
    words_of,
)
from services.stage_workers.ai.local.palettes import HUES, oklch, palette_of
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import DrawImage

SHORT = DrawImage("Caffeine", "", "", "Daily Grind")
LONG = DrawImage(
    "How to Choose the Best Project Management Tools for Small Business: What to Compare First",
    "",
    "",
    "A Site with a Name That Is Longer Than Most Names of Sites That People Give to Their Sites",
)
INSIDE = DrawImage("Net Metering Explained: A Plain-English Guide", "What It Costs", "", "")


@pytest.mark.parametrize("question", [SHORT, LONG, INSIDE], ids=["short", "long", "inside"])
def test_a_card_is_a_webp_of_1200_by_630_pixels(question: DrawImage):
    picture = draw(question)
    image = Image.open(io.BytesIO(picture.content))
    image.load()
    assert (image.format, image.size) == ("WEBP", (1200, 630))
    assert (picture.media_type, picture.width, picture.height) == ("image/webp", 1200, 630)
    assert 20_000 < len(picture.content) < 160_000


def test_the_same_question_has_the_same_bytes_also_side_by_side():
    provider = LocalProvider()

    async def ask() -> list[bytes]:
        answers = await asyncio.gather(*(provider.answer(q, []) for q in (SHORT, INSIDE, SHORT)))
        return [answer.content for answer in answers]

    first, other, again = asyncio.run(ask())
    assert first == again == draw(SHORT).content
    assert first != other


@pytest.mark.parametrize("question", [SHORT, LONG, INSIDE], ids=["short", "long", "inside"])
def test_no_text_stands_in_the_margins(question: DrawImage):
    pixels = np.asarray(Image.open(io.BytesIO(draw(question).content)).convert("L"), np.int16)
    assert pixels[:, : MARGIN - 6].max() < 200
    assert pixels[: MARGIN - 6].max() < 200
    assert pixels[HEIGHT - MARGIN + 6 :].max() < 200


@pytest.mark.parametrize(
    "text", ["Caffeine", LONG.title, "word " * 90, "Donaudampfschifffahrtsgesellschaft" * 3]
)
def test_a_title_of_any_length_fits_the_card(text: str):
    font, lines = fitted(text, TEXT_WIDTH, 330)
    assert 1 <= len(lines) <= 4
    assert all(font.getlength(line) <= TEXT_WIDTH for line in lines)
    assert font.size * len(lines) <= 330


def test_a_line_ends_after_the_colon_where_there_is_room():
    _, lines = fitted("Federal Solar Tax Credit: A Practical Guide", TEXT_WIDTH, 330)
    assert lines[-1] == "A Practical Guide"


def test_an_in_article_card_shows_its_heading_with_the_title_above():
    words = words_of(INSIDE)
    assert (words.title, words.kicker) == ("What It Costs", INSIDE.title)
    assert face("Medium", 27).getlength(words.kicker) < WIDTH - 2 * MARGIN
    assert words_of(DrawImage("A", "A", "", "")).kicker == ""


def test_cards_of_a_site_are_related_and_not_the_same():
    one, other = palette_of("Daily Grind", "Caffeine"), palette_of("Daily Grind", "Cold Brew")
    assert one != other
    distance = np.abs(np.array(one.mesh[1]) - np.array(other.mesh[1])).max()
    assert distance < 60
    assert len({palette_of(f"Site {at}", "Caffeine").accent for at in range(40)}) >= 8


@pytest.mark.parametrize("hue", HUES)
def test_white_text_has_contrast_on_every_background(hue: int):
    red, green, blue = (channel / 255 for channel in oklch(0.42, 0.14, hue))
    luminance = sum(
        weight * ((channel + 0.055) / 1.055) ** 2.4
        for weight, channel in ((0.2126, red), (0.7152, green), (0.0722, blue))
    )
    assert 1.05 / (luminance + 0.05) > 4.5  # WCAG 2.2, level AA


def test_the_pixel_for_benchmarks_is_an_image():
    image = Image.open(io.BytesIO(PIXEL))
    image.load()
    assert (image.format, image.size) == ("WEBP", (1, 1))
