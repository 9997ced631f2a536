"""Samples that are no pictures, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from unicodedata import combining, normalize

import numpy as np

from .columns import Column

WIDTH, HEIGHT, MARGIN, TITLE = 220, 130, 10, 16
MOST = 48  # columns that are drawn
BINS, BARS = 24, 12
INK, BAR = (40, 40, 40), (80, 120, 180)
PLOT_WIDTH, PLOT_HEIGHT, EDGE = 160, 90, 3
FINER = 3  # a plot is drawn this much larger first
OVERLAID = 4  # channels, up to which all of them are drawn over one another; more have a lane each
MOST_LANES = 30
PAPER, SHADE = (246, 246, 248), (226, 230, 240)
LONG = 4  # times as many numbers as pixels, beyond which a part is shown as well
GAP = 2
COLORS = ((31, 90, 160), (214, 96, 30), (44, 140, 70), (150, 70, 160), (190, 40, 60), (90, 90, 90))


def histograms(rows: np.ndarray, names: Sequence[str], columns: Sequence[Column]) -> np.ndarray:
    """A picture (3, H, W) of uint8 with a histogram of each column of a table, the first `MOST`."""
    from PIL import Image, ImageDraw

    count = min(len(columns), MOST)
    across = math.ceil(math.sqrt(count * HEIGHT / WIDTH))
    down = math.ceil(count / across)
    image = Image.new("RGB", (across * WIDTH, down * HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    for i in range(count):
        corner = (i % across) * WIDTH, (i // across) * HEIGHT
        _histogram(draw, corner, names[i], columns[i], rows[:, i])
    return np.moveaxis(np.asarray(image), -1, 0)


def _histogram(draw: Any, corner: tuple[int, int], name: str, column: Column, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    counts, low, high = _counts(column, known)
    left, top = corner[0] + MARGIN, corner[1] + MARGIN
    width, bottom = WIDTH - 2 * MARGIN, corner[1] + HEIGHT - MARGIN - TITLE
    share = f" ({1 - len(known) / len(values):.0%} missing)" if len(known) < len(values) else ""
    draw.text((left, top - 6), _short(name + share, 34), fill=INK)
    draw.line((left, bottom, left + width, bottom), fill=INK)
    tallest = max(int(counts.max(initial=0)), 1)
    for k, count in enumerate(counts.tolist()):
        x = left + k * width / len(counts)
        y = bottom - (bottom - top - TITLE) * count / tallest
        if count:
            draw.rectangle((x, min(y, bottom - 1), x + max(width / len(counts) - 1, 1), bottom - 1), fill=BAR)
    draw.text((left, bottom + 3), _short(low, 15), fill=INK)
    draw.text((left + width, bottom + 3), _short(high, 15), fill=INK, anchor="ra")


def _counts(column: Column, known: np.ndarray) -> tuple[np.ndarray, str, str]:
    """(how many are in each bar, what is below the first bar, what below the last)."""
    if not len(known):
        return np.zeros(1, int), "", ""
    if column.kind == "category":
        counts = np.bincount(known.astype(int), minlength=len(column.names))
        order = np.argsort(-counts, kind="stable")[:BARS] if len(counts) > BARS else np.arange(len(counts))
        return counts[order], column.names[order[0]], column.names[order[-1]]
    low, high = column.texts(np.array([known.min(), known.max()]))
    return np.histogram(known, BINS)[0], low, high


def _short(text: str, most: int) -> str:
    """A text's beginning, in the letters that Pillow's own font has: those of ASCII, without accents."""
    text = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return text if len(text) <= most else text[: most - 1] + "…"


def curves(images: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Series (n, C, L) → a plot each, (n, 3, 90, 160) of uint8, with a line a channel.

    Series of more than four times as many numbers as there are pixels have a second one below, (n, 3, 182,
    160) in all: the part that varies most, which is shaded in the first, a number a pixel.

    Args:
        images: the series.
        bounds: what is at the foot and at the top, (C, 1) each; what each channel reaches from and to unless
            given.
    """
    low, high = bounds or (images.min((0, 2))[:, None], images.max((0, 2))[:, None])
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    unit = (images - low) / np.where(high > low, high - low, 1)
    unit = np.where(high > low, np.clip(np.nan_to_num(unit), 0, 1), 0.5)[:, :MOST_LANES]
    lanes = 1 if unit.shape[1] <= OVERLAID else unit.shape[1]
    if lanes > 1:
        unit = (unit * 0.9 + 0.05 + np.arange(lanes)[::-1, None]) / lanes  # the first one on top
    inside = PLOT_WIDTH - 2 * EDGE
    return np.stack([_twice(each, inside) if each.shape[1] > LONG * inside else _plot(each) for each in unit])


def _twice(lines: np.ndarray, count: int) -> np.ndarray:
    """Lines (C, L) as a plot, and below it one of `count` places where they vary most."""
    start = _liveliest(lines, count)
    ends = (start / lines.shape[1], (start + count) / lines.shape[1])
    between = np.full((3, GAP, PLOT_WIDTH), 255, np.uint8)
    part = _plot(lines[:, start : start + count], SHADE)
    return np.concatenate([_plot(lines, shaded=ends), between, part], 1)


def _liveliest(lines: np.ndarray, count: int) -> int:
    """The first of `count` places of lines (C, L) whose variance there, summed over them, is greatest."""
    centered = lines - lines.mean(1, keepdims=True)
    first, second = (
        (sums := np.pad(np.cumsum(power, 1), ((0, 0), (1, 0))))[:, count:] - sums[:, :-count]
        for power in (centered, centered**2)
    )
    return int((second - first**2 / count).sum(0).round(6).argmax())  # equal ones differ by less: the first


def _plot(
    lines: np.ndarray, paper: tuple[int, int, int] = PAPER, shaded: tuple[float, float] | None = None
) -> np.ndarray:
    """Lines (C, L) between 0 and 1 as a picture (3, H, W), shaded from one part of its width to another."""
    from PIL import Image, ImageDraw

    size = PLOT_WIDTH * FINER, PLOT_HEIGHT * FINER
    width, height = size[0] - 2 * EDGE * FINER - 1, size[1] - 2 * EDGE * FINER - 1
    image = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(image)
    if shaded is not None:
        left, right = (EDGE * FINER + end * width for end in shaded)
        draw.rectangle((left, 0, right, size[1]), fill=SHADE)
    for i in reversed(range(len(lines))):
        x, y = _vertices(lines[i], width)
        points = np.stack([EDGE * FINER + x, EDGE * FINER + (1 - y) * height], 1)
        draw.line(points.ravel().tolist(), fill=COLORS[i % len(COLORS)], width=FINER, joint="curve")
    return np.moveaxis(np.asarray(image.reduce(FINER)), -1, 0)


def _vertices(line: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x (n,) in pixels and y (n,): of a long line, the least and the greatest value at every pixel."""
    if len(line) == 1:
        line = line.repeat(2)
    if len(line) <= 2 * width:
        return np.linspace(0, width, len(line)), line
    starts = np.arange(width) * len(line) // width
    ends = [np.minimum.reduceat(line, starts), np.maximum.reduceat(line, starts)]
    return np.arange(width).repeat(2), np.stack(ends, 1).ravel()
