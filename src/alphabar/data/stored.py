"""Samples in a file, read as they are asked for: a mapped array that looks first if the file is whole."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..files import DamagedFile


class StoredSamples:
    """Samples (n, *shape) of a file, with a NumPy array's indexing; each answer is a copy.

    Looking at a mapped file that got shorter ends the process (SIGBUS): here its size is looked at first, and
    `DamagedFile` raised. Reading sample by sample instead would take five times as long a batch.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self.nbytes = math.prod(shape) * dtype.itemsize
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._check()
        self._mapped = np.memmap(path, dtype, "r", shape=shape)

    def _check(self) -> None:
        if os.fstat(self._descriptor).st_size < self.nbytes:
            raise DamagedFile(
                f"the prepared data in {self.path.parent} got shorter since it was opened: delete that "
                "folder, and it is prepared again"
            )

    ndim = property(lambda self: len(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        self._check()
        return np.array(self._mapped[key])

    def __getattr__(self, name: str) -> Any:
        """What else an array has, such as `mean`, of all samples in memory."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self[:], name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
