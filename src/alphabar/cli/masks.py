"""Masks that a person gives: what of a sample is known, and what is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import brief, unknown
from ..files import missing
from .read import array_of, as_prepared, sides_of, size_of

if TYPE_CHECKING:
    from ..data.space import Space

HALVES = ("left", "right", "top", "bottom")
COLORFUL = 40  # levels between the channels of a pixel


def read_mask(mask: str, space: Space, picture: str) -> np.ndarray:
    """True where the sample is known: (1, *sides), or of the sample's shape if each channel has its own.

    Args:
        mask: left, right, top or bottom, the half to fill. Or START:END of a series, in seconds if its rate
            is known, else in numbers; either may be left out. Or columns of a table, COLUMN,COLUMN. Or a
            picture: what is white, or transparent if anything is, is filled; one of the picture's own size is
            resized as the picture is. Or an .npy file: what is above the middle of 0..1, or of 0..255, is
            filled; it has the sides of a sample, or the shape of a whole one.
        space: of the sample.
        picture: the path of the sample.
    """
    sides = space.shape[1:]
    if mask in HALVES:
        return _half(mask, sides)
    if space.kind == "series" and ":" in mask and not Path(mask).is_file():
        return _stretch(mask, space)
    if space.columns and not Path(mask).is_file():
        return _columns(mask, space)
    if not Path(mask).is_file():
        raise missing(mask, "file", f"a mask is a picture, .npy, or {', '.join(HALVES)}")
    array = array_of(mask)
    fill = _drawn(mask, space, picture) if array is None else _above_half(array)
    whole = space.to_layout(np.empty(space.shape, bool)).shape  # in the user's own arrays
    for_all = [sides, (1, *sides)] if sides else []  # channels
    if fill.shape not in [*for_all, whole]:
        accepted = " or ".join(map(str, [*for_all[:1], *([] if whole in for_all else [whole])]))
        raise ValueError(f"the mask {mask} must have the shape {accepted}, got {fill.shape}")
    if fill.all() or not fill.any():
        raise ValueError(f"the mask {mask} is all {'white' if fill.all() else 'black'}: white is filled")
    return ~(fill.reshape(1, *sides) if fill.shape in for_all else space.from_layout(fill))


def _half(name: str, sides: tuple[int, ...]) -> np.ndarray:
    if len(sides) < (1 if name in ("left", "right") else 2):
        raise ValueError(f"this model's samples have no {name} half: give a mask as an .npy file")
    axis = -1 if name in ("left", "right") else -2
    middle = sides[axis] // 2
    fill = np.arange(sides[axis]) < middle
    fill = fill if name in ("left", "top") else ~fill
    return np.broadcast_to(~(fill if axis == -1 else fill[:, None]), sides)[None].copy()


def _columns(mask: str, space: Space) -> np.ndarray:
    """Columns of a table, by their names, are filled."""
    named = [name.strip() for name in mask.split(",")]
    for name in named:
        if name not in space.names:
            raise unknown("column", name, space.names)
    known = ~np.isin(space.names, named)
    if not known.any():
        raise ValueError(f"the mask {mask} has all columns: name those that are to be filled")
    return known


def _stretch(mask: str, space: Space) -> np.ndarray:
    """START:END of a series is filled."""
    length, rate = space.shape[1], space.timeline.rate
    start, _, end = mask.partition(":")
    try:
        first, last = (round(float(text) * (rate or 1)) if text else None for text in (start, end))
    except (ValueError, OverflowError):
        raise ValueError(f"a stretch of a series is START:END, two numbers, got {brief(mask)}") from None
    first, last = first or 0, length if last is None else last
    if not 0 <= first < last <= length or (first, last) == (0, length):
        raise ValueError(
            f"the mask {mask} must be a part of {space.timeline.lasting(length)}, START:END in "
            f"{'seconds' if rate else 'numbers'}"
        )
    place = np.arange(length)
    return ~((place >= first) & (place < last))[None]


def _above_half(array: np.ndarray) -> np.ndarray:
    """Where a mask's numbers are above the middle of their range, 0..1 or 0..255."""
    if array.dtype == bool:
        return array
    return array > (0.5 if array.max(initial=0) <= 1 else 127)


def _drawn(mask: str, space: Space, picture: str) -> np.ndarray:
    """Where a mask that is a picture says to fill."""
    from PIL import Image as Pictures

    from ..data.sources.colors import has_alpha
    from ..data.sources.pictures import PICTURE_ENDINGS, file_opened

    height, width = size = sides_of(space, mask)
    found = size_of(mask)
    if found != size and (Path(picture).suffix.lower() not in PICTURE_ENDINGS or found != size_of(picture)):
        raise ValueError(
            f"the mask {mask} is {found[1]} × {found[0]}, and the model's pictures are {width} × {height}: "
            "give a mask of that size, or of the picture's own"
        )
    with file_opened(mask) as header:
        transparent = has_alpha(header)

    def read(channels: int) -> np.ndarray:
        with file_opened(mask) as image:
            return as_prepared(image, space, size, channels, "black")

    if transparent:
        *color, alpha = read(4)
        inside = as_prepared(Pictures.new("L", (found[1], found[0]), 255), space, size, 1, "black")
        hole = (alpha < 128) & (inside[0] > 127)
        if hole.any():
            if np.any(np.min(color, axis=0)[~hole] > 127):
                raise ValueError(
                    f"the mask {mask} has white parts and transparent ones, and either could be meant to be "
                    "filled: save it without transparency, white where it is to be filled"
                )
            return hole
    gray = read(3).astype(int)
    if np.mean(gray.max(0) - gray.min(0) > COLORFUL) > 0.01:
        raise ValueError(f"the mask {mask} has colors: a mask is white where it is filled, black elsewhere")
    return gray.mean(0) > 127


# --- files ---------------------------------------------------------------------------------------
