"""Messages that help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, got: object, known: Iterable[object]) -> ValueError:
    """A ValueError that lists what is accepted and names the nearest.

    >>> print(unknown("head", "epz", ["eps", "x0", "v"]))
    unknown head 'epz'; known: eps, x0, v; did you mean 'eps'?
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(got), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {got!r}; known: {', '.join(names) or 'none'}{hint}")
