"""Numbers on a plane as colors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images import to_bytes

VIRIDIS = """440154 481467 482576 453781 404688 39558c 33638d 2d718e 287d8e 238a8d 1f968b 20a386 29af7f 3cbc75
56c667 75d054 95d840 bade28 dde318 fde725"""
"""Twenty colors of even steps to the eye, also in gray (S. van der Walt and N. Smith 2015)."""
ABSENT = np.array((200, 200, 200), np.uint8)
LEAST, GAP, LINE = 96, 2, 13  # pixels: of a channel's longer side, between channels, of their names


def in_colors(
    fields: np.ndarray, low: np.ndarray | None, high: np.ndarray | None, names: Sequence[str] = ()
) -> np.ndarray:
    """(n, C, H, W) → (n, 3, H', W') uint8: the channels side by side, each in colors from low to high.

    Args:
        fields: NaN is gray. Small ones are enlarged.
        low, high: one a channel; each channel's own range if None.
        names: of the channels, written above them.
    """
    axes = (0, *range(2, fields.ndim))
    if low is None or high is None:
        low, high = np.fmin.reduce(fields, axes), np.fmax.reduce(fields, axes)
    low, high = (np.nan_to_num(np.asarray(end, np.float64)).reshape(-1, 1, 1) for end in (low, high))
    colors = np.where(np.isnan(fields)[..., None], ABSENT, _table()[to_bytes(fields, low, high)])
    factor = max(1, LEAST // max(fields.shape[2:]))
    colors = colors.repeat(factor, 2).repeat(factor, 3)
    n, channels, height, width = colors.shape[:4]
    sheet = np.full((n, 3, height, channels * (width + GAP) - GAP), 255, np.uint8)
    for i in range(channels):
        start = i * (width + GAP)
        sheet[..., start : start + width] = np.moveaxis(colors[:, i], -1, 1)
    if not names:
        return sheet
    head = np.broadcast_to(_written(names, width, sheet.shape[-1]), (n, 3, LINE, sheet.shape[-1]))
    return np.concatenate([head, sheet], 2)


def _written(names: Sequence[str], width: int, whole: int) -> np.ndarray:
    """(LINE, whole) uint8: names in black on white, each within its channel's width."""
    from PIL import Image, ImageDraw

    line = Image.new("L", (whole, LINE), 255)
    for i, name in enumerate(names):
        own = Image.new("L", (width, LINE), 255)
        ImageDraw.Draw(own).text((1, 0), name, fill=0)
        line.paste(own, (i * (width + GAP), 0))
    return np.asarray(line)


def _table() -> np.ndarray:
    """(256, 3) uint8."""
    known = np.array([list(bytes.fromhex(color)) for color in VIRIDIS.split()])
    places = np.linspace(0, 1, len(known))
    table = [np.interp(np.linspace(0, 1, 256), places, channel) for channel in known.T]
    return np.rint(np.stack(table, 1)).astype(np.uint8)
