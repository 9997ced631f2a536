"""Messages that help, and help texts that come from the tables they describe."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
import reprlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

Made = TypeVar("Made")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def brief(got: object) -> str:
    """What was received, as a message repeats it: of what is long the beginning, or both ends.

    >>> print(brief(2.5), brief([7] * 500))
    2.5 [7, 7, 7, 7, 7, 7, ...]
    >>> len(brief("a" * 500))
    80
    """
    return _BRIEF.repr(got)


def check_whole(name: str, got: Any, least: int, most: int | None = None) -> int:
    """`got`, or ValueError unless it is a whole number of at least `least`, and at most `most`.

    >>> check_whole("evaluations", 2.5, 1)
    Traceback (most recent call last):
        ...
    ValueError: evaluations must be a whole number of at least 1, got 2.5
    """
    if isinstance(got, bool) or not isinstance(got, Integral) or got < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {brief(got)}")
    if most is not None and int(got) > most:
        raise ValueError(f"{name} must be at most {most:,}, got {brief(got)}")
    return int(got)


def unknown(kind: str, got: object, known: Iterable[object]) -> ValueError:
    """A ValueError that lists what is accepted and names the nearest.

    >>> print(unknown("prediction", "epz", ["eps", "x0", "v"]))
    unknown prediction 'epz'; known: eps, x0, v; did you mean 'eps'?
    """
    names = [str(name) for name in known]
    return ValueError(
        f"unknown {kind} {brief(got)}; known: {', '.join(names) or 'none'}{_nearest(got, names)}"
    )


def no_column(got: Sequence[str], where: str, columns: Sequence[str]) -> ValueError:
    """A ValueError for columns that there are not, of which there may be many others.

    >>> print(no_column(["colour"], "in d.csv", ["price", "color"]))
    there is no column colour in d.csv; it has price, color; did you mean 'color'?
    """
    near = _nearest(got[0], columns)
    return ValueError(f"there is no column {some(got)} {where}; it has {some(columns, 20)}{near}")


def _nearest(got: object, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(got), names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@contextlib.contextmanager
def needs(what: str, package: str, extra: str) -> Iterator[None]:
    """Around an import: a missing package becomes a ValueError that says how to get it.

    >>> with needs("vessels", "nothing_of_this_name", "vessels"):
    ...     import nothing_of_this_name
    Traceback (most recent call last):
        ...
    ValueError: vessels need the package nothing_of_this_name: pip install 'alphabar[vessels]'
    """
    try:
        yield
    except ImportError:
        raise ValueError(f"{what} need the package {package}: pip install 'alphabar[{extra}]'") from None


def row_of(table: Mapping[str, Made], name: Any, what: str) -> Made:
    """The row of that name; ValueError that lists what is known, also for what is no name at all.

    >>> row_of({"a": 1}, ["a"], "letter")
    Traceback (most recent call last):
        ...
    ValueError: unknown letter ['a']; known: a
    """
    if not isinstance(name, str) or name not in table:
        raise unknown(what, name, table)
    return table[name]


def made_from(
    table: Mapping[str, Callable[..., Made]], entry: Mapping[str, Any], key: str, what: str, *first: Any
) -> Made:
    """What a row of `table` makes of `entry`, as from JSON: entry[key] names the row, the rest is arguments.

    Args:
        table: name → class or function.
        entry: what `to_dict` gave.
        key: of the name in it.
        what: the rows are, for messages.
        first: arguments before those of `entry`.

    >>> made_from({"complex": complex}, {"name": "complex", "real": 1.0}, "name", "number")
    (1+0j)
    """
    arguments = dict(entry)
    name = arguments.pop(key, None)
    made = row_of(table, name, what)
    try:
        return made(*first, **arguments)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the {what} {name!r} cannot be made of {sorted(arguments)}: {error}") from None


def describe(table: Mapping[str, object]) -> str:
    """The rows of a table with their help, for a help text.

    >>> describe({"unknown": unknown, "own": None})
    'unknown (a ValueError that lists what is accepted and names the nearest), own'
    """
    helps = {name: row_help(row) for name, row in table.items()}
    return ", ".join(f"{name} ({text})" if text else name for name, text in helps.items())


def row_help(row: object) -> str:
    """A row's `help`, or else the first line of its docstring, up to a full stop or a colon."""
    text = getattr(row, "help", None)
    if isinstance(text, str) or row is None or isinstance(row, Mapping):
        return text or ""
    text = re.split(r"[.:](?:\s|$)|\n", inspect.getdoc(row) or "", maxsplit=1)[0].replace("`", "")
    starts_like_a_sentence = re.match(r"[A-Z][a-z]*(?=[\s,]|$)", text)  # unlike DDIM and Heun's
    return text[0].lower() + text[1:] if starts_like_a_sentence else text


class Option(NamedTuple):
    """A parameter of a row's function that people may set: `name: Annotated[type, "help"] = default`."""

    type: Any
    help: str
    default: Any


def row_options(function: Callable[..., Any]) -> dict[str, Option]:
    """The options of a function by name: those of its parameters that are annotated with a help text.

    >>> from typing import Annotated
    >>> def blur(images, width: Annotated[float, "in pixels"] = 1.0): ...
    >>> row_options(blur)
    {'width': Option(type=<class 'float'>, help='in pixels', default=1.0)}
    """
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        texts = [text for text in getattr(hint, "__metadata__", ()) if isinstance(text, str)]
        if texts:
            found[name] = Option(typing.get_args(hint)[0], texts[0], parameter.default)
    return found
