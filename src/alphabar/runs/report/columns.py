"""Numbers for people: intervals, durations, settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class ScoreRow(NamedTuple):
    """A row of the table of scores.

    Attributes:
        title: the score's name.
        says: what it tells.
        value: the samples' score, with its error.
        floor: that of real samples.
        better: "lower" or "higher".
        intervals: (low, value, high) of both, in percent of a common scale.
    """

    title: str
    says: str
    value: str
    floor: str
    better: str
    intervals: list[tuple[float, float, float]]


def intervals(rows: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """(low, value, high) of each value's 95 % interval, in percent of a common scale; [] if one isn't finite.

    Args:
        rows: (value, standard error) of each; an error that isn't finite leaves the value alone.
    """
    ends = [(v - 1.96 * e, v, v + 1.96 * e) if math.isfinite(e) else (v, v, v) for v, e in rows]
    if not np.isfinite(ends).all():
        return []
    low, high = np.min(ends), np.max(ends)
    scaled = 5 + 90 * (np.array(ends) - low) / ((high - low) or 1.0)
    return [(a, b, c) for a, b, c in scaled.round(1).tolist()]


def duration(seconds: float) -> str:
    """ "4 min 54 s".

    >>> duration(294), duration(93_784), duration(0)
    ('4 min 54 s', '26 h 3 min', '0 s')
    """
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join([f"{n} {unit}" for n, unit in parts if n][:2]) or "0 s"


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    rows = []
    for name, value in values.items():
        rows += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows
