"""Kinds of samples: how each is called and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..images import displayable, to_bytes
from .charts import histograms

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


def _show_array(images: np.ndarray, space: Space) -> np.ndarray:
    """The numbers in gray: rows of the last axis one below another, channel by channel; a vector as one."""
    channels, *sides = space.shape
    last = sides[-1] if sides else 1
    low, high = space.bounds or (None, None)
    if low is not None and high is not None:
        low, high = (bound.reshape(channels, 1, 1) for bound in (low, high))
    shown = to_bytes(images.reshape(len(images), channels, -1, last), low, high)
    return shown.reshape(len(images), 1, -1, last if sides else channels)


def _show_table(images: np.ndarray, space: Space) -> np.ndarray:
    """A histogram of each column."""
    return histograms(images, space.names, space.columns)[None]


def _axes(rank: int) -> str:
    """The names of an array's axes: `D`, `C × L`, `C × H × W`, `C × D × H × W`."""
    return {1: "D", 2: "C × L", 3: "C × H × W", 4: "C × D × H × W"}.get(rank, f"{rank} axes")


KINDS = {
    "picture": Kind("pictures", _axes, _show_picture),
    "array": Kind("samples", _axes, _show_array),
    "table": Kind("rows", lambda rank: "columns", _show_table, together=True, codec="table"),
}
"""Kinds of samples by name: `picture` is (C, H, W), `array` a vector or numbers on a grid, `table` a row."""
