"""Draws what is behind a card's text: a mesh of colours, lines over it, shade and grain."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from services.stage_workers.ai.local.palettes import Palette

ALL_CORNERS = 15  # bits of the four corners of a cell

Grid = npt.NDArray[np.float32]


def mesh(size: tuple[int, int], palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Return the palette's dark colours flowing into each other: a sum weighted by Gaussians.

    Computed at a quarter of the size, as nothing in it is sharp.
    """
    width, height = size[0] // 4, size[1] // 4
    x = np.linspace(0, 1, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    total = np.zeros((height, width, 3), np.float32)
    weights = np.zeros((height, width, 1), np.float32)
    for colour in palette.mesh:
        cx, cy = rng.uniform(-0.1, 1.1, 2)
        sigma = rng.uniform(0.28, 0.55)
        weight = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))[..., None]
        total += weight * np.array(colour, np.float32)
        weights += weight
    image = Image.fromarray(np.clip(total / (weights + 1e-6), 0, 255).astype(np.uint8))
    return image.resize(size, Image.Resampling.BICUBIC)


def pattern(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return one of four line patterns as a mask of the size, drawn doubled and reduced."""
    double = (2 * size[0], 2 * size[1])
    mask = Image.new("L", double, 0)
    kinds = (arcs, dots, ribbons, contours)
    kinds[int(rng.integers(len(kinds)))](ImageDraw.Draw(mask), double, rng)
    return mask.reduce(2)


def arcs(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw rings round one point at the right."""
    cx = size[0] * rng.uniform(0.78, 1.0)
    cy = size[1] * rng.uniform(0.05, 0.95)
    for ring in range(1, 23):
        radius = ring * size[0] * 0.026
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        draw.ellipse(box, outline=110 if ring % 4 == 0 else 54, width=3)


def dots(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw a grid of dots that swell with smooth noise and towards the right."""
    step = 52
    columns, rows = size[0] // step + 1, size[1] // step + 1
    noise = smooth_noise((rows, columns), 6, rng)
    for row in range(rows):
        for column in range(columns):
            rise = (column / columns) ** 1.5
            radius = 15 * rise * float(noise[row, column])
            if radius > 1:
                x, y = column * step + step / 2, row * step + step / 2
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=84)


def ribbons(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw nine waves, each a little after the other."""
    phase = rng.uniform(0, 2 * math.pi)
    waves = rng.uniform(1.0, 1.9)
    middle = size[1] * rng.uniform(0.35, 0.7)
    x = np.linspace(0, size[0], 121)
    for ribbon in range(9):
        angle = x / size[0] * waves * 2 * math.pi + phase + ribbon * 0.22
        y = middle + (ribbon - 4) * size[1] * 0.055 + np.sin(angle) * size[1] * 0.16
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        draw.line(points, fill=104 if ribbon % 3 == 0 else 58, width=4, joint="curve")


def contours(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw height lines of smooth noise, like a map's."""
    cell = 12
    columns, rows = size[0] // cell + 2, size[1] // cell + 2
    field = smooth_noise((rows, columns), 5, rng)
    for at, level in enumerate(np.linspace(0.12, 0.88, 13)):
        shade = 112 if at % 4 == 0 else 60
        for line in _crossings(field, float(level)):
            draw.line([(x * cell, y * cell) for x, y in line], fill=shade, width=3)


def shade(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Darken from the left, so that white text reads, and add grain against banding."""
    pixels = np.asarray(image, np.float32)
    height, width = pixels.shape[:2]
    keep = 1 - np.linspace(1, 0, width, dtype=np.float32) ** 1.4 * (150 / 255)
    grain = rng.standard_normal((height // 2, width // 2), np.float32) * 2.2
    grain = np.repeat(np.repeat(grain, 2, 0), 2, 1)[..., None]
    return Image.fromarray(np.clip(pixels * keep[:, None] + grain, 0, 255).astype(np.uint8))


def smooth_noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> Grid:
    """Return a grid of the shape, 0 to 1: few random heights, joined smoothly."""
    coarse = rng.random((cells, cells * 2), np.float32)
    image = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    grid = np.asarray(image, np.float32)
    low, high = float(grid.min()), float(grid.max())
    return (grid - low) / max(high - low, 1e-6)


def _crossings(field: Grid, level: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the segments where the field has the level, one or two a cell (marching squares)."""
    inside = field > level
    mixed = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    rows, columns = np.nonzero((mixed > 0) & (mixed < ALL_CORNERS))
    segments = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        corners = (
            (column, row),
            (column + 1, row),
            (column + 1, row + 1),
            (column, row + 1),
        )
        heights = [float(field[y, x]) for x, y in corners]
        points = []
        for start, end in ((0, 1), (1, 2), (2, 3), (3, 0)):
            a, b = heights[start], heights[end]
            if (a > level) != (b > level):
                part = (level - a) / (b - a)
                (ax, ay), (bx, by) = corners[start], corners[end]
                points.append((ax + (bx - ax) * part, ay + (by - ay) * part))
        segments += list(zip(points[::2], points[1::2], strict=True))
    return segments
