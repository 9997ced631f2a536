"""The data sets: how each is read, what entries are given of it, and what samples of it are.

The judge sees all of a data set; entries get a file or folder without the test part. Nothing is fetched.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")


FARTHEST = 4.0
"""Standard deviations: a few diamonds of impossible sizes would decide the distance otherwise."""


class BadInputError(Exception):
    """Something that was given is not what is accepted."""


class Part(NamedTuple):
    """Samples as the classifier takes them, and the number of the class of each."""

    samples: np.ndarray
    classes: np.ndarray


class DataSet(Protocol):
    """A row of DATASETS."""

    form: str
    classes: tuple[str, ...]

    def read(self, path: Path, part: str) -> Part:
        """The part `train` or `test` of what the user has."""
        ...

    def for_entries(self, path: Path, folder: Path) -> Path:
        """What an entry is given: the training part, written into `folder` unless it lies there already."""
        ...

    def encoded(self, arrays: dict[str, np.ndarray], path: Path) -> Part:
        """Samples by the contract as the classifier takes them; without classes these are an empty array."""
        ...


def arrays_of(path: Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile) as error:
        got = getattr(error, "strerror", None) or f"something else ({type(error).__name__})"
        raise BadInputError(f"{path}: got {got}; accepted is {what}") from None


class Pictures:
    """Gray or color pictures of one size, with their classes.

    Args:
        shape: (C, H, W).
        classes: their names, in the order of their numbers.
        folders: the data are folders of files, train/CLASS and test/CLASS, and not one .npz.
    """

    def __init__(self, shape: tuple[int, int, int], classes: tuple[str, ...], folders: bool = False) -> None:
        self.shape, self.classes, self.folders = shape, classes, folders
        c, h, w = shape
        side = f"{h}, {w}" + (f", {c}" if c > 1 else "")
        self.form = f"an .npz of {', '.join(KEYS)}, pictures (N, {side}) in uint8, classes 0 to 9"
        if folders:
            self.form = f"a folder with train/CLASS/*.jpg and test/CLASS/*.jpg for {', '.join(classes)}"

    def read(self, path: Path, part: str) -> Part:
        if self.folders:
            return self._folder(path / part)
        arrays = arrays_of(path, self.form)
        if missing := {f"x_{part}", f"y_{part}"} - set(arrays):
            raise BadInputError(
                f"{path}: got arrays {', '.join(arrays)}, without {', '.join(sorted(missing))}; "
                f"accepted is {self.form}"
            )
        return self.encoded({"samples": arrays[f"x_{part}"], "classes": arrays[f"y_{part}"]}, path)

    def _folder(self, path: Path) -> Part:
        from PIL import Image

        files = [sorted((path / name).glob("*.jpg")) for name in self.classes]
        if not all(files):
            raise BadInputError(f"{path}: got no pictures of some class; accepted is {self.form}")
        classes = np.repeat(np.arange(len(files)), [len(found) for found in files])
        pictures = np.stack([np.asarray(Image.open(file)) for found in files for file in found])
        return self.encoded({"samples": pictures, "classes": classes}, path)

    def for_entries(self, path: Path, folder: Path) -> Path:
        if self.folders:
            return path / "train"
        arrays = arrays_of(path, self.form)
        out = folder / f"{path.stem}-train.npz"
        if not out.exists() or out.stat().st_mtime < path.stat().st_mtime:
            folder.mkdir(parents=True, exist_ok=True)
            with out.with_suffix(".part").open("wb") as file:
                np.savez(file, x_train=arrays["x_train"], y_train=arrays["y_train"])
            os.replace(out.with_suffix(".part"), out)
        return out

    def numbers(self, told: Iterable[str | int]) -> np.ndarray:
        """Classes by number, where a program has them by name."""
        return np.array([self.classes.index(c) if isinstance(c, str) else c for c in told], dtype=np.int64)

    def encoded(self, arrays: dict[str, np.ndarray], path: Path) -> Part:
        c, h, w = self.shape
        samples, classes = arrays.get("samples"), arrays.get("classes", np.zeros(0, np.int64))
        shapes = [(h, w, c), (c, h, w), *([(h, w)] if c == 1 else [])]
        if samples is None or samples.dtype != np.uint8 or samples.shape[1:] not in shapes:
            got = "no array `samples`" if samples is None else f"{samples.dtype} of shape {samples.shape}"
            raise BadInputError(
                f"{path}: got {got}; accepted is uint8 of shape {' or '.join(_with_n(s) for s in shapes)}: "
                "save them as the array `samples`"
            )
        known = np.issubdtype(classes.dtype, np.integer) and classes.shape in ((len(samples),), (0,))
        if not known or (len(classes) and (classes.min() < 0 or classes.max() >= len(self.classes))):
            raise BadInputError(
                f"{path}: got classes {classes.dtype} of shape {classes.shape}; accepted are {len(samples)} "
                f"whole numbers from 0 to {len(self.classes) - 1} as the array `classes`, or none at all"
            )
        if samples.shape[1:] == (h, w, c):
            samples = np.moveaxis(samples, -1, 1)
        return Part(np.ascontiguousarray(samples).reshape(-1, c, h, w), classes.astype(np.int64))


def _with_n(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})"


class Table:
    """Rows of numbers and categories; one column of categories is the class, and told to nobody.

    A row is, for the classifier, its numbers less the training rows' mean and divided by their standard
    deviation, at most 4 of them away, and a one-hot vector for each category but the class.

    Args:
        columns: name of a column → its categories, or () for numbers.
        target: the column that is the class.
        rows: how many there are; a tenth of them, which the seed 0 picks, is the test part.
    """

    def __init__(self, columns: dict[str, tuple[str, ...]], target: str, rows: int) -> None:
        self.columns, self.target, self.rows = columns, target, rows
        self.classes = columns[target]
        self.form = f"a .csv with the columns {', '.join(columns)} and {rows:,} rows"
        self._train: dict[Path, dict[str, np.ndarray]] = {}

    @cached_property
    def tested(self) -> np.ndarray:
        """Which rows are the test part."""
        picked = np.zeros(self.rows, bool)
        picked[np.random.default_rng(0).permutation(self.rows)[: self.rows // 10]] = True
        return picked

    def table(self, path: Path) -> dict[str, np.ndarray]:
        """The columns of a .csv, numbers in float64."""
        try:
            with path.open(newline="") as file:
                head, *lines = csv.reader(file)
            found = dict(zip(head, np.array(lines).T, strict=True))
            return {k: found[k] if v else found[k].astype(np.float64) for k, v in self.columns.items()}
        except (OSError, ValueError, LookupError) as error:
            got = getattr(error, "strerror", None) or f"something else ({error})"
            raise BadInputError(f"{path}: got {got}; accepted is {self.form}") from None

    def _whole(self, path: Path) -> dict[str, np.ndarray]:
        table = self.table(path)
        if (n := len(table[self.target])) != self.rows:
            raise BadInputError(f"{path}: got {n:,} rows; accepted is {self.form}")
        return table

    def read(self, path: Path, part: str) -> Part:
        whole = self._whole(path)
        train = {name: column[~self.tested] for name, column in whole.items()}
        self._scales = {k: (train[k].mean(), train[k].std()) for k, v in self.columns.items() if not v}
        rows = train if part == "train" else {name: column[self.tested] for name, column in whole.items()}
        return self.encoded(rows, path)

    def for_entries(self, path: Path, folder: Path) -> Path:
        self._whole(path)
        out = folder / f"{path.stem}-train.csv"
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line, test in zip(lines[1:], self.tested, strict=True) if not test]
        folder.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".part").write_text("".join([lines[0], *kept]))
        os.replace(out.with_suffix(".part"), out)
        return out

    def encoded(self, arrays: dict[str, np.ndarray], path: Path) -> Part:
        if missing := set(self.columns) - set(arrays):
            raise BadInputError(
                f"{path}: got arrays {', '.join(arrays)}, without {', '.join(sorted(missing))}; accepted is "
                f"an array (n,) for each of the columns {', '.join(self.columns)}"
            )
        parts = []
        for name, categories in self.columns.items():
            column = self._checked(name, arrays[name], len(arrays[self.target]), path)
            if categories and name != self.target:
                parts.append(column[:, None] == np.array(categories))
            elif not categories:
                mean, deviation = self._scales[name]
                parts.append(((column[:, None] - mean) / deviation).clip(-FARTHEST, FARTHEST))
        cut = arrays[self.target][:, None] == np.array(self.classes)
        return Part(np.concatenate(parts, 1).astype(np.float32), cut.argmax(1))

    def _checked(self, name: str, column: np.ndarray, n: int, path: Path) -> np.ndarray:
        categories = self.columns[name]
        accepted = f"{n} of {', '.join(categories)}" if categories else f"{n} finite numbers"
        right = column.shape == (n,) and column.dtype.kind in ("U" if categories else "iuf")
        if right:
            bad = column[~(np.isin(column, categories) if categories else np.isfinite(column))]
            if not len(bad):
                return column
        got = f"{column.dtype} of shape {column.shape}" if not right else f"{bad[0]!s}"
        raise BadInputError(f"{path}: got {got} in the column {name}; accepted are {accepted}")


DIGITS = tuple("0123456789")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLOTHES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
DIAMONDS: dict[str, tuple[str, ...]] = {
    "carat": (),
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": tuple("DEFGHIJ"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
    **dict.fromkeys(("depth", "table", "price", "x", "y", "z"), ()),
}
DATASETS: dict[str, Any] = {
    "mnist": Pictures((1, 28, 28), DIGITS),
    "fashion": Pictures((1, 28, 28), CLOTHES),
    "cifar10": Pictures((3, 32, 32), THINGS, folders=True),
    "diamonds": Table(DIAMONDS, "cut", 53_940),
}


def from_idx(folder: Path, out: Path) -> None:
    """The .npz of MNIST or Fashion-MNIST, from the four idx files that they are published as (.gz or not)."""
    arrays = {}
    for key in KEYS:
        kind, axes, start = ("images", 3, 16) if key[0] == "x" else ("labels", 1, 8)
        stem = f"{'train' if key.endswith('train') else 't10k'}-{kind}"
        found = sorted(folder.glob(f"{stem}[-.]idx{axes}-ubyte*"))
        if not found:
            raise BadInputError(
                f"{folder}: got no {stem}-idx{axes}-ubyte; accepted is a folder of four idx files"
            )
        content = found[0].read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        arrays[key] = np.frombuffer(content, np.uint8, offset=start)
        arrays[key] = arrays[key].reshape(-1, 28, 28) if axes == 3 else arrays[key]
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    from_idx(Path(sys.argv[1]), Path(sys.argv[2]))
