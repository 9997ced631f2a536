"""Rows as a file of the form that a table had."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..columns import Column
from .arrow import parquet_bytes
from .tables import PARQUET

if TYPE_CHECKING:
    from ..space import Space


def table_bytes(
    matrix: np.ndarray, names: Sequence[str], columns: Sequence[Column], layout: str
) -> tuple[str, bytes]:
    """(ending, content) of a file with rows (n, D) in the form that the data had."""
    if layout == PARQUET:
        return ".parquet", parquet_bytes(matrix, names, columns)
    texts = [c.texts(v) for c, v in zip(columns, matrix.T, strict=True)]
    return ".tsv" if layout == "\t" else ".csv", _text_bytes(names, texts, layout)


def labels_bytes(key: str, names: Iterable[object], told: Mapping[str, Sequence[str]]) -> bytes:
    """A CSV of samples' names, in a column `key`, and what they are told, a column for each condition.

    >>> labels_bytes("file_name", ["0.png", "1.png"], {"class": ["a cat", ""]})
    b'file_name,class\\n0.png,a cat\\n1.png,\\n'
    """
    key += "_" * (key in told)
    return _text_bytes([key, *told], [names, *told.values()], ",")


def _text_bytes(names: Sequence[str], columns: Sequence[Iterable[object]], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return file.getvalue().encode()


def whole_rows(
    matrix: np.ndarray, space: Space, told: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, list[str], list[Column]]:
    """Rows (n, D), names and columns with the columns that are told in their own places again.

    Args:
        matrix: the rows.
        space: of them.
        told: what each row was told, by condition, as texts; "" where it is missing.
    """
    names, columns = [*space.names], [*space.columns]
    for label in space.labels:
        texts, column = told.get(label.told) or [""] * len(matrix), label.column
        if column.kind == "category":  # such as sets of tags, which may be new ones
            column = replace(column, names=tuple(dict.fromkeys((*column.names, *filter(None, texts)))))
        numbers = [column.number(text) if text else math.nan for text in texts]
        matrix = np.insert(matrix, label.place, np.array(numbers, np.float64), axis=1)
        names.insert(label.place, label.name)
        columns.insert(label.place, column)
    return matrix, names, columns
