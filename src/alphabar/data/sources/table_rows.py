"""One row of a table, read as a sample of a model whose columns are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import some
from ..columns import Found
from .tables import read_columns

if TYPE_CHECKING:
    from ..space import Space


def read_row(path: Path, space: Space, known: np.ndarray | None = None) -> np.ndarray:
    """(D,) of a table of one row: its columns by their names, what is empty or lacks its column as NaN.

    ValueError for a table of several rows, or of other columns, for a value that its column can't hold, and
    for none where the data miss none, unless it isn't `known` (D,).
    """
    _, cells, _ = read_columns(path)
    if odd := [name for name in cells if name not in space.names]:
        odd = [name for name in odd if name not in {label.name for label in space.labels}]
    if odd:
        raise ValueError(
            f"{path} has the columns {some(odd)}, which the model has not: {some(space.names, 20)}"
        )
    row = np.full(len(space.columns), math.nan)
    for i, (name, column) in enumerate(zip(space.names, space.columns, strict=True)):
        if name not in cells:
            continue
        found = cells[name]
        count = len(found.places) if isinstance(found, Found) else len(found[1])
        if count != 1:
            raise ValueError(f"{path} has {count} rows: give a table of one, with its header")
        try:
            row[i] = column.number(found.texts[found.places[0]]) if isinstance(found, Found) else found[1][0]
        except ValueError as error:
            raise ValueError(f"column {name} of {path}: {error}") from None
    empty = np.isnan(row) & [column.missing is None for column in space.columns]
    if lost := [space.names[i] for i in np.flatnonzero(empty if known is None else empty & known)]:
        raise ValueError(
            f"{path} has no {some(lost)}, which the data never miss: give a value, or let edit inpaint fill "
            f"it in, {','.join(lost)}"
        )
    return row
