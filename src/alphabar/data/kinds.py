"""Kinds of samples: how each is called and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..images import displayable, to_bytes
from .charts import histograms
from .maps import in_colors

if TYPE_CHECKING:
    from .space import Space


class Kind(NamedTuple):
    """A row of `KINDS`.

    Attributes:
        noun: what samples are called, in the plural.
        axes: the rank of a sample → the names of its axes.
        show: (samples (n, *shape), space) → pictures (n, C', H, W) of uint8.
        together: whether it shows all of them in one picture (n = 1).
        codec: the one that suits them.
    """

    noun: str
    axes: Callable[[int], str]
    show: Callable[[np.ndarray, Space], np.ndarray]
    together: bool = False
    codec: str = "affine"


def _show_picture(images: np.ndarray, space: Space) -> np.ndarray:
    low, high = space.bounds or (None, None)
    return displayable(images, low, high, alpha="alpha" in space.names)


def _show_field(images: np.ndarray, space: Space) -> np.ndarray:
    """Each channel in colors from its least value to its greatest, side by side; what is missing is gray."""
    low, high = space.bounds or (None, None)
    return in_colors(images, low, high, space.names)


def _show_array(images: np.ndarray, space: Space) -> np.ndarray:
    """The numbers in gray: rows of the last axis one below another, channel by channel; a vector as one."""
    channels, *sides = space.shape
    last = sides[-1] if sides else 1
    low, high = space.bounds or (None, None)
    if low is not None and high is not None:
        low, high = (bound.reshape(channels, 1, 1) for bound in (low, high))
    shown = to_bytes(images.reshape(len(images), channels, -1, last), low, high)
    return shown.reshape(len(images), 1, -1, last if sides else channels)


def _show_volume(images: np.ndarray, space: Space) -> np.ndarray:
    """The middle slice along each side, one beside the other, channel below channel; missing is gray."""
    channels, *sides = space.shape
    low, high = space.bounds or (None, None)
    if low is None or high is None:
        axes = (0, *range(2, images.ndim))
        low, high = np.fmin.reduce(images, axes), np.fmax.reduce(images, axes)
    planes = [np.take(images, side // 2, axis) for axis, side in enumerate(sides, 2)]
    low, high = (np.asarray(end, np.float64).reshape(channels, 1, 1) for end in (low, high))
    shown = [np.where(np.isnan(plane), 128, to_bytes(plane, low, high)) for plane in planes]
    tall = max(plane.shape[2] for plane in shown)
    shown = [np.pad(p, ((0, 0), (0, 0), (0, tall - p.shape[2]), (0, 1))) for p in shown]
    sheet = np.concatenate(shown, 3).astype(np.uint8)
    return sheet.reshape(len(images), 1, -1, sheet.shape[3])


def _show_table(images: np.ndarray, space: Space) -> np.ndarray:
    """A histogram of each column."""
    return histograms(images, space.names, space.columns)[None]


def _axes(rank: int) -> str:
    """The names of an array's axes: `D`, `C × L`, `C × H × W`, `C × D × H × W`."""
    return {1: "D", 2: "C × L", 3: "C × H × W", 4: "C × D × H × W"}.get(rank, f"{rank} axes")


KINDS = {
    "picture": Kind("pictures", _axes, _show_picture),
    "field": Kind("fields", _axes, _show_field),
    "volume": Kind("volumes", _axes, _show_volume),
    "array": Kind("samples", _axes, _show_array),
    "table": Kind("rows", lambda rank: "columns", _show_table, together=True, codec="table"),
}
"""Kinds of samples by name: `picture` and `field` are (C, H, W), `volume` is (C, D, H, W), `array` a vector
or numbers on a grid, `table` a row."""
