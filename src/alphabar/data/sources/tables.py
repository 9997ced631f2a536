"""Tables as data: CSV, TSV and Parquet files, and frames of pandas and polars; and back."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from ...errors import no_column, some
from ..columns import MOST_CATEGORIES, Column, Found
from ..config import DataConfig
from .arrow import Cells, found_texts, parquet_table, pyarrow, typed_columns
from .series_tables import Table, long, times_among, wide
from .source_types import TELLING, Arrays, Labels, Rows, Samples, stamp
from .told_tables import column_from, told_names, told_of

DELIMITERS = (",", "\t", ";", "|")
PARQUET = "parquet"
LOOKED_AT = 20  # lines, for the delimiter
TABLES = (".csv", ".tsv", ".parquet")
"""The endings of files that are tables."""


def table_file(path: Path, config: DataConfig) -> Arrays:
    """A table in a file: one sample a row."""

    def opened() -> Samples:
        layout, columns, notes = read_columns(path, lambda names: _asked(names, config, str(path)))
        samples = _samples(columns, config, str(path), layout)
        return samples._replace(notes=[*notes, *samples.notes])

    return Arrays(stamp(path), opened, takes=TAKES)


def read_columns(
    path: Path, check: Callable[[list[str]], object] = list
) -> tuple[str, dict[str, Cells], list[str]]:
    """(delimiter, or `PARQUET`; what stands in the columns, by their names; notes) of a file.

    `check` is called with the names of the columns before all rows are read.
    """
    if path.suffix.lower() == ".parquet":
        return PARQUET, typed_columns(parquet_table(path, check)), []
    return _texts(path, check)


def frame(data: Any, config: DataConfig) -> Arrays:
    """A frame of pandas or polars, or a table of pyarrow."""

    def opened() -> Samples:
        pa = pyarrow()
        pandas = type(data).__module__.partition(".")[0] == "pandas"
        table = pa.Table.from_pandas(data, preserve_index=False) if pandas else pa.table(data)
        return _samples(typed_columns(table), config, "the table", PARQUET)

    return Arrays(["given"], opened, takes=TAKES)


TAKES = TELLING | {"types", "labels", "skip_unlabeled", "layout", "series", "rate", "window", "hop"}


def is_frame(data: Any) -> bool:
    """Whether this is a table in memory."""
    return hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns")


def _samples(columns: dict[str, Cells], config: DataConfig, where: str, layout: str) -> Samples:
    """Rows (N, D) of all columns that are used, with a note of each."""
    asked, labels = _asked(list(columns), config, where)
    made: dict[str, Column] = {}
    values: list[np.ndarray] = []
    notes, left_out, places = [], [], dict[str, int]()
    for name, cells in columns.items():
        wanted = asked.get(name, "")
        if name in labels:
            places[name] = len(made) + len(places)
            continue
        if wanted == "skip":
            left_out.append(name)
            continue
        try:
            read = _id(cells) if name == config.series else column_from(cells, wanted, layout == ";")
        except ValueError as error:
            raise ValueError(f"column {name} of {where}: {error}") from None
        if read is None:
            assert isinstance(cells, Found)
            notes.append(
                f"{name} is left out: {len(cells.texts)} different texts in {len(cells.places)} rows"
                + (f" (--types {name}=category takes it)" if len(cells.texts) <= MOST_CATEGORIES else "")
            )
            continue
        made[name], numbers, said = read
        values.append(numbers)
        if said:
            notes.append(f"{name}: {said}")
    if left_out:
        notes.append(f"left out: {some(left_out, 20)}")
    if not made or not len(values[0]):
        raise ValueError(f"nothing is left of {where}: it has no rows, or no column that can be used")
    matrix = np.stack(values, 1)
    if config.series is not None or config.layout == "L":
        table = Table(made, matrix, notes, where, layout)
        return wide(table, config) if config.series is None else long(table, config)
    told, label_columns = Labels(), ()
    if labels:
        matrix, told, label_columns = told_of(
            matrix, {n: columns[n] for n in labels}, places, config, where, layout == ";"
        )
    notes = [_summary(made, matrix), *notes, *_odd(made, matrix)]
    return Samples(
        Rows.of(matrix), layout, "table", notes, None, told, columns=made, label_columns=label_columns
    )


def _asked(names: list[str], config: DataConfig, where: str) -> tuple[dict[str, str], list[str]]:
    """(the types that are asked for, the columns that are told).

    ValueError for settings that don't go together, and for columns that there are not.
    """
    if config.layout not in ("auto", "L") or (config.layout == "L" and config.series):
        raise ValueError(
            f"of a table, --layout L says that its columns are times, one row a series, and --series COLUMN "
            f"which tells series of several rows apart; got layout {config.layout}"
            + (f" and series {config.series}" if config.series else "")
        )
    asked = dict(config.types or {})
    if strangers := {*asked, *([config.series] if config.series else [])} - set(names):
        raise no_column(sorted(strangers), f"in {where}", names)
    if config.labels is not None and (config.series is not None or config.layout == "L"):
        raise ValueError("a table of series has its classes in its text column: leave labels out")
    return asked, told_names(names, config, where)


def _id(cells: Cells) -> tuple[Column, np.ndarray, str]:
    """A column that tells series apart, whatever it holds."""
    if not isinstance(cells, Found):
        return *cells, ""
    column = Column("category", tuple(text for text in cells.texts if text))
    place = {text: i for i, text in enumerate(column.names)}
    codes = np.array([place[text] if text else math.nan for text in [*cells.texts, None]])
    return column, codes[cells.places], ""


def _summary(columns: dict[str, Column], matrix: np.ndarray) -> str:
    kinds = [column.said() if column.kind != "category" else "category" for column in columns.values()]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    plural = {"category": "categories"}
    said = [f"{n} {kind if n == 1 else plural.get(kind, kind + 's')}" for kind, n in counts.items()]
    return f"{len(matrix)} rows of {', '.join(said)}"


def _odd(columns: dict[str, Column], matrix: np.ndarray) -> list[str]:
    """Columns that are most likely not meant: numbers of rows, and what is the same everywhere or missing."""
    rising, same, absent = [], [], []
    for (name, column), numbers in zip(columns.items(), matrix.T, strict=True):
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            absent.append(name)
        elif known.min() == known.max():
            same.append(name)
        elif column.decimals == 0 and len(known) > 20 and np.all(np.diff(known) == 1):
            rising.append(name)
    notes = []
    if rising:
        notes.append(
            f"looks like a number of the row: {some(rising)} (--types {rising[0]}=skip leaves it out)"
        )
    if same:
        notes.append(f"the same in each row: {some(same)}")
    if absent:
        notes.append(f"missing in each row: {some(absent)}")
    if times := times_among(columns):
        notes.append(f"{times[0]} to {times[1]} look like times: if each row is a series, --layout L")
    return notes


# --- text files ----------------------------------------------------------------------------------


def _texts(path: Path, check: Callable[[list[str]], object]) -> tuple[str, dict[str, Cells], list[str]]:
    """(delimiter, the columns, notes) of a CSV or TSV."""
    from_arrow = pyarrow("csv")
    pa = pyarrow()
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = [line for _, line in zip(range(LOOKED_AT), file, strict=False)]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 ({error.reason}): save it as CSV UTF-8, or run, if it is in Latin-1, "
            f"iconv -f LATIN1 -t UTF-8 {quote(str(path))} > {quote(f'utf8-{path.name}')}"
        ) from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else delimiter_of(head)
    first = next(csv.reader(head, delimiter=delimiter), [])
    names, notes = [name.strip() for name in first], []
    if spaced := [name for name, text in zip(names, first, strict=True) if name != text]:
        notes.append(f"without the spaces around their names: {some(spaced)}")
    headed = not any(_is_number(name) for name in names)
    if not headed:
        names = [f"column {i}" for i in range(1, len(names) + 1)]
        notes.append("the first row holds numbers, so the columns have no names and are numbered")
    if len(set(names)) < len(names) or not all(names):
        twice = sorted({name for name in names if names.count(name) > 1 or not name})
        raise ValueError(f"the columns of {path} need different names in its first row, got {twice} again")
    check(names)
    text = pa.dictionary(pa.int32(), pa.string())
    try:
        table = from_arrow.read_csv(
            path,
            from_arrow.ReadOptions(column_names=names, skip_rows=1 if headed else 0),
            from_arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            from_arrow.ConvertOptions(column_types=dict.fromkeys(names, text), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
    notes.append(f"columns apart by {'tabs' if delimiter == chr(9) else repr(delimiter)}")
    return delimiter, {name: found_texts(table.column(name)) for name in names}, notes


def delimiter_of(head: Sequence[str]) -> str:
    """What sets columns apart: what makes most of them, as many in each line; else most in the first."""

    def columns(delimiter: str) -> tuple[int, int]:
        lengths = [len(row) for row in csv.reader(head, delimiter=delimiter) if row] or [0]
        return (lengths[0] if len(set(lengths)) == 1 and lengths[0] > 1 else 0), lengths[0]

    return max(DELIMITERS, key=columns)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
