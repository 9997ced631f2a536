"""Samples that are no pictures, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .columns import Column

WIDTH, HEIGHT, MARGIN, TITLE = 220, 130, 10, 16
MOST = 48  # columns that are drawn
BINS, BARS = 24, 12
INK, BAR = (40, 40, 40), (80, 120, 180)


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
    return text if len(text) <= most else text[: most - 1] + "…"
