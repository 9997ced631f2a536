"""Hugging Face data sets, through the package `datasets`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from PIL import Image

from ...files import expanded
from ..config import DataConfig
from .labels import named_parts, the_one
from .pictures import opened
from .side_labels import asked_columns, told_by_columns
from .source_types import LABEL_KEYS, TELLING, Pictures

TAKES = Pictures.takes | TELLING | {"labels", "skip_unlabeled"}
PICTURE_KEYS = ("image", "images", "img", "picture", "photo", "pixel_values")


def hugging_face(name: str, config: DataConfig) -> Pictures:
    """A data set by hub name or local path, as NAME@SPLIT:PICTURES,COLUMN,….

    The split is "train" unless given. The columns need only be named where they are not plain; those that are
    told may be given as `labels` instead.
    """
    datasets = _package()
    name, columns = _columns(name)
    name, split = _split(name)
    table = _load(datasets, name, split)
    column, told, classes = _chosen(datasets, table.features, name, columns, config)
    cells = {}
    for label in told:
        cells[label], feature = table[label][:], table.features[label]
        if isinstance(feature, datasets.ClassLabel):
            classes.add(label)
            cells[label] = [None if v is None or v < 0 else feature.names[v] for v in cells[label]]
    names = [f"{column} {i}" for i in range(len(table))]
    others = [other for other in table.features if other != column]
    kept, labels, notes = told_by_columns(column, others, cells, classes, names, config)
    raw = table.cast_column(column, datasets.Image(decode=False))

    @contextlib.contextmanager
    def open_row(i: int) -> Iterator[Image.Image]:
        entry = raw[kept[i]][column]
        if entry is None:
            raise ValueError("no picture there")
        with opened(io.BytesIO(entry["bytes"]) if entry["bytes"] else entry["path"]) as image:
            yield image

    identity = ["hf", name, split, table._fingerprint, column, *told]
    return Pictures([names[i] for i in kept], open_row, identity, labels, notes, TAKES)


def files_of(name: str) -> list[str]:
    """The addresses or paths of the files of NAME@SPLIT, as a repository or folder of files has them.

    ValueError where the package can't tell them.
    """
    datasets = _package()
    name, split = _split(name)
    try:
        files = datasets.load_dataset_builder(name).config.data_files or {}
    except Exception as error:  # many kinds, all about the user's name or network
        raise ValueError(f"the data set {name!r} could not be looked up: {error}") from None
    if split not in files:
        raise ValueError(
            f"{name} has no files of a split {split!r}; its splits: {', '.join(map(str, files)) or 'none'}"
        )
    return [str(file) for file in files[split]]


def _package() -> Any:
    """The package `datasets`; ValueError without it."""
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: needs the package datasets; pip install 'alphabar[hf]'") from None
    return datasets


def _split(name: str) -> tuple[str, str]:
    """NAME@SPLIT → (NAME, SPLIT), "train" unless given."""
    name, _, split = name.partition("@")
    return name, split or "train"


def _columns(name: str) -> tuple[str, str]:
    """NAME:PICTURES,LABELS → (NAME, "PICTURES,LABELS"); what exists is a path."""
    before, colon, columns = name.rpartition(":")
    is_path = "/" in columns or "\\" in columns or expanded(name).exists()
    if not colon or is_path or columns.endswith("]"):  # or a part of a split, as in @train[:100]
        return name, ""
    return before, columns


def _chosen(
    datasets: Any, features: Any, name: str, columns: str, config: DataConfig
) -> tuple[str, list[str], set[str]]:
    """(column of pictures, those that are told, those of them that are classes), named or where plain."""
    listing = ", ".join(features)
    column, labels = named_parts(
        columns,
        features,
        config.classes,
        lambda given: f"{name} has no column {given!r}; its columns: {listing}",
    )
    pictures = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    if column and column not in pictures:
        raise ValueError(f"{column!r} holds no pictures; columns that do: {', '.join(pictures) or 'none'}")
    column = column or the_one("pictures", pictures, PICTURE_KEYS, f"as hf:{name}:COLUMN") or ""
    if not column:
        raise ValueError(f"{name} has no column of pictures; its columns: {', '.join(features)}")
    if labels and config.labels:
        raise ValueError(
            f"{', '.join(labels)} of {name} and labels {config.labels} are told: name all in one"
        )
    others = [other for other in features if other != column]
    told = asked_columns(config.labels or ",".join(labels) or None, others, config)
    if told or config.classes == "none":
        return column, told, set()
    named = [k for k, f in features.items() if isinstance(f, datasets.ClassLabel)]
    values = {k: f.dtype for k, f in features.items() if isinstance(f, datasets.Value)}
    plain = [k for k in LABEL_KEYS if values.get(k, "").startswith(("int", "uint", "string"))]
    how = f"as hf:{name}:{column},LABELS, or none (--classes none)"
    label = the_one("labels", named or plain, LABEL_KEYS, how)
    return column, [label] if label else [], {label} if label else set()


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
