"""Prepared samples: files that are read as they are asked for, with what belongs to them."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..errors import brief
from ..files import DamagedFile
from .conditions.base import Condition
from .space import Space


class ByNumber:
    """Samples (n, *shape) of which a number, a slice, numbers or a mask (n,) give some, read anew."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self.nbytes = math.prod(shape) * dtype.itemsize

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The samples of these numbers (n,), each within 0 … len - 1."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            return self[:][key]
        numbers = np.arange(*first.indices(len(self))) if isinstance(first, slice) else np.asarray(first)
        if numbers.dtype == bool and numbers.shape == self.shape[:1]:
            numbers = np.flatnonzero(numbers)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise IndexError(f"samples are had by a number, a slice, numbers or a mask, got {brief(first)}")
        places = np.where(numbers < 0, numbers + len(self), numbers).astype(np.int64).ravel()
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(
                f"there are {len(self)} samples, numbered from 0, got {numbers.ravel()[:5].tolist()}"
            )
        found = self.read(places)
        if rest and not isinstance(first, slice):  # of arrays, NumPy takes all together
            return found[(np.arange(len(found)).reshape(numbers.shape), *rest)]
        return found[:, *rest] if rest else found.reshape(*numbers.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class StoredSamples(ByNumber):
    """Samples (n, *shape) of files, one after another.

    They are read and not mapped: looking at a mapped file that got shorter ends the process (SIGBUS), and
    here it is a `DamagedFile`, whenever it got so. A batch of 256 digits takes 0.7 ms instead of 0.2.

    Args:
        files: how many samples each file has, in their order.
        shape: of one sample.
        dtype: of its numbers.
    """

    def __init__(self, files: Mapping[Path, int], shape: tuple[int, ...], dtype: np.dtype) -> None:
        super().__init__((sum(files.values()), *shape), dtype)
        self.paths, self._each = list(files), math.prod(shape)
        self._ends = np.cumsum([0, *files.values()])[1:]
        self._descriptors: list[int] = []
        weakref.finalize(self, _close, self._descriptors)
        for path, n in files.items():
            self._descriptors.append(os.open(path, os.O_RDONLY))
            if os.fstat(self._descriptors[-1]).st_size < n * self._each * dtype.itemsize:
                raise self._shorter()

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The samples of these numbers (n,)."""
        found = np.empty((numbers.size, *self.shape[1:]), self.dtype)
        file = np.searchsorted(self._ends, numbers, "right")
        next_to = (np.diff(numbers, prepend=-2) == 1) & (np.diff(file, prepend=-1) == 0)
        runs = np.flatnonzero(~next_to).tolist()  # of numbers one after another
        for start, end in zip(runs, [*runs[1:], numbers.size], strict=False):
            self._read_into(found[start:end], int(numbers[start]) * self._each)
        return found

    def read_part(self, number: int, part: tuple[slice, ...]) -> np.ndarray:
        """sample[part] of one sample; of its last axis all is read, of the others the part alone."""
        sides, starts = [each.stop - each.start for each in part], [each.start for each in part]
        found = np.empty((*sides[:-1], self.shape[-1]), self.dtype)
        outer = np.indices(sides[:-2]).reshape(len(sides) - 2, -1) + np.array(starts[:-2])[:, None]
        places = np.broadcast_arrays(number, *outer, starts[-2], 0)
        firsts = np.ravel_multi_index(tuple(places), self.shape)
        for first, rows in zip(firsts.tolist(), found.reshape(-1, *found.shape[-2:]), strict=True):
            self._read_into(rows, first)
        return found[..., part[-1]]

    def _read_into(self, found: np.ndarray, first: int) -> None:
        """Fill an array with the numbers one after another from `first` on, which are of one file."""
        file = int(np.searchsorted(self._ends, first // max(self._each, 1), "right"))
        before = int(self._ends[file - 1]) * self._each if file else 0
        left, at = found.reshape(-1).view(np.uint8), (first - before) * self.dtype.itemsize
        while left.size:
            count = os.preadv(self._descriptors[file], [left.data], at)
            if not count:
                raise self._shorter()
            left, at = left[count:], at + count

    def _shorter(self) -> DamagedFile:
        return DamagedFile(
            f"the prepared data in {self.paths[0].parent} got shorter since it was opened: delete that "
            "folder, and it is prepared again"
        )


class Stored(NamedTuple):
    """Prepared samples (N, *shape) with what belongs to them; `labels` (N,) if there are classes, and other
    conditions by name with their values (N, …), of grids as `images` are. `files`: of how many samples each
    file of them is, and its SHA-256; `found`: notes on the source beside those on the samples.
    """

    images: Any
    space: Space
    classes: tuple[str, ...]
    labels: np.ndarray | None
    hashes: np.ndarray
    fingerprint: str
    notes: list[str]
    told: Mapping[str, tuple[Condition, Any]] = MappingProxyType({})
    files: tuple[tuple[int, str], ...] = ()
    found: tuple[str, ...] = ()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
