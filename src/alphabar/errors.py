"""Messages that help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral
from typing import Any


def check_whole(name: str, got: Any, least: int) -> int:
    """`got`, or ValueError unless it is a whole number of at least `least`.

    >>> check_whole("steps", 2.5, 1)
    Traceback (most recent call last):
        ...
    ValueError: steps must be a whole number of at least 1, got 2.5
    """
    if isinstance(got, bool) or not isinstance(got, Integral) or got < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {got!r}")
    return int(got)


def unknown(kind: str, got: object, known: Iterable[object]) -> ValueError:
    """A ValueError that lists what is accepted and names the nearest.

    >>> print(unknown("head", "epz", ["eps", "x0", "v"]))
    unknown head 'epz'; known: eps, x0, v; did you mean 'eps'?
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(got), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {got!r}; known: {', '.join(names) or 'none'}{hint}")
