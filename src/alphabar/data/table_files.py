"""Rows as a file of the form that a table had."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arrow import parquet_bytes
from .columns import Column
from .tables import PARQUET

if TYPE_CHECKING:
    from .space import Space


def table_bytes(
    matrix: np.ndarray, names: Sequence[str], columns: Sequence[Column], layout: str
) -> tuple[str, bytes]:
    """(ending, content) of a file with rows (n, D) in the form that the data had."""
    if layout == PARQUET:
        return ".parquet", parquet_bytes(matrix, names, columns)
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=layout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*(c.texts(v) for c, v in zip(columns, matrix.T, strict=True)), strict=True))
    return ".tsv" if layout == "\t" else ".csv", file.getvalue().encode()


def whole_rows(
    matrix: np.ndarray, space: Space, told: Sequence[float | None] | None
) -> tuple[np.ndarray, list[str], list[Column]]:
    """Rows (n, D), names and columns with the label in its own place again, if the space has one.

    It is the class that each row was told, and missing where it was told none.
    """
    names, columns, label = [*space.names], [*space.columns], space.label
    if label is not None:
        codes = [math.nan if value is None else value for value in told or [None] * len(matrix)]
        matrix = np.insert(matrix, label.place, np.array(codes, np.float64), axis=1)
        names.insert(label.place, label.name)
        columns.insert(label.place, label.column)
    return matrix, names, columns
