"""The columns of a table that a model is told: they are no columns of a sample."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import no_column
from ..columns import MOST_CATEGORIES, Column, Found, LabelColumn, read_column
from ..config import DataConfig
from .arrow import Cells
from .source_types import Labels
from .typed import check_kinds, is_class, told_columns


def told_names(columns: Sequence[str], config: DataConfig, where: str) -> list[str]:
    """The columns that are told, as asked for; ValueError for those that there are not."""
    given = config.labels
    if given is None:
        if config.skip_unlabeled:
            raise ValueError("skip_unlabeled leaves out rows without a label: say which column it is, labels")
        if config.conditions:
            raise ValueError("conditions says what columns that are told are: say which these are, labels")
        return []
    names = [given] if given in columns else list(dict.fromkeys(part.strip() for part in given.split(",")))
    for name in names:
        if name not in columns:
            raise no_column([name], f"in {where}", columns)
    check_kinds(dict.fromkeys(names), config.conditions, where)
    return names


def told_of(
    matrix: np.ndarray,
    columns: Mapping[str, Cells],
    places: Mapping[str, int],
    config: DataConfig,
    where: str,
    comma: bool = False,
) -> tuple[np.ndarray, Labels, tuple[LabelColumn, ...]]:
    """(the rows, those without a class left out if that is asked for; what is told of them; its columns).

    Args:
        matrix: the rows (n, D), without these columns.
        columns: those that are told.
        places: of them among all.
        config, where: as for a table.
        comma: whether decimals follow one.
    """
    kinds = config.conditions or {}
    texts = {name: _texts(cells, comma) for name, cells in columns.items()}
    (name, cells), *more = columns.items()
    if not more and is_class(texts[name], kinds.get(name, "")):
        column, codes = _classes(name, cells, config, where)
        matrix, told = _labeled(matrix, name, column, codes, config)
        return matrix, told, (LabelColumn(name, places[name], column),)
    if config.skip_unlabeled:
        raise ValueError(
            "skip_unlabeled leaves out rows without a class; what is missing among several columns, or "
            "numbers, is not told: leave it out"
        )
    told = told_columns(texts, kinds, where)
    made = []
    for name, (condition, _) in told.told.items():
        column = Column("category", tuple(getattr(condition, "names", ())), missing="")
        if condition.kind == "vector" and (read := column_from(columns[name], "number", comma)):
            column = read[0]
        elif condition.kind == "tags":
            column = replace(column, names=())
        made.append(LabelColumn(name, places[name], replace(column, missing=column.missing or ""), name))
    return matrix, told, tuple(sorted(made, key=lambda label: label.place))


def _texts(cells: Cells, comma: bool) -> list[Any]:
    """What stands in a column's rows: numbers where all are some, else texts; None for what is missing."""
    if isinstance(cells, Found):
        with contextlib.suppress(ValueError):  # dates that can be read in two ways
            read = read_column(cells, "", comma)
            if read is not None and read[0].kind == "number":
                return _texts(read[:2], comma)
        return [None if place < 0 else cells.texts[place] for place in cells.places.tolist()]
    column, numbers = cells
    if column.kind != "number":
        return [text or None for text in column.texts(numbers)]
    whole = column.decimals == 0
    return [None if v != v else int(v) if whole else v for v in numbers.tolist()]


def _classes(name: str, cells: Cells, config: DataConfig, where: str) -> tuple[Column, np.ndarray]:
    """The column that is the class, and its categories by number, those of whole numbers in their order."""
    if (wanted := (config.types or {}).get(name, "category")) != "category":
        raise ValueError(f"column {name} is the label, which is a category, and types says {wanted}")
    try:
        read = column_from(cells, "category", False)
    except ValueError as error:
        raise ValueError(f"column {name} of {where}: {error}") from None
    if read is None:
        raise ValueError(
            f"column {name} of {where} has more than {MOST_CATEGORIES} different texts: no label"
        )
    column, codes, _ = read
    if all(text.removeprefix("-").isdecimal() and str(int(text)) == text for text in column.names):
        order = sorted(range(len(column.names)), key=lambda i: int(column.names[i]))
        column = replace(column, names=tuple(column.names[i] for i in order))
        codes = np.append(np.argsort(order).astype(np.float64), math.nan)[
            np.where(np.isnan(codes), len(order), codes).astype(np.int64)
        ]
    return column, codes


def _labeled(
    matrix: np.ndarray, name: str, column: Column, codes: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, Labels]:
    """The rows that have a label, with it; ValueError where others may not be left out."""
    known = ~np.isnan(codes)
    note = f"{name} is the class that the model is told, and no column of a sample"
    if known.all():
        return matrix, Labels(codes.astype(np.int64), column.names, (note,))
    n = int((~known).sum())
    if not config.skip_unlabeled:
        raise ValueError(
            f"{n} of {len(codes)} rows have no {name}, which is the label: fill it in, or go on "
            "without these rows (--skip-unlabeled, skip_unlabeled=True)"
        )
    if not known.any():
        raise ValueError(f"no row has a label in {name}")
    left_out = f"left out without a label: {n} of {len(codes)} rows"
    return matrix[known], Labels(codes[known].astype(np.int64), column.names, (note, left_out))


def column_from(cells: Cells, wanted: str, comma: bool) -> tuple[Column, np.ndarray, str] | None:
    """(what a column holds, its numbers (n,), what to say of it); None for free text. See `read_column`."""
    if isinstance(cells, Found):
        return read_column(cells, wanted, comma)
    column, numbers = cells
    if wanted in ("", column.kind):
        return column, numbers, ""
    if wanted != "category" or column.decimals != 0:
        raise ValueError(f"its type {column.type} is no {wanted}")
    known, places = np.unique(numbers[~np.isnan(numbers)], return_inverse=True)
    codes = np.full(len(numbers), math.nan)
    codes[~np.isnan(numbers)] = places
    names = tuple(f"{value:.0f}" for value in known.tolist())
    return Column("category", names, missing=column.missing, type=column.type), codes, ""
