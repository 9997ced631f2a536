"""Numbers for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def intervals(rows: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """(low, value, high) of values with their 95 % intervals, in percent of what they span; none of none."""
    ends = [(v - 1.96 * e, v, v + 1.96 * e) if math.isfinite(e) else (v, v, v) for v, e in rows]
    if not np.isfinite(ends).all():
        return []
    low, high = np.min(ends), np.max(ends)
    scaled = 5 + 90 * (np.array(ends) - low) / ((high - low) or 1.0)
    return [(a, b, c) for a, b, c in scaled.round(1).tolist()]


def elapsed_s(times: Sequence[dict[str, Any]]) -> float:
    """Of training, over all starts: each counts from 0."""
    clock = [row["elapsed_s"] for row in times]
    return sum(a for a, b in zip(clock, [*clock[1:], 0.0], strict=False) if b < a)


def duration(seconds: float) -> str:
    """4 min 54 s."""
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join([f"{n} {unit}" for n, unit in parts if n][:2]) or "0 s"


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings by dotted names."""
    found = []
    for name, value in values.items():
        found += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found
