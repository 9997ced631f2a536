"""Settings of reading data as one types them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..errors import brief

SIZES = 4, 4096
"""The least and the greatest side of a picture."""


def parse_size(given: Any) -> Any:
    """32, (32, 48), "32" and "32x48" → (height, width)."""
    sides = given
    if isinstance(given, str):
        sides = [int(side) for side in re.split(r"[x×]", given.strip().lower()) if side.isdecimal()]
        sides = sides * 2 if given.strip().isdecimal() else sides
    elif isinstance(given, int) and not isinstance(given, bool):
        sides = [given, given]
    if sides is None:
        return None
    if not isinstance(sides, Sequence) or len(sides) != 2 or not all(type(side) is int for side in sides):
        raise ValueError(
            "size must be a side such as 64, or height and width as 48x64, (48, 64) in Python, "
            f"got {brief(given)}"
        )
    if not all(SIZES[0] <= side <= SIZES[1] for side in sides):
        raise ValueError(f"size must be {SIZES[0]} to {SIZES[1]} pixels a side, got {sides[0]} × {sides[1]}")
    return tuple(sides)


def parse_sides(given: Any) -> Any:
    """32, (32, 48, 48), "32" and "32x48x48" → a row of one to three sides."""
    sides = re.split(r"[x×]", given.strip().lower()) if isinstance(given, str) else given
    sides = [sides] if isinstance(sides, int) else sides
    if sides is None:
        return None
    try:
        found = tuple(int(side) if isinstance(side, str) or type(side) is int else 0 for side in sides)
    except (TypeError, ValueError):
        found = ()
    if not 1 <= len(found) <= 3 or min(found) < 1:
        raise ValueError(
            f"sides must be one such as 32, or a row as 32x48x48, (32, 48, 48) in Python, got {brief(given)}"
        )
    return found


def parse_range(given: Any) -> Any:
    """(0, 1), "0 1" and "0,1" → (0.0, 1.0)."""
    ends = re.split(r"[\s,]+", given.strip()) if isinstance(given, str) else given
    if ends is None:
        return None
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise ValueError(
            f"range must be two numbers, the least and the greatest, got {brief(given)}"
        ) from None
    if not low < high or high - low == float("inf"):
        raise ValueError(f"the range must rise from one finite number to another, got {low} to {high}")
    return low, high


def parse_pairs(given: Any, what: str, form: str) -> Any:
    """{"zip": "category"} and "zip=category, born=%d.%m.%Y" → a dictionary."""
    if not isinstance(given, str):
        return given
    pairs = [part.rpartition("=") for part in given.split(",") if part.strip()]
    if not all(name.strip() and kind.strip() for name, _, kind in pairs):
        raise ValueError(f"{what} must be {form}, one or more with commas between them, got {brief(given)}")
    return {name.strip(): kind.strip() for name, _, kind in pairs}
