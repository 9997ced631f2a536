"""Hugging Face data sets, through the package `datasets`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..files import expanded
from .arrays import LABEL_KEYS, labels_of
from .pictures import opened
from .source_types import Labels, Pictures


def hugging_face(name: str, classes: str) -> Pictures:
    """A data set by hub name or local path, `@SPLIT` behind it unless that is "train"."""
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: needs the package datasets; pip install 'alphabar[hf]'") from None
    name, _, split = name.partition("@")
    split = split or "train"
    table = _load(datasets, name, split)
    features = table.features
    pictures = [column for column, f in features.items() if isinstance(f, datasets.Image)]
    if not pictures:
        raise ValueError(f"{name} has no column of pictures; its columns: {', '.join(features)}")
    column = pictures[0]
    label = _label_column(datasets, features) if classes != "none" else None
    labels = Labels() if label is None else _labels(datasets, table, name, split, label)
    rest = [other for other in features if other not in (column, label)]
    note = f"pictures from {column}" + (f", classes from {label}" if label else "")
    notes = [note + (f"; not used: {', '.join(rest)}" if rest else ""), *labels.notes]
    raw = table.cast_column(column, datasets.Image(decode=False))

    @contextlib.contextmanager
    def open_row(i: int) -> Iterator[Image.Image]:
        entry = raw[i][column]
        if entry is None:
            raise ValueError("no picture there")
        with opened(io.BytesIO(entry["bytes"]) if entry["bytes"] else entry["path"]) as image:
            yield image

    def labels_at(numbers: Sequence[int]) -> Labels:
        if labels.numbers is None:
            return Labels()
        return Labels(labels.numbers[np.asarray(numbers, dtype=np.int64)], labels.names)

    names = [f"{column} {i}" for i in range(len(table))]
    return Pictures(names, open_row, ["hf", name, split, table._fingerprint], labels_at, notes)


def _load(datasets: Any, name: str, split: str) -> Any:
    path = expanded(name)
    try:
        if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
            table = datasets.load_from_disk(str(path))
            return table[split] if isinstance(table, datasets.DatasetDict) else table
        return datasets.load_dataset(name, split=split)
    except KeyError:
        raise ValueError(f"{name} has no split {split!r}; give it as hf:{name}@SPLIT") from None
    except Exception as error:  # the package raises many kinds, all about the user's name or network
        raise ValueError(f"the data set {name!r} (split {split!r}) could not be loaded: {error}") from None


def _label_column(datasets: Any, features: Any) -> str | None:
    """The first column of classes; or else numbers or text in one that is called as labels are."""
    named = [column for column, f in features.items() if isinstance(f, datasets.ClassLabel)]
    values = {column: f.dtype for column, f in features.items() if isinstance(f, datasets.Value)}
    plain = [k for k in LABEL_KEYS if values.get(k, "").startswith(("int", "uint", "string"))]
    return next(iter(named + plain), None)


def _labels(datasets: Any, table: Any, name: str, split: str, column: str) -> Labels:
    values = table[column][:]
    feature = table.features[column]
    named = isinstance(feature, datasets.ClassLabel)
    if any(value is None or (named and value < 0) for value in values):
        raise ValueError(
            f"some pictures of {name} (split {split!r}) have no class in the column {column!r}; "
            "go on without classes (--classes none, classes='none')"
        )
    if named:
        return Labels(np.asarray(values, dtype=np.int64), tuple(feature.names))
    return labels_of(np.asarray(values), column)
