"""Columns that are told to a model: which kind of condition each is, found from its cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import brief, some
from ..conditions.base import Condition
from ..conditions.kinds import CONDITIONS
from .labels import labels_of
from .source_types import LABEL_NAMES, Labels

SKIP, CLASS = "skip", "class"
FIRST = ("tags", "vector")
"""Kinds that are looked for before the others of `CONDITIONS`."""


def told_columns(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str] | None, where: str) -> Labels:
    """The conditions that columns are, and what to say of them.

    Lists, and texts with `;` or `|` in one of them, are tags, numbers a vector, texts of which few differ a
    class, and so is what has a usual name of labels; other texts of several words are told by their words.

    Args:
        columns: name → the cells of all samples: texts, numbers, lists, or None for what is missing.
        kinds: of some of them, a row of `CONDITIONS`, or `skip`.
        where: they are, for messages.

    ValueError for kinds of other columns, for cells that are not of a kind that is asked for, and if nothing
    can be told.
    """
    kinds = kinds or {}
    check_kinds(columns, kinds, where)
    found: dict[str, tuple[Condition, np.ndarray]] = {}
    left_out = []
    for name, given in columns.items():
        if not name or set(name) & set(".,="):
            raise ValueError(
                f"the name of a condition must have no dots, commas or =, got {brief(name)}: rename it"
            )
        wanted = kinds.get(name, CLASS if name.lower() in LABEL_NAMES and is_class(given) else "")
        try:
            read = None if wanted == SKIP else read_cells(list(map(_cell, given)), wanted)
        except ValueError as error:
            raise ValueError(f"{name} of {where}: {error}") from None
        if read is None:
            left_out.append(name)
        else:
            found[name] = read
    if not found:
        raise ValueError(
            f"nothing of {some(list(columns))} in {where} can be told: that is numbers, texts of which few "
            "differ, or tags (lists, or texts with ; between them)"
        )
    kinds_found = ", ".join(f"{name} ({condition.kind})" for name, (condition, _) in found.items())
    notes = [f"told from {where}: {kinds_found}; --conditions NAME=KIND says otherwise"]
    return Labels(notes=(*notes, *left_out_notes(left_out)), told=found)


def told_arrays(
    arrays: Mapping[str, np.ndarray], kinds: Mapping[str, str] | None, n: int, where: str
) -> Labels:
    """The same of arrays (n,), (n, 1) or (n, K) by name; one alone of classes, or one-hot, is the class."""
    kinds = kinds or {}
    check_kinds(arrays, kinds, where)
    if not arrays:
        return Labels()
    (first, values), *more = arrays.items()
    hot = values.ndim == 2 and values.shape[1] > 1
    plain = _one_hot(values) if hot else is_class(values.ravel().tolist())
    plain = plain or (first not in kinds and first in LABEL_NAMES)  # refused, with what can be done
    if not more and plain and kinds.get(first, CLASS) == CLASS:
        return labels_of([values], n, first)
    flat = {name: v[:, 0] if v.ndim == 2 and v.shape[1] == 1 else v for name, v in arrays.items()}
    cells, notes = {}, []
    for name, rows in flat.items():
        gaps = _gaps(rows)
        cells[name] = [None if gap else row for row, gap in zip(rows.tolist(), gaps.tolist(), strict=True)]
        if gaps.any():
            notes.append(f"{name} is not told in {gaps.sum()} of {len(gaps)} rows, which have NaN")
    numbers = {name: "vector" for name, rows in flat.items() if rows.dtype.kind == "f" and rows.ndim == 2}
    labels = told_columns(cells, {**numbers, **kinds}, where)
    return labels._replace(notes=(*labels.notes, *notes))


def _gaps(rows: np.ndarray) -> np.ndarray:
    """Which rows have NaN, (n,)."""
    if rows.dtype.kind != "f":
        return np.zeros(len(rows), bool)
    return np.asarray(np.isnan(rows).reshape(len(rows), -1).any(1))


def left_out_notes(names: Sequence[str]) -> list[str]:
    """What to say of columns that are not told."""
    return [f"not told: {some(names, 20)}"] if names else []


def check_kinds(columns: Mapping[str, Any], kinds: Mapping[str, str] | None, where: str) -> None:
    """ValueError for kinds of what is no column that is told."""
    if strangers := [name for name in kinds or {} if name not in columns]:
        raise ValueError(
            f"conditions says what {some(strangers)} is, and what can be told in {where} is "
            f"{some(list(columns), 20)}"
        )


def is_class(given: Sequence[Any], wanted: str = "") -> bool:
    """Whether a column that is told alone is the class: texts, also many, and whole numbers."""
    cells = [cell for cell in map(_cell, given) if cell is not None]
    if wanted or all(isinstance(cell, int) or re.fullmatch(r"-?\d+", str(cell)) for cell in cells):
        return wanted in ("", CLASS)
    return all(CONDITIONS[kind].read(cells, False) is None for kind in FIRST)


def read_cells(cells: Sequence[Any], wanted: str = "") -> tuple[Condition, np.ndarray] | None:
    """The condition that cells are, and its values; None for free text.

    ValueError if they are not what is `wanted`.
    """
    if wanted:
        return CONDITIONS[wanted].read(cells, True)
    rest = [kind for kind in CONDITIONS if kind not in FIRST]
    every = (CONDITIONS[kind].read(cells, False) for kind in (*FIRST, *rest))
    return next((read for read in every if read is not None), None)


def _one_hot(rows: np.ndarray) -> bool:
    return bool(rows.dtype.kind in "biuf" and ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all())


def _cell(cell: Any) -> Any:
    """A cell as Python has it, None where nothing is in it."""
    cell = cell.tolist() if isinstance(cell, np.ndarray | np.generic) else cell
    if isinstance(cell, bytes):
        cell = cell.decode(errors="backslashreplace")
    if isinstance(cell, str):
        return cell.strip() or None
    return None if isinstance(cell, float) and cell != cell else cell
