"""Values along the axes of grids, such as latitudes, in the type that they had."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

AXIS_TYPES = ("float32", "float64", "int16", "int32", "int64")
"""Those that are kept; others become float64."""


def axis_values(entry: Mapping[str, Any]) -> np.ndarray:
    """The values along an axis, from its entry in a space's grid."""
    return np.array(entry["values"], entry.get("dtype", "float64"))


def is_axis(entry: Any, side: int | None) -> bool:
    """Whether an entry, as from JSON, has a value for each place of a side, in a type that holds them."""
    with contextlib.suppress(AttributeError, KeyError, ValueError, TypeError, OverflowError):
        values = axis_values(entry)
        same = values.shape == (side,) and values.tolist() == list(entry["values"])
        return same and values.dtype in AXIS_TYPES
    return False
