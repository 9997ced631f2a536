"""Parquet files with a column of pictures, as Hugging Face writes them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from ...errors import some
from ..config import DataConfig
from .arrow import pyarrow, reading_parquet
from .hub import PICTURE_KEYS, TAKES
from .labels import the_one
from .pictures import opened
from .side_labels import asked_columns, told_by_columns
from .source_types import LABEL_KEYS, LABEL_NAMES, Pictures, stamp

LARGEST_GROUP = 2**31
"""Bytes of pictures that are read at once, as a file was written."""


def picture_columns(path: Path) -> list[str]:
    """The columns that hold files: bytes, or a struct of bytes and a path."""
    return [field.name for field in _file(path).schema_arrow if _holds_files(field.type)]


def _holds_files(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_files(kind.field("bytes").type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def parquet_pictures(paths: Sequence[Path], config: DataConfig) -> Pictures:
    """The pictures in files of the same columns, one after another."""
    where, pa = paths[0].name, pyarrow()
    column = the_one("pictures", picture_columns(paths[0]), PICTURE_KEYS, "by leaving one column in the file")
    assert column is not None
    schema = _file(paths[0]).schema_arrow
    others = [name for name in schema.names if name != column]
    if config.classes == "folders":
        raise ValueError(f"{where} has no sub-folders; its classes are a column: --labels COLUMN")
    told = asked_columns(config.labels, others, config)
    plain = None if told else _label_column(schema, others, config)
    told = told if plain is None else [plain]
    groups = _Groups(paths, column)
    names = [f"{column} {i}" for i in range(groups.rows)]
    columns, classes = dict[str, list[Any]](), {plain} if plain else set[str]()
    for name in told:
        try:
            values = [v for path in paths for v in _file(path).read([name]).column(name).to_pylist()]
        except pa.ArrowException as error:
            raise ValueError(f"the column {name} of {where} cannot be read: {error}") from None
        if known := _class_names(schema, name):
            values = [known[v] if isinstance(v, int) and 0 <= v < len(known) else None for v in values]
            classes.add(name)
        columns[name] = values
    kept, labels, notes = told_by_columns(column, others, columns, classes, names, config)

    @contextlib.contextmanager
    def open_row(i: int) -> Iterator[Image.Image]:
        with opened(io.BytesIO(groups.content(kept[i]))) as image:
            yield image

    names = [names[i] for i in kept]
    return Pictures(names, open_row, ["parquet", *map(stamp, paths)], labels, notes, TAKES)


def _label_column(schema: Any, others: list[str], config: DataConfig) -> str | None:
    """The column that is plainly the class."""
    types = pyarrow().types
    plain = [
        name
        for name in others
        if name.lower() in LABEL_NAMES
        and any(
            test(schema.field(name).type) for test in (types.is_integer, types.is_string, types.is_boolean)
        )
    ]
    if config.classes == "none":
        return None
    return the_one("labels", plain, LABEL_KEYS, "as --labels COLUMN, or none (--classes none)")


def _class_names(schema: Any, label: str) -> list[str] | None:
    """The names of classes that Hugging Face leaves in a file, None without."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
        return [str(name) for name in names] or None
    return None


def _file(path: Path) -> Any:
    with reading_parquet(path) as parquet:
        return parquet.ParquetFile(path)


class _Groups:
    """Files by their number; the group of rows that was read last is kept."""

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self.column, self.lock, self.kept = column, Lock(), (-1, None)
        files = [_file(path) for path in paths]
        self.groups = [(file, g) for file in files for g in range(file.num_row_groups)]
        self.ends = np.cumsum(
            [file.metadata.row_group(g).num_rows for file, g in self.groups], dtype=np.int64
        )
        self.rows = int(self.ends[-1]) if len(self.ends) else 0
        if not self.rows:
            raise ValueError(f"there are no rows in {some([path.name for path in paths])}")

    def content(self, i: int) -> bytes:
        """The file in row i; ValueError if there is none."""
        g = int(np.searchsorted(self.ends, i, "right"))
        with self.lock:
            if self.kept[0] != g:
                self.kept = (-1, None)
                self.kept = g, self._read(g)
            column: Any = self.kept[1]
            entry = column[i - int(self.ends[g - 1] if g else 0)].as_py()
        content = entry.get("bytes") if isinstance(entry, dict) else entry
        if not content:
            raise ValueError("no picture there")
        return content

    def _read(self, g: int) -> Any:
        file, k = self.groups[g]
        size = file.metadata.row_group(k).total_byte_size
        if size > LARGEST_GROUP:
            raise ValueError(
                f"a group of rows has {size / 1e9:.1f} GB: write the file with row_group_size=100"
            )
        try:
            return file.read_row_group(k, [self.column]).column(self.column)
        except pyarrow().ArrowException as error:
            raise ValueError(f"cannot be read: {str(error).splitlines()[0]}") from None
