"""What a source of samples is: pictures to be opened one by one, or an array to be read in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..columns import Column, LabelColumn
from ..conditions.base import Condition
from ..timeline import NO_TIMELINE, Timeline

BLOCK = 256
LABEL_KEYS = ("labels", "y_train", "y", "label", "targets", "classes", "arr_1")
TELLING = frozenset({"conditions", "text_encoder"})
"""Settings of what is told, for data of which columns or arrays can be."""
LABEL_NAMES = {*LABEL_KEYS, "class", "class_name", "label_name", "category", "target"}
"""Usual names of labels: of arrays, and of columns."""
BLOCK_BYTES = 2**26


class Labels(NamedTuple):
    """What is told of each sample.

    Attributes:
        numbers: its class, (N,) numbers within the names, or None.
        names: of the classes.
        notes: what to say of them.
        told: other conditions, by name, with the values of each, (N, …); of grids as `Rows`.
    """

    numbers: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    told: Mapping[str, tuple[Condition, Any]] = MappingProxyType({})


@dataclass
class Pictures:
    """Picture files: `open(i)` gives a Pillow image whose header is read, closed afterwards.

    Attributes:
        names: of the files.
        open: the picture of a number.
        identity: as JSON, another one whenever the files may have changed.
        labels: of the pictures with these numbers; asked when it is known which can be read.
        notes: what was found and left out.
        takes: as for `Arrays`.
        apart: whether a process may go on opening them after it was forked, beside the others.
    """

    names: list[str]
    open: Callable[[int], AbstractContextManager[Image.Image]]
    identity: Any
    labels: Callable[[Sequence[int]], Labels]
    notes: list[str] = field(default_factory=list)
    takes: frozenset[str] = frozenset(
        {"size", "resize", "fit", "crop", "channels", "frames", "background", "range", "skip_bad"}
        | {"pairs", "pairs_resize"}
    )
    apart: bool = False


@dataclass
class Rows:
    """An array (N, …) that is read in blocks along its first axis; each call of `blocks` starts anew."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]

    @classmethod
    def of(cls, array: np.ndarray) -> Rows:
        """An array in memory, or mapped into it."""
        size = block_size(array.shape[1:], array.dtype)
        starts = range(0, len(array), size) if array.ndim else ()
        return cls(array.shape, array.dtype, lambda: (np.asarray(array[i : i + size]) for i in starts))

    def map(self, shape: tuple[int, ...], act: Callable[[np.ndarray], np.ndarray], dtype: Any = None) -> Rows:
        """The same with each block turned into another one; `shape` and `dtype` are those of all."""
        return Rows(shape, np.dtype(dtype or self.dtype), lambda: map(act, self.blocks()))


class Samples(NamedTuple):
    """An array that was opened.

    Attributes:
        rows: (N, *shape).
        layout, kind: as in `Space`.
        notes: what was taken, and how.
        limits: the least and the greatest value that the type can have, if that is known.
        labels: the class of each.
        columns: of a table, by name.
        names, units: of the channels, none if they have none.
        grid: as in `Space`.
        timeline: of series.
        origins: which series each window (N,) was cut from, where those of one are held out together.
        label_columns: of a table, the columns that the labels are from.
    """

    rows: Rows
    layout: str
    kind: str
    notes: list[str]
    limits: tuple[float, float] | None = None
    labels: Labels = Labels()
    columns: Mapping[str, Column] = MappingProxyType({})
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    grid: Mapping[str, Any] = MappingProxyType({})
    timeline: Timeline = NO_TIMELINE
    origins: np.ndarray | None = None
    label_columns: tuple[LabelColumn, ...] = ()


@dataclass
class Arrays:
    """Samples in an array; `open` looks at it, and reads it in blocks.

    Attributes:
        identity: as for `Pictures`.
        open: the samples.
        takes: the settings that mean something, beside those that do for all data.
        names: of the files that hold a sample each, if that is how they are stored.
    """

    identity: Any
    open: Callable[[], Samples]
    takes: frozenset[str] = frozenset(
        {"layout", "range", "clip", "crop", "gaps", "rate", "window", "hop", "pairs"}
    )
    names: list[str] = field(default_factory=list)


def block_size(shape: Sequence[int], dtype: Any = np.uint8) -> int:
    """How many samples of this shape are read at once."""
    return max(1, min(BLOCK, BLOCK_BYTES // max(math.prod(shape) * np.dtype(dtype).itemsize, 1)))


def stamp(path: Path) -> list[Any]:
    """What changes when a file does: its place, size and time."""
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def files(n: int) -> str:
    """`1 file` or `n files`."""
    return f"{n} file{'s' if n != 1 else ''}"
