"""Where results (standard output) and everything else (standard error) are printed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

output = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say(message: str) -> None:
    """One line of news, on standard error."""
    errors.print(message)


def table(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, on standard output."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        output.print(f"{name:<{width}}  {value}")
