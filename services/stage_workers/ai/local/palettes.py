"""Colours for cards: one hue for a site, a family of dark tones for its backgrounds."""

import hashlib
import math
from dataclasses import dataclass

Colour = tuple[int, int, int]

# the published OKLab matrices (Björn Ottosson, 2020): to cube roots of LMS, and to linear sRGB
TO_LMS = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
TO_RGB = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
LINEAR_BELOW = 0.0031308  # where sRGB's curve begins
# hues in degrees at which dark tones look clean; from 60 to 130 they turn to olive
HUES = (18, 34, 150, 168, 186, 204, 222, 240, 258, 276, 294, 312, 332, 350)

WARM = (350, 18, 34)  # red shouts where blue is calm


@dataclass(frozen=True, slots=True)
class Palette:
    """A card's colours in sRGB: five dark ones behind, lines over them, accent and paper on top."""

    mesh: tuple[Colour, ...]
    line: Colour
    accent: Colour
    ink: Colour


def palette_of(site: str, title: str) -> Palette:
    """Return the palette of a title: its site gives the hue, the title turns it a little."""
    base = HUES[_digest(site or title) % len(HUES)]
    turn = _digest(title)
    hue = base + (turn % 17) - 8
    chroma = 0.10 + 0.02 * (_digest(site or title) // 16 % 3)
    chroma *= 0.62 if base in WARM else 1.0
    spread = (18 + turn // 17 % 23) * (1 if turn // 512 % 2 else -1)
    return Palette(
        mesh=(
            oklch(0.26, 0.75 * chroma, hue),
            oklch(0.34, chroma, hue + 0.35 * spread),
            oklch(0.42, chroma, hue + spread),
            oklch(0.22, 0.6 * chroma, hue - 0.3 * spread),
            oklch(0.30, 0.9 * chroma, hue + 0.6 * spread),
        ),
        line=oklch(0.86, 0.09, hue + 0.5 * spread),
        accent=oklch(0.86, 0.12, hue + spread),
        ink=oklch(0.22, 0.05, hue),
    )


def oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """Return the sRGB colour of lightness 0 to 1, chroma, and hue in degrees, clipped to gamut."""
    angle = math.radians(hue)
    lab = (lightness, chroma * math.cos(angle), chroma * math.sin(angle))
    lms = [sum(a * b for a, b in zip(row, lab, strict=True)) ** 3 for row in TO_LMS]
    red, green, blue = (sum(a * b for a, b in zip(row, lms, strict=True)) for row in TO_RGB)
    return _byte(red), _byte(green), _byte(blue)


def _byte(linear: float) -> int:
    low = min(max(linear, 0.0), 1.0)
    curved = 12.92 * low if low <= LINEAR_BELOW else 1.055 * low ** (1 / 2.4) - 0.055
    return round(255 * curved)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
