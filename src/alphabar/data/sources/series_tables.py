"""Tables whose rows are series, or parts of series: one row a sample, or one row a time with an id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...errors import some
from ..columns import Column
from ..config import DataConfig
from ..timeline import Timeline
from .source_types import Labels, Rows, Samples
from .windows import Windows, repeated, same_length

NUMBER = Column("number", decimals=0, type="int64")
"""Of a sample's number, which stands where the data had an id."""


LEAST_TIMES = 8
"""So many columns whose names count evenly look like times."""


class Table(NamedTuple):
    """What was read of a table: its columns by name, rows (N, D) of their numbers, and notes."""

    columns: Mapping[str, Column]
    matrix: np.ndarray
    notes: list[str]
    where: str
    layout: str


def times_among(columns: Mapping[str, Column]) -> tuple[str, str] | None:
    """The first and the last of many columns of numbers whose names count evenly, as those of times do.

    >>> times_among({f"{hour}:00": Column("number") for hour in range(24)})
    ('0:00', '23:00')
    """
    found = [
        (int(digits[0]), name)
        for name, column in columns.items()
        if column.kind == "number" and (digits := re.search(r"\d+", name))
    ]
    steps = {b - a for (a, _), (b, _) in pairwise(found)}
    return (
        (found[0][1], found[-1][1]) if len(found) >= LEAST_TIMES and len(steps) == 1 and min(steps) else None
    )


def wide(table: Table, config: DataConfig) -> Samples:
    """One row a series: the columns of numbers are its times, one of categories its class."""
    label = _label(table, set(), config)
    others = [name for name, column in table.columns.items() if column.kind != "number" and name != label]
    if others:
        raise ValueError(
            f"the columns of {table.where} are times, and {some(others)} "
            f"{'is' if len(others) == 1 else 'are'} no numbers: leave out by --types {others[0]}=skip"
        )
    names = [name for name in table.columns if name != label]
    if len(names) < 2:
        raise ValueError(f"a series has two times or more, and {table.where} has the columns {some(names)}")
    places = [list(table.columns).index(name) for name in names]
    series = list(table.matrix[:, None, places])
    column = _common([table.columns[name] for name in names])
    kept = Timeline(
        config.rate,
        order=tuple(table.columns),
        columns=(column, *([table.columns[label]] if label else [])),
        label=label,
    )
    rows = [f"row {i}" for i in range(len(series))]
    labels = _classes(table, label, table.matrix[:, list(table.columns).index(label)] if label else None)
    return _made(table, series, rows, kept, labels, config, ())


def long(table: Table, config: DataConfig) -> Samples:
    """One row a time: rows with one id are one series, in their order; columns of numbers are channels."""
    assert config.series is not None
    columns = list(table.columns)
    ids = table.matrix[:, columns.index(config.series)]
    known, first, series = np.unique(ids, return_index=True, return_inverse=True, equal_nan=True)
    if np.isnan(known).any():
        raise ValueError(f"{config.series} of {table.where} is missing in row {int(np.isnan(ids).argmax())}")
    rank = np.argsort(np.argsort(first))[series]  # in the order in which they come
    order = np.argsort(rank, kind="stable")
    parts = np.split(table.matrix[order], np.cumsum(np.bincount(rank))[:-1])
    names = table.columns[config.series].texts(known[np.argsort(first)])
    rising, times, rate = _times(table, parts, config.series)
    time = rising[0] if rising else ""
    label = _label(table, {config.series, time}, config)
    known_ones = (config.series, label, *rising)
    channels = [n for n, c in table.columns.items() if c.kind == "number" and n not in known_ones]
    left = [n for n in columns if n not in (config.series, time, label, *channels)]
    notes = [f"left out, as no numbers, or as rising evenly like times: {some(left)}"] if left else []
    if not channels:
        raise ValueError(
            f"{table.where} has no column of numbers beside {config.series} and {time or 'no times'}"
        )
    codes = None
    if label:
        found = [np.unique(part[:, columns.index(label)]) for part in parts]
        if any(len(values) > 1 for values in found):
            odd = next(name for name, values in zip(names, found, strict=True) if len(values) > 1)
            raise ValueError(
                f"{label} of {table.where} is not the same in all rows of series {odd}, and so is no "
                f"class of it: --types {label}=skip leaves it out"
            )
        codes = np.concatenate(found)
    kept = Timeline(
        config.rate or rate, id=config.series, order=tuple(n for n in columns if n not in left),
        columns=tuple(table.columns[n] for n in (*channels, time, label) if n), time=time, times=times,
        label=label,
    )  # fmt: skip
    said = f"the times are {time}" if time else "no column holds times, and rows are taken in their order"
    notes = [*notes, said]
    series_of = [part[:, [columns.index(n) for n in channels]].T for part in parts]
    labels = _classes(table, label, codes)
    return _made(
        table._replace(notes=[*table.notes, *notes]), series_of, names, kept, labels, config, channels
    )


