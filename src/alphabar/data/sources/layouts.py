"""The axes of arrays of samples: which are channels, and where that is not plain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .source_types import Rows, Samples

FEW_CHANNELS = 4
"""An axis of at most this length is plainly the channels, beside one that is longer."""
RANKS = {"HW": 3, "HWC": 4, "CHW": 4, "L": 2, "CL": 3, "LC": 3}
SERIES = "L", "CL", "LC"


class AmbiguousLayoutError(ValueError):
    """An array can be read in several ways."""


class _Reading(NamedTuple):
    layout: str
    words: str


def arranged(rows: Rows, layout: str, where: str) -> Samples:
    """Rows as they are stored → samples in the given layout, or in the one that is plain; with a note of it.

    With `layout` auto, (N, H, W, C) and (N, C, H, W) are pictures where just one of the two axes is at most
    4, and so plainly the channels. (N, H, W) are gray pictures if they are square or bytes, (N, C, L) series
    of at most 4 channels, (N, C, D, H, W) volumes. What can be read in several ways is refused with all of
    them (`AmbiguousLayoutError`). Other ranks are taken as they are. True and false are 1 and 0.
    """
    shape = rows.shape
    if rows.dtype.kind not in "buif" or rows.dtype.itemsize > 8:
        raise ValueError(f"{where} must hold numbers of at most 64 bits, got {rows.dtype}")
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{where} must have shape (N, …), samples one after another, such as (N, H, W), (N, H, W, C) or "
            f"(N, C, H, W) for pictures, got {shape}"
        )
    found = _plain(rows, where) if layout == "auto" else layout
    if found == "volume":
        return _volume(rows, where)
    rank = RANKS.get(found, len(shape))
    if len(shape) != rank:
        raise ValueError(f"layout {found} is for arrays of {rank} axes, samples first; {where} has {shape}")
    limits, note = None, f"read as {_words(found, shape)}"
    if rows.dtype.kind == "b":
        rows, limits = rows.map(shape, lambda block: block.astype(np.uint8), np.uint8), (0.0, 1.0)
    if found == "array":
        return Samples(rows, "CHW", "array", [note], limits)
    n, *sides = shape
    if found == "HW":
        rows = rows.map((n, 1, *sides), lambda block: block[:, None])
    elif found == "HWC":
        rows = rows.map((n, sides[2], *sides[:2]), lambda block: np.moveaxis(block, 3, 1))
    elif found == "L":
        rows = rows.map((n, 1, *sides), lambda block: block[:, None])
    elif found == "LC":
        rows = rows.map((n, *sides[::-1]), lambda block: np.moveaxis(block, 2, 1))
    return Samples(rows, found, "series" if found in SERIES else "picture", [note], limits)


def _volume(rows: Rows, where: str) -> Samples:
    """(N, D, H, W) or (N, C, D, H, W) as volumes of one channel, or several."""
    shape = rows.shape
    if len(shape) not in (4, 5):
        raise ValueError(
            f"volumes are (N, D, H, W), or (N, C, D, H, W) with several channels; {where} has {shape}"
        )
    if len(shape) == 4:
        rows = rows.map((shape[0], 1, *shape[1:]), lambda block: block[:, None])
    channels, *sides = rows.shape[1:]
    plural = "s" if channels > 1 else ""
    note = f"read as volumes of {channels} channel{plural}, {' × '.join(map(str, sides))}"
    return Samples(rows, "CHW", "volume", [note])


def _words(layout: str, shape: tuple[int, ...]) -> str:
    """How samples of an array of this shape are read in a layout."""
    sides = shape[1:]
    if layout == "volume":
        return f"volumes of {' × '.join(map(str, sides))}"
    if layout == "array":
        return f"samples of shape ({', '.join(map(str, sides))}), as they are"
    if layout == "HW":
        return f"gray pictures of {sides[0]} × {sides[1]} (height × width)"
    if layout in SERIES:
        c, length = (1, *sides) if layout == "L" else sides if layout == "CL" else sides[::-1]
        return f"series of {c} channel{'s' if c > 1 else ''} and {length} times"
    c, h, w = (sides[2], *sides[:2]) if layout == "HWC" else sides
    axis = "last" if layout == "HWC" else "second"
    return f"{c} channel{'s' if c > 1 else ''} of {h} × {w} (height × width), the {axis} axis"


def _plain(rows: Rows, where: str) -> str:
    """The layout, where it is plain."""
    shape, rank = rows.shape, len(rows.shape)
    if rank == 4:
        second, last = (side <= FEW_CHANNELS for side in (shape[1], shape[3]))
        if second != last:
            return "CHW" if second else "HWC"
        raise _ambiguous(where, shape, ("CHW", "HWC", "volume", "array"))
    if rank == 3:
        few, long = (side <= FEW_CHANNELS for side in shape[1:])
        if shape[1] == shape[2] or (rows.dtype.itemsize == 1 and few == long):
            return "HW"
        if few and not long:
            return "CL"
        raise _ambiguous(where, shape, ("HW", "CL", "LC", "array"))
    return "volume" if rank == 5 else "array"


def _ambiguous(where: str, shape: tuple[int, ...], layouts: tuple[str, ...]) -> AmbiguousLayoutError:
    ways = "; ".join(f"{layout} for {_words(layout, shape)}" for layout in layouts)
    return AmbiguousLayoutError(
        f"{where} of shape {shape} can be read in several ways: say which by --layout (layout= in Python), "
        f"{ways}"
    )
