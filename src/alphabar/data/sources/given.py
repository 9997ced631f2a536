"""What is given from Python: arrays, lists of samples, and data sets that give a sample by its number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from ..config import DataConfig
from .labels import labels_of
from .layouts import arranged
from .source_types import TELLING, Arrays, Labels, Pictures, Rows, Samples
from .tables import frame, is_frame
from .told_grids import GRID, are_grids, with_grids
from .typed import told_columns

ACCEPTED = (
    "an array or tensor (N, …); a list of arrays or pictures; a map-style data set of them or of pairs "
    "(sample, label); or a pair (any of these, labels), labels being an array, or name → values"
)


def given(data: Any, config: DataConfig) -> Arrays | Pictures:
    """A source of samples that are given from Python, with their labels if there are any.

    A tuple of two is always (samples, labels), where labels are classes, or a mapping of names to what is
    told under each; a list, or a tuple of another length, always one of samples.
    Samples are an array or tensor (N, …), or something with a length that gives item i by number: a list, or
    a map-style `torch.utils.data.Dataset`. Its items are arrays or tensors of one shape and type, or Pillow
    pictures; each by itself, or as a tuple (sample, label).
    """
    data, labels = _apart(data)
    if is_frame(data):
        if labels is not None:
            raise ValueError("a table has its labels in a column of its own: give the table alone")
        return frame(data, config)
    named = labels if isinstance(labels, Mapping) else None
    grids: dict[str, np.ndarray] = {}
    if named is not None:
        grids = _grids(named, config, len(data))
        columns, labels = _columns({k: v for k, v in named.items() if k not in grids}, len(data)), None
        told = TELLING
    else:
        columns, told = {}, frozenset()
        labels = None if labels is None or config.classes == "none" else as_array(labels, "labels")

    def chosen(numbers: Sequence[int], otherwise: Callable[[], Labels]) -> Labels:
        some = {name: [cells[i] for i in numbers] for name, cells in columns.items()}
        kinds = {name: kind for name, kind in (config.conditions or {}).items() if name not in grids}
        labels = told_columns(some, kinds, "the labels") if some or kinds else otherwise()
        rows = {name: Rows.of(array[list(numbers)]) for name, array in grids.items()}
        return with_grids(labels, rows, config, "the labels")

    if _is_array(data):
        array = as_array(data, "the array")
        every = range(len(array))
        return _arrays(
            lambda: array, lambda: chosen(every, lambda: _labels(labels, len(array))), config.layout, told
        )
    items = Items(data, labels, config.classes != "none" and named is None)
    every = range(len(items))
    if items.are_pictures:
        names = [f"picture {i}" for i in every]
        takes = Pictures.takes | told
        return Pictures(
            names,
            items.open,
            ["given"],
            lambda n: chosen(n, lambda: items.labels_of(n)),
            [],
            frozenset(takes),
        )
    return _arrays(items.stacked, lambda: chosen(every, lambda: items.labels_of(every)), config.layout, told)


def _grids(labels: Mapping[str, Any], config: DataConfig, n: int) -> dict[str, np.ndarray]:
    """The arrays that tell grids, by name; ValueError unless they are n each."""
    arrays = {
        str(name): as_array(values, str(name))
        for name, values in labels.items()
        if hasattr(values, "__array__")
        or hasattr(values, "detach")
        or (config.conditions or {}).get(name) == GRID
    }
    found = {name: array for name, array in arrays.items() if are_grids(name, array.shape, config.conditions)}
    for name, array in found.items():
        if len(array) != n:
            raise ValueError(f"{name} must be one for each of {n} samples, got {len(array)}")
    return found


def _columns(labels: Mapping[str, Any], n: int) -> dict[str, list[Any]]:
    """The values of each condition by name, as lists; ValueError unless they are n each."""
    found = {}
    for name, values in labels.items():
        array = hasattr(values, "__array__") or hasattr(values, "detach")
        found[str(name)] = as_array(values, str(name)).tolist() if array else list(values)
        if len(found[str(name)]) != n:
            raise ValueError(f"{name} must be one for each of {n} samples, got {len(found[str(name)])}")
    return found


def _arrays(
    values: Callable[[], np.ndarray], labels: Callable[[], Labels], layout: str, more: frozenset[str]
) -> Arrays:
    def opened() -> Samples:
        return arranged(Rows.of(values()), layout, "the array")._replace(labels=labels())

    return Arrays(["given"], opened, Arrays.takes | more)


def is_pictures(data: Any) -> bool:
    """Whether samples from Python are Pillow pictures."""
    data, _ = _apart(data)
    return not _is_array(data) and not is_frame(data) and Items(data).are_pictures


def as_array(given: Any, where: str) -> np.ndarray:
    """An array or a tensor, wherever it is, in the memory of NumPy."""
    try:
        return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where} cannot be taken as an array: {error}") from None


def _apart(data: Any) -> tuple[Any, Any]:
    """(samples, labels or None)."""
    return data if isinstance(data, tuple) and len(data) == 2 else (data, None)


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") and not isinstance(data, Image.Image)


def _labels(values: np.ndarray | None, n: int) -> Labels:
    if values is None:
        return Labels()
    if not values.ndim:
        raise ValueError(f"labels must be one for each of {n} samples, got {values}")
    return labels_of([values], n, "labels")


class Items:
    """Samples that are given one by one, with what is known of their labels.

    Args:
        data: with a length, and item i by number.
        labels: of all, instead of those in the items.
        wanted: whether labels in the items are used.

    Attributes:
        labels: of the items that were looked at, by number.
        are_pictures: whether they are Pillow pictures.
    """

    def __init__(self, data: Any, labels: np.ndarray | None = None, wanted: bool = True) -> None:
        by_number = hasattr(data, "__len__") and hasattr(data, "__getitem__")
        if not by_number or isinstance(data, (Mapping, str, bytes)):
            hint = "; what can only be gone through: give list(data)" if hasattr(data, "__iter__") else ""
            raise ValueError(f"data from Python must be {ACCEPTED}; got {type(data).__name__}{hint}")
        self.data, self.lock = data, Lock()
        if not len(self):
            raise ValueError(f"there are no samples in the {type(data).__name__} that is given")
        self.labels: dict[int, np.ndarray] = {}
        if labels is not None:
            _labels(labels, len(self))
            self.labels = dict(enumerate(labels))
        first = self._get(0)
        self.paired = isinstance(first, tuple) and len(first) == 2
        self.told = labels is None and wanted and self.paired
        self.are_pictures = isinstance(self.item(0), Image.Image)

    def __len__(self) -> int:
        return len(self.data)

    def _get(self, i: int) -> Any:
        try:
            with self.lock:  # data sets need not be safe for threads
                return self.data[i]
        except Exception as error:  # the data set's own code
            what = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"item {i} of {type(self.data).__name__} cannot be had by its number ({what}); data from "
                f"Python must be {ACCEPTED}"
            ) from None

    def item(self, i: int) -> Any:
        """Sample i; its label is remembered."""
        found = self._get(i)
        if (isinstance(found, tuple) and len(found) == 2) != self.paired:
            raise ValueError(f"item {i} is {'no' if self.paired else 'a'} pair, unlike item 0")
        x, label = found if self.paired else (found, None)
        if isinstance(x, (Mapping, str, bytes)):
            raise ValueError(f"items must be samples or pairs (sample, label), got {type(x).__name__} as {i}")
        if self.told:
            self.labels[i] = as_array(label, f"the label of item {i}")
        return x

    @contextlib.contextmanager
    def open(self, i: int) -> Iterator[Image.Image]:
        """Picture i, as `Pictures` opens them."""
        picture = self.item(i)
        if not isinstance(picture, Image.Image):
            raise ValueError(f"{type(picture).__name__}, no picture as the first is")
        yield picture

    def stacked(self) -> np.ndarray:
        """All samples as one array."""
        stacked = np.zeros(0)
        for i in range(len(self)):
            x = as_array(self.item(i), f"item {i}")
            if i == 0:
                stacked = np.empty((len(self), *x.shape), x.dtype)
            if (x.shape, x.dtype) != (stacked.shape[1:], stacked.dtype):
                raise ValueError(
                    f"samples must be of one shape and type: item {i} is {x.dtype} {x.shape}, item 0 "
                    f"{stacked.dtype} {stacked.shape[1:]}"
                )
            stacked[i] = x
        return stacked

    def labels_of(self, numbers: Sequence[int]) -> Labels:
        """The classes of the items with these numbers, as far as they were looked at."""
        known = [self.labels[i] for i in numbers if i in self.labels]
        if not known:
            return Labels()
        if len({label.shape for label in known}) > 1:
            raise ValueError(f"labels must be one for each sample, got shapes {known[0].shape} and others")
        values, names = np.stack(known), getattr(self.data, "classes", ())
        names = tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
        whole = values.ndim == 1 and values.dtype.kind in "iu"
        if whole and values.min() >= 0 and values.max() < len(names):  # as torchvision's data sets have them
            return Labels(values.astype(np.int64), names)
        return _labels(values, len(known))