def _made(
    table: Table,
    series: list[np.ndarray],
    names: Sequence[str],
    timeline: Timeline,
    labels: Labels,
    config: DataConfig,
    channels: Sequence[str],
) -> Samples:
    """Series (C, length) as samples of one length, or their windows; ValueError where a number is missing."""
    for name, one in zip(names, series, strict=True):
        if np.isnan(one).any():
            at = [int(i) for i in np.argwhere(np.isnan(one))[0]]
            what = f"{channels[at[0]]} of " if channels else ""
            raise ValueError(
                f"{table.where}: {what}series {name} is missing at place {at[1]}: fill it in, or remove the "
                "series"
            )
    lengths = [one.shape[1] for one in series]
    asked = config.window is not None or config.hop is not None
    windows = Windows.of(config, timeline.rate, min(lengths) if asked else same_length(names, lengths))
    cut = windows != (lengths[0], lengths[0]) or len(set(lengths)) > 1
    origins, notes = windows.told(names, lengths, timeline) if cut else (None, [])
    if cut and timeline.id:
        timeline = replace(timeline, times=())
    elif cut:  # windows begin at several times
        numbered = map(str, range(windows.size))
        timeline = replace(timeline, order=(*([timeline.label] if timeline.label else []), *numbered))
    rows = np.concatenate([windows.cut(one) for one in series])
    said = f"{len(series):,} series of {len(series[0])} channel{'s' * (len(series[0]) > 1)}, "
    said += (
        timeline.lasting(lengths[0])
        if len(set(lengths)) == 1
        else f"{min(lengths):,} to {max(lengths):,} numbers"
    )
    return Samples(
        Rows.of(rows), table.layout, "series", [*table.notes, said, *notes], None,
        repeated(labels, [windows.count(length) for length in lengths]),
        names=tuple(channels), timeline=timeline, origins=origins,
    )  # fmt: skip


def _label(table: Table, known: set[str], config: DataConfig) -> str:
    """The column of classes: the only one of categories, if classes are wanted."""
    found = [n for n, c in table.columns.items() if c.kind == "category" and n not in known]
    if len(found) > 1 and config.classes != "none":
        raise ValueError(
            f"{some(found)} of {table.where} could each be the classes of series: leave out all but one by "
            f"--types {found[0]}=skip, or all by --classes none"
        )
    return found[0] if found and config.classes != "none" else ""


def _classes(table: Table, label: str, codes: np.ndarray | None) -> Labels:
    if codes is None:
        return Labels()
    if np.isnan(codes).any():
        raise ValueError(
            f"{label} of {table.where} is missing in some rows: fill it in, or --types {label}=skip"
        )
    return Labels(codes.astype(np.int64), table.columns[label].names, (f"classes from {label}",))


def _times(
    table: Table, parts: list[np.ndarray], id: str
) -> tuple[list[str], tuple[float, ...], float | None]:
    """(columns that rise alike in each series, the first one's numbers if they are the same, a second)."""
    rising, times, rate = [], (), None
    shortest = min(map(len, parts))
    for i, (name, column) in enumerate(table.columns.items()):
        if name == id or column.kind == "category" or shortest < 2:
            continue
        steps = [np.diff(part[:, i]) for part in parts]
        step = float(steps[0][0])
        even = step > 0 and all(np.allclose(each, step, rtol=1e-6, atol=0) for each in steps)
        same = all(len(p) == len(parts[0]) and np.array_equal(p[:, i], parts[0][:, i]) for p in parts)
        if even or (same and bool(np.all(steps[0] > 0))):
            if not rising:
                rate = 1 / step if even and column.kind == "date" else None
                times = tuple(parts[0][:, i].tolist()) if same else ()
            rising.append(name)
    return rising, times, rate


def _common(columns: Sequence[Column]) -> Column:
    """What numbers of several columns are together: in as many decimals as one of them has."""
    kinds = Counter((c.type, c.comma) for c in columns)
    (kind, comma), _ = kinds.most_common(1)[0]
    decimals = [c.decimals for c in columns]
    most = None if None in decimals else max(d for d in decimals if d is not None)
    digits = [c.digits for c in columns]
    counting = None if None in digits else max(d for d in digits if d is not None)
    padded = all(c.padded for c in columns) and len(set(decimals)) == 1
    return Column(
        "number", decimals=most, digits=counting, padded=padded, comma=comma,
        type=kind if len(kinds) == 1 else "double",
    )  # fmt: skip


# --- back ----------------------------------------------------------------------------------------


def as_table(
    series: np.ndarray,
    names: Sequence[str],
    timeline: Timeline,
    indices: Sequence[int],
    titles: Sequence[str],
) -> tuple[np.ndarray, list[str], list[Column]]:
    """(rows (n, D), their columns' names and kinds) of series (n, C, L) in the form that the data had."""
    n, _, length = series.shape
    made: dict[str, tuple[Column, np.ndarray]] = {}
    columns, each = list(timeline.columns), length if timeline.id else 1
    if timeline.label:
        classes = columns.pop()
        codes = [classes.names.index(title) if title in classes.names else np.nan for title in titles]
        made |= {timeline.label: (classes, np.repeat(codes, each))} if titles else {}
    if not timeline.id:
        times = [name for name in timeline.order if name != timeline.label]
        made |= {name: (columns[0], series[:, 0, i]) for i, name in enumerate(times)}
    else:
        made[timeline.id] = NUMBER, np.repeat(np.array(indices, np.float64), each)
        if timeline.time:
            column = columns.pop()
            made |= {timeline.time: (column, np.tile(timeline.times, n))} if timeline.times else {}
        made |= {name: (columns[i], series[:, i].ravel()) for i, name in enumerate(names)}
    kept = [name for name in timeline.order if name in made]
    rows = np.stack([made[name][0].rounded(made[name][1]) for name in kept], 1)
    return rows, kept, [made[name][0] for name in kept]
