"""Kinds of samples: how each is called and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..images import displayable, to_bytes
from .charts import curves, histograms
from .maps import in_colors
from .sources.grid_files import grid_each, grid_files
from .sources.series_files import series_each, series_files
from .sources.table_files import table_bytes, whole_rows

if TYPE_CHECKING:
    from .space import Space


Files = Callable[
    [Callable[[], np.ndarray], "Space", Sequence[int], Mapping[str, Sequence[str]]],
    Iterator[tuple[str, bytes]],
]


Each = tuple[str, Callable[[np.ndarray], bytes]]


class Kind(NamedTuple):
    """A row of `KINDS`.

    Attributes:
        noun: what samples are called, in the plural.
        axes: the rank of a sample → the names of its axes.
        show: (samples (n, *shape), space) → pictures (n, C', H, W) of uint8.
        together: whether it shows all of them in one picture (n = 1).
        codec: the one that suits them.
        each: space → the ending and the content of the file that a sample is written as beside samples.npy;
            None if it is none of its own.
        files: (samples, space, their numbers, their classes if they have any) → (name, content) of the files
            that all are written in together; None if there are none.
        standardized: whether each channel gets mean 0 and standard deviation 1, and floats have no bounds
            unless some are asked for: a few extreme ones would decide these.
    """

    noun: str
    axes: Callable[[int], str]
    show: Callable[[np.ndarray, Space], np.ndarray]
    together: bool = False
    codec: str = "affine"
    each: Callable[[Space], Each | None] = lambda space: None
    files: Files | None = None
    standardized: bool = False

    @property
    def one(self) -> str:
        """What a single one is called."""
        return self.noun if self.noun == "series" else self.noun.removesuffix("s")


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


def _show_series(images: np.ndarray, space: Space) -> np.ndarray:
    """A plot each, a line a channel, between the bounds of each channel; of sound as loud as the loudest."""
    if space.timeline.depth:
        loudest = np.full((space.channels, 1), max(float(np.abs(images.astype(np.float64)).max()), 1e-30))
        return curves(images, (-loudest, loudest))
    return curves(images, space.bounds)


def _table_files(
    images: Callable[[], np.ndarray], space: Space, indices: Sequence[int], told: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, bytes]]:
    """One of all rows, with what was told in its place."""
    ending, content = table_bytes(*whole_rows(images(), space, told), space.layout)
    yield f"samples{ending}", content


def _axes(rank: int) -> str:
    """The names of an array's axes: `D`, `C × L`, `C × H × W`, `C × D × H × W`."""
    return {1: "D", 2: "C × L", 3: "C × H × W", 4: "C × D × H × W"}.get(rank, f"{rank} axes")


KINDS = {
    "picture": Kind("pictures", _axes, _show_picture, each=grid_each, files=grid_files),
    "field": Kind("fields", _axes, _show_field, each=grid_each, files=grid_files, standardized=True),
    "volume": Kind("volumes", _axes, _show_volume, each=grid_each, files=grid_files, standardized=True),
    "array": Kind("samples", _axes, _show_array, each=grid_each, files=grid_files),
    "series": Kind("series", _axes, _show_series, each=series_each, files=series_files, standardized=True),
    "table": Kind(
        "rows", lambda rank: "columns", _show_table, together=True, codec="table", files=_table_files
    ),
}
"""Kinds of samples by name: `picture` and `field` are (C, H, W), `volume` is (C, D, H, W), `series` (C, L),
`array` a vector or numbers on a grid, `table` a row."""


def shown_shape(shape: Sequence[int], kind: str) -> str:
    """`3 × 32 × 32 (C × H × W)`."""
    return f"{' × '.join(map(str, shape))} ({KINDS[kind].axes(len(shape))})"


def shown_space(space: Space, blocks: Iterable[np.ndarray]) -> Space:
    """The space with the bounds to show samples by: its own, or what blocks (n, *shape) reach from and to.

    Of pictures and arrays that is one range, of others a channel's own each.
    """
    if space.bounds is not None or space.columns:
        return space
    axes = (0, *range(2, len(space.shape) + 1))
    ends = [(np.fmin.reduce(block, axes), np.fmax.reduce(block, axes)) for block in blocks]
    low = np.fmin.reduce([least for least, _ in ends]).astype(np.float64)
    high = np.fmax.reduce([most for _, most in ends]).astype(np.float64)
    if space.kind in ("picture", "array"):
        low[:], high[:] = low.min(), high.max()
    room = np.where(high > low, 0, np.maximum(0.5, 1e-3 * np.abs(low)))
    return replace(space, low=tuple((low - room).tolist()), high=tuple((high + room).tolist()))
