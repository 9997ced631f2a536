"""One row of a table, or one of its series, read as a sample of a model whose columns are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import some
from ..columns import Column, Found
from .arrow import Cells
from .tables import TABLES, read_columns

if TYPE_CHECKING:
    from ..space import Space


def is_table(path: Path) -> bool:
    """Whether a file is a table by its ending."""
    return path.suffix.lower() in TABLES


def read_row(
    path: Path,
    space: Space,
    known: np.ndarray | None = None,
    which: str = "",
    say: Callable[[str], object] = str,
) -> np.ndarray:
    """(D,) of a row of a table: its columns by their names, what is empty or lacks its column as NaN.

    Args:
        path: of the file.
        space: of a table's rows.
        known: what of the row counts, (D,); the rest may be empty.
        which: the number of the row, from 0; of a table of one it needn't be said.
        say: called with what stands in the row and does not count.

    ValueError for a table of other columns, unless it has all that the model has as well, for a value that
    its column can't hold, and for none where the data miss none, unless it isn't `known`.
    """
    _, cells, _ = read_columns(path)
    labels = [label.name for label in space.labels if label.name in cells]
    odd = [name for name in cells if name not in {*space.names, *labels}]
    if odd and not cells.keys() >= set(space.names):
        raise ValueError(
            f"{path} has the columns {some(odd)}, which the model has not: {some(space.names, 20)}"
        )
    place = place_of(list(map(str, range(_height(cells.values())))), which, path, "rows")
    if odd:
        say(f"not used of {path}, the model was trained without: {some(odd)}")
    if told := [(name, text) for name in labels if (text := _texts(cells[name])[place])]:
        what = " and ".join(f"{name} {text}" for name, text in told)
        say(f"{what}, which stands in {path}, is told to the model by --cond alone")
    row = np.full(len(space.columns), math.nan)
    for i, (name, column) in enumerate(zip(space.names, space.columns, strict=True)):
        if name in cells:
            row[i] = _numbers(name, column, cells[name], [place], path)[0]
    empty = np.isnan(row) & [column.missing is None for column in space.columns]
    if lost := [space.names[i] for i in np.flatnonzero(empty if known is None else empty & known)]:
        raise ValueError(
            f"{path} has no {some(lost)}, which the data never miss: give a value, or let edit inpaint fill "
            f"it in, {','.join(lost)}"
        )
    return row


def read_series(
    path: Path, space: Space, known: np.ndarray | None = None, which: str = ""
) -> tuple[np.ndarray, int]:
    """(the first numbers (C, L) of a series in a table of the form that the data had, how many it has).

    Args:
        path: of the file.
        space: of series from a table.
        known: what counts, (C or 1, L); the rest may be empty, and is 0.
        which: the series: its id, or of one row a series the number of the row, from 0; of a table of one it
            needn't be said.

    ValueError for a table of other columns, and for a number that is missing.
    """
    timeline = space.timeline
    _, cells, _ = read_columns(path)
    each_row = not timeline.id
    names = [name for name in timeline.order if name != timeline.label] if each_row else list(space.names)
    if lost := [name for name in names if name not in cells]:
        raise ValueError(f"{path} has no column {some(lost)}; it has {some(list(cells), 20)}")
    height = _height(cells.values())
    if each_row:
        rows = np.array([place_of(list(map(str, range(height))), which, path, "series")])
    else:
        ids = _texts(cells[timeline.id]) if timeline.id in cells else [""] * height
        every = list(dict.fromkeys(ids))
        rows = np.flatnonzero(np.array(ids) == every[place_of(every, which, path, "series")])
    columns = timeline.columns[:1] * len(names) if each_row else timeline.columns
    found = [
        _numbers(name, column, cells[name], rows, path) for name, column in zip(names, columns, strict=False)
    ]
    series, length = np.concatenate(found)[None] if each_row else np.stack(found), space.shape[1]
    if series.shape[1] < length:
        raise ValueError(
            f"a sample is {timeline.lasting(length)}, and the series in {path} has {series.shape[1]:,}"
        )
    sample = series[:, :length]
    absent = np.isnan(sample)
    if (absent if known is None else absent & known).any():
        channel, at = np.argwhere(absent)[0].tolist()
        raise ValueError(
            f"{path} has no number of {names[at] if each_row else names[channel]} at place {at}: fill it in"
        )
    return np.where(absent, 0.0, sample), series.shape[1]


def place_of(names: Sequence[str], which: str, path: Path, what: str) -> int:
    """Which one is meant of those of these names; ValueError if that isn't plain."""
    if which in names:
        return names.index(which)
    if which or len(names) != 1:
        got = f", got {which}" if which else ""
        how = f": name one, as {path}:{names[0]}{got}" if names else ""
        raise ValueError(f"{path} has {len(names)} {what}{f' ({some(names)})' if names else ''}{how}")
    return 0


def _height(columns: Iterable[Cells]) -> int:
    cells = next(iter(columns))
    return len(cells.places if isinstance(cells, Found) else cells[1])


def _texts(cells: Cells) -> list[str]:
    """What stands in all rows of a column."""
    if isinstance(cells, Found):
        return [(cells.texts[place] if place >= 0 else None) or "" for place in cells.places.tolist()]
    return cells[0].texts(cells[1])


def _numbers(
    name: str, column: Column, cells: Cells, rows: Sequence[int] | np.ndarray, path: Path
) -> np.ndarray:
    """What stands in some rows of a column, as numbers; ValueError for what it can't hold."""
    if not isinstance(cells, Found):
        return cells[1][rows]
    try:
        places = cells.places[rows].tolist()
        return np.array([column.number(cells.texts[place] if place >= 0 else None) for place in places])
    except ValueError as error:
        raise ValueError(f"column {name} of {path}: {error}") from None
