"""Columns of Arrow tables, which Parquet files and frames are, as numbers; and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import needs, some
from ..columns import DAY, Column, Found

Cells = Found | tuple[Column, np.ndarray]
"""Of one column: its texts, or what it holds and its numbers where the file says so."""


def found_texts(column: Any) -> Found:
    """A column of texts, each different one once, without spaces around them."""
    coded = column if pyarrow().types.is_dictionary(column.type) else column.dictionary_encode()
    whole = coded.unify_dictionaries().combine_chunks()
    texts = [None if text is None else text.strip() for text in whole.dictionary.to_pylist()]
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    renumbered = np.array([*(place[text] for text in texts), -1], np.int64)
    return Found(list(place), renumbered[whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


@contextmanager
def reading_parquet(path: Path) -> Iterator[Any]:
    """pyarrow.parquet, while it opens or reads a file; ValueError that names the file where it can't."""
    pa = pyarrow()
    try:
        yield pa.parquet
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged or no Parquet: {str(error).splitlines()[0]}") from None


def parquet_table(path: Path, check: Callable[[list[str]], object] = list) -> Any:
    """A Parquet file, as an Arrow table; `check` is called with its columns' names before it is read."""
    with reading_parquet(path) as parquet:
        names = parquet.read_schema(path).names
    check(names)
    with reading_parquet(path) as parquet:
        return parquet.read_table(path)


def typed_columns(table: Any) -> dict[str, Cells]:
    """The columns of an Arrow table."""
    if len(set(table.column_names)) < table.num_columns:
        raise ValueError(f"the columns need different names, got {some(table.column_names, 20)}")
    return {str(name): _typed_column(str(name), table.column(name)) for name in table.column_names}


def _typed_column(name: str, values: Any) -> Cells:
    pa = pyarrow()
    kind, shown = values.type, str(values.type)
    missing = "" if values.null_count else None
    types = pa.types
    if types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind):
        return found_texts(values.cast(pa.string()))
    if types.is_boolean(kind):
        numbers = _floats(values.cast(pa.int8()))
        return Column("category", ("false", "true"), missing=missing, type=shown), numbers
    if types.is_date(kind) or types.is_timestamp(kind):
        numbers = _floats(values.cast(pa.timestamp("us")).cast(pa.int64())) / 1e6
        days = types.is_date(kind) or np.all(numbers[~np.isnan(numbers)] % DAY == 0)
        form = "%Y-%m-%d" if days else "%Y-%m-%d %H:%M:%S"
        return Column("date", form=form, missing=missing, type=shown), numbers
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = _floats(values)
        known = numbers[~np.isnan(numbers)]
        if np.isinf(known).any():
            raise ValueError(f"column {name} holds infinite numbers: remove those rows, or fill them in")
        if types.is_floating(kind):
            missing = "" if len(known) < len(numbers) else None
        decimals = kind.scale if types.is_decimal(kind) else 0 if types.is_integer(kind) else _decimals(known)
        return Column("number", decimals=decimals, missing=missing, type=shown), numbers
    raise ValueError(f"column {name} holds {shown}, which is no number, text or date: --types {name}=skip")


def _floats(values: Any) -> np.ndarray:
    pa = pyarrow()
    return np.array(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64) + 0.0


def _decimals(known: np.ndarray) -> int | None:
    """How many decimals all of the numbers have; None beyond 6."""
    return next((k for k in range(7) if np.array_equal(np.round(known, k), known)), None)


def parquet_bytes(matrix: np.ndarray, names: Sequence[str], columns: Sequence[Column]) -> bytes:
    """A Parquet file of rows (n, D), each column in its own type."""
    pa, parquet = pyarrow(), pyarrow("parquet")
    arrays = [_arrow(numbers, column) for column, numbers in zip(columns, matrix.T, strict=True)]
    file = io.BytesIO()
    parquet.write_table(pa.table(dict(zip(names, arrays, strict=True))), file)
    return file.getvalue()


def _arrow(numbers: np.ndarray, column: Column) -> Any:
    """A column in its own type."""
    pa = pyarrow()
    kind, absent = column.type or "string", np.isnan(numbers)
    if column.kind == "category" or kind == "string":
        texts = [None if gone else t for t, gone in zip(column.texts(numbers), absent.tolist(), strict=True)]
        found = pa.array(texts, pa.string())
        return found if kind == "string" else found.cast(_type(kind))
    if column.kind == "date":
        micro = pa.array(np.where(absent, 0, numbers * 1e6).astype(np.int64), pa.int64(), mask=absent)
        return micro.cast(pa.timestamp("us")).cast(_type(kind))
    return pa.array(numbers, pa.float64(), mask=absent).cast(_type(kind), safe=False)


def _type(name: str) -> Any:
    """An Arrow type by what `str` says of it."""
    pa = pyarrow()
    inner = name.partition("[")[2].rstrip("]")
    if name.startswith("timestamp"):
        unit, _, zone = inner.partition(", tz=")
        return pa.timestamp(unit, zone or None)
    if name.startswith("decimal"):
        digits, scale = name.partition("(")[2].rstrip(")").split(",")
        return pa.decimal128(int(digits), int(scale))
    return pa.type_for_alias({"double": "float64", "float": "float32"}.get(name, name))


def pyarrow(part: str = "") -> Any:
    """The package, or a part of it; ValueError that says how to get it."""
    with needs("tables", "pyarrow", "tables"):
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    return getattr(pyarrow, part) if part else pyarrow
