"""Hugging Face data sets, through the package `datasets`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...files import expanded
from .labels import labels_of, named_parts, the_one
from .pictures import opened
from .source_types import LABEL_KEYS, Labels, Pictures

PICTURE_KEYS = ("image", "images", "img", "picture", "photo", "pixel_values")


def hugging_face(name: str, classes: str) -> Pictures:
    """A data set by hub name or local path, as NAME@SPLIT:PICTURES,LABELS.

    The split is "train" unless given. The columns need only be named where they are not plain.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: needs the package datasets; pip install 'alphabar[hf]'") from None
    name, columns = _columns(name)
    name, _, split = name.partition("@")
    split = split or "train"
    table = _load(datasets, name, split)
    column, label = _chosen(datasets, table.features, name, columns, classes)
    labels = Labels() if label is None else _labels(datasets, table, name, split, label)
    rest = [other for other in table.features if other not in (column, label)]
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


def _columns(name: str) -> tuple[str, str]:
    """NAME:PICTURES,LABELS → (NAME, "PICTURES,LABELS"); what exists is a path."""
    before, colon, columns = name.rpartition(":")
    is_path = "/" in columns or "\\" in columns or expanded(name).exists()
    if not colon or is_path or columns.endswith("]"):  # or a part of a split, as in @train[:100]
        return name, ""
    return before, columns


def _chosen(datasets: Any, features: Any, name: str, columns: str, classes: str) -> tuple[str, str | None]:
    """(column of pictures, column of labels or None), as far as named, or where they are plain."""
    listing = ", ".join(features)
    column, labels = named_parts(
        columns, features, classes, lambda given: f"{name} has no column {given!r}; its columns: {listing}"
    )
    pictures = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    if column and column not in pictures:
        raise ValueError(f"{column!r} holds no pictures; columns that do: {', '.join(pictures) or 'none'}")
    column = column or the_one("pictures", pictures, PICTURE_KEYS, f"as hf:{name}:COLUMN") or ""
    if not column:
        raise ValueError(f"{name} has no column of pictures; its columns: {', '.join(features)}")
    if len(labels) > 1:
        raise ValueError(f"one column of a data set of the hub is told, its classes, got {', '.join(labels)}")
    if labels or classes == "none":
        return column, labels[0] if labels else None
    named = [k for k, f in features.items() if isinstance(f, datasets.ClassLabel)]
    values = {k: f.dtype for k, f in features.items() if isinstance(f, datasets.Value)}
    plain = [k for k in LABEL_KEYS if values.get(k, "").startswith(("int", "uint", "string"))]
    how = f"as hf:{name}:{column},LABELS, or none (--classes none)"
    return column, the_one("labels", named or plain, LABEL_KEYS, how)


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
    return labels_of([np.asarray(values)], len(values), column)
