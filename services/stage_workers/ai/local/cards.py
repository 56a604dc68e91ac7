"""Draws an article's image as a branded card: its title over colours that belong to its site."""

import hashlib
import io
import re
import threading
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from services.stage_workers.ai.local.palettes import Palette, palette_of
from services.stage_workers.ai.local.patterns import mesh, pattern, shade
from services.stage_workers.ai.model import DrawImage, Picture

WIDTH, HEIGHT = 1200, 630  # pixels, what social networks show of a link
MARGIN = 72
QUALITY = 86  # of WebP: 30 to 80 kB a card
TEXT_WIDTH = round(0.74 * WIDTH)
LARGEST, SMALLEST, STEP = 82, 34, 2  # pixels of the title's font
LINES = 4
PRECISION = 4  # pixels
PAPER = (255, 255, 255)
SOFT = (226, 230, 236)

_lock = threading.Lock()  # FreeType's faces are not for two threads at once


@dataclass(frozen=True, slots=True)
class Words:
    """What stands on a card: a pill, the large text, the small text over it, the site's name."""

    label: str
    title: str
    kicker: str
    site: str


def draw(question: DrawImage) -> Picture:
    """Return a WebP of 1200 x 630 pixels: the same question, the same bytes."""
    words = words_of(question)
    seed = hashlib.sha256(f"{words.title}\x1f{words.kicker}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed))
    palette = palette_of(words.site, question.title)
    size = (WIDTH, HEIGHT)
    image = mesh(size, palette, rng)
    image.paste(Image.new("RGB", size, palette.line), mask=pattern(size, rng))
    image = shade(image, rng)
    with _lock:
        write(image, words, palette)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=2)
    return Picture(content=file.getvalue(), media_type="image/webp", width=WIDTH, height=HEIGHT)


def words_of(question: DrawImage) -> Words:
    """Return the texts of a featured card, or of an in-article card where a section is named."""
    title, section = (
        " ".join(question.title.split()),
        " ".join(question.section.split()),
    )
    is_featured = not section or section == title
    return Words(
        label="Article" if is_featured else "In this article",
        title=title if is_featured else section,
        kicker="" if is_featured else title,
        site=" ".join(question.site_name.split()),
    )


def write(image: Image.Image, words: Words, palette: Palette) -> None:
    """Write the texts onto the image, each within the margins."""
    draw = ImageDraw.Draw(image)
    top = _pill(draw, words.label, palette)
    if words.kicker:
        font = face("Medium", 27)
        top += 26
        draw.text((MARGIN, top), ellipsis(words.kicker, font, WIDTH - 2 * MARGIN), SOFT, font)
        top += 34
    bottom = HEIGHT - MARGIN - 88
    font, lines = fitted(words.title, TEXT_WIDTH, bottom - top - 24)
    leading = _leading(font)
    y = top + 24 + max(0, (bottom - top - 24 - leading * len(lines)) // 2)
    for line in lines:
        draw.text((MARGIN - 2, y), line, PAPER, font)
        y += leading
    _footer(draw, words.site or "Read the article", palette)


def fitted(text: str, width: int, height: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """Return the largest font in which the text fits, and its lines, of about equal length.

    A line ends after a colon or question mark where that costs no size. At the smallest, what
    does not fit is cut with an ellipsis.
    """
    parts = re.split(r"(?<=[:?]) ", text)
    for size in range(LARGEST, SMALLEST - 1, -STEP):
        font = face("ExtraBold", size)
        for blocks in (parts, [text]):
            wrapped = [wrap(block, font, width) for block in blocks]
            lines = [line for block in wrapped for line in block]
            fits = len(lines) <= LINES and all(font.getlength(line) <= width for line in lines)
            if fits and _leading(font) * len(lines) <= height:
                return font, [
                    line
                    for block, its in zip(blocks, wrapped, strict=True)
                    for line in balanced(block, font, width, len(its))
                ]
    font = face("ExtraBold", SMALLEST)
    lines = wrap(text, font, width)
    kept = lines[: LINES - 1] + ([" ".join(lines[LINES - 1 :])] if len(lines) >= LINES else [])
    return font, [ellipsis(line, font, width) for line in kept]


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Return the text in lines no wider than `width`, but for words that alone are wider."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines


def balanced(text: str, font: ImageFont.FreeTypeFont, width: int, count: int) -> list[str]:
    """Return as many lines in the narrowest block that holds them, found by bisection."""
    low, high = 0, width
    while high - low > PRECISION:
        middle = (low + high) // 2
        lines = wrap(text, font, middle)
        if len(lines) <= count and all(font.getlength(line) <= middle for line in lines):
            high = middle
        else:
            low = middle
    return wrap(text, font, high)


def ellipsis(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the text, or as many of its letters as fit with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1].rstrip(" ,:;-")
    return f"{text}…"


@cache
def face(weight: str, size: int) -> ImageFont.FreeTypeFont:
    """Return Manrope in that weight and pixel size."""
    file = files("font_manrope").joinpath("files", f"Manrope-{weight}.ttf")
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _leading(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size * 1.16)


def _pill(draw: ImageDraw.ImageDraw, label: str, palette: Palette) -> int:
    """Draw the label in its pill at the top, and return the pill's lower edge."""
    font = face("Bold", 22)
    width, height = round(font.getlength(label)) + 40, 44
    box = (MARGIN, MARGIN, MARGIN + width, MARGIN + height)
    draw.rounded_rectangle(box, radius=height // 2, fill=palette.accent)
    draw.text((MARGIN + 20, MARGIN + height // 2), label, palette.ink, font, anchor="lm")
    return MARGIN + height


def _footer(draw: ImageDraw.ImageDraw, site: str, palette: Palette) -> None:
    """Draw the site's first letter as its mark, and its name."""
    side, top = 44, HEIGHT - MARGIN - 44
    draw.rounded_rectangle((MARGIN, top, MARGIN + side, top + side), radius=12, fill=palette.accent)
    letter = next((char for char in site if char.isalnum()), "·").upper()
    centre = (MARGIN + side // 2, top + side // 2)
    draw.text(centre, letter, palette.ink, face("ExtraBold", 26), anchor="mm")
    font = face("SemiBold", 26)
    name = ellipsis(site, font, TEXT_WIDTH - side - 18)
    draw.text((MARGIN + side + 18, top + side // 2), name, PAPER, font, anchor="lm")
