"""Printing: results on standard output, everything else on standard error."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from ..torchrun import rank

_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False, "soft_wrap": True}
_output = Console(**_PLAIN, quiet=rank() > 0)  # of several processes the first one alone prints
errors = Console(stderr=True, **_PLAIN, quiet=rank() > 0)

PATIENCE_S = 15.0

CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Characters that control a terminal: they are left out of names and messages from files."""

PLAIN = {"−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "·": ".", "→": "->", "±": "+-", "≥": ">=",
         "≤": "<=", "≈": "~", "√": "sqrt", "ᾱ": "alpha_bar", "β": "beta", "σ": "sigma", "ε": "eps",
         "•": "*", "‖": "||", "“": '"', "”": '"', "‘": "'", "’": "'",
         **dict.fromkeys("─━╭╮╰╯╴╵╶╷┄┈", "-"), **dict.fromkeys("│┃┆┊", "|")}  # fmt: skip
"""What is written for characters that the output's encoding lacks; "?" for any other."""


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in missing), error.end


def never_fail_for_a_character() -> None:
    """Write plain characters for those that an output's encoding lacks, instead of failing."""
    codecs.register_error("alphabar-plain", _in_plain)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="alphabar-plain")  # type: ignore[union-attr]


def clean(text: object) -> str:
    """The text without characters that control a terminal."""
    return str(text).translate(CONTROL)


def show(text: object = "") -> None:
    """Print a line of the result, on standard output."""
    _output.print(clean(text))


def say(message: object) -> None:
    """Print a message, on standard error."""
    errors.print(clean(message))


def table(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, on standard output, a line each."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        show(f"{name:<{width}}  {value}".replace("\n", " "))


def columns(rows: Iterable[Iterable[object]]) -> None:
    """Print rows of cells in aligned columns, on standard output: the first one left, the others right."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *rest in cells:
        line = first.ljust(widths[0]) + "".join(f"  {c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))
        show(line.rstrip())


def document(value: Any) -> None:
    """Print the JSON document of a command with --json, on standard output; null for non-finite numbers."""
    if not rank():
        print(json.dumps(_as_json(value), indent=1, allow_nan=False))


def _as_json(value: Any) -> Any:
    """A value in JSON's types: lists for arrays, dictionaries for objects that have such a form."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(inner) for inner in value]
    for method in ("model_dump", "to_dict", "tolist"):
        if hasattr(value, method):
            return _as_json(getattr(value, method)())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _as_json(dataclasses.asdict(value))
    return str(value)


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is being done: yields the function that sets it.

    Elsewhere, such as in a log file, what takes longer than `PATIENCE_S` is told in lines.
    """
    begin, quiet = time.monotonic(), not (errors.is_terminal or errors.is_jupyter)
    latest: list[str] = []

    def log() -> None:
        if latest:
            say(f"{datetime.now():%H:%M:%S}  {latest[-1].removesuffix(' …')} …")

    late = threading.Timer(PATIENCE_S, log)  # for what was begun before, and still goes on
    late.daemon = True
    with errors.status("…") as shown:
        if quiet:
            late.start()

        def tell(message: str) -> None:
            shown.update(clean(message))
            latest[:] = [message]
            if quiet and time.monotonic() - begin > PATIENCE_S:
                log()

        try:
            yield tell
        finally:
            late.cancel()


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal or in a notebook: yields the function to call with (done, total)."""
    from rich.progress import Progress

    quiet = not (errors.is_terminal or errors.is_jupyter)
    with Progress(console=errors, transient=True, disable=quiet) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
