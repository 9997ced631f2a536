"""What facts that are read from a file must be: said in one form, checked before anything is made of them.

A form is
- a type: `str`, `bool`, `float` for a finite number, or `int | float` for any;
- `range(a, b)`: a whole number within it;
- a set of words: one of these;
- `None`, or `Any`;
- a tuple: any one of these forms;
- `[form]`: a list of such;
- `{"name": form, "other?": form, str: form}`: entries by name; `other` may be missing; with `str` there
  may be more, all of that form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

from .json_files import DamagedFile

COUNT = range(2**53)
"""A whole number from 0 that has a float of its own."""
SHOWN = 60  # characters of a value in a message
LONGEST = 2**20  # entries of a list


class Misfit(NamedTuple):
    """Where a fact is, what it must be, and what it is."""

    where: str
    wanted: str
    got: Any


def check_facts(source: str | Path, facts: Any, form: Any) -> Any:
    """`facts`; DamagedFile that names the source, the fact and its value unless they have the form."""
    for where, wanted, got in misfits(facts, form):
        raise DamagedFile(f"{source}: {where or 'it'} must be {wanted}, got {brief(got)}")
    return facts


def brief(value: Any) -> str:
    """A value as Python writes it, cut where it is long.

    >>> brief("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…"
    """
    text = repr(value[:SHOWN] if isinstance(value, str | list) else value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def misfits(value: Any, form: Any, where: str = "") -> Iterator[Misfit]:
    """What doesn't have its form, one after the other."""
    if isinstance(form, tuple):
        found = [next(misfits(value, one, where), None) for one in form]
        wrong = [misfit for misfit in found if misfit is not None]
        if len(wrong) == len(form):
            deepest = max(wrong, key=lambda misfit: len(misfit.where))
            yield deepest if deepest.where != where else Misfit(where, words(form), value)
    elif isinstance(form, dict) and isinstance(value, dict):
        yield from _of_entries(value, form, where)
    elif isinstance(form, list) and isinstance(value, list) and len(value) <= LONGEST:
        for i, each in enumerate(value):
            yield from misfits(each, form[0], f"{where}[{i}]")
    elif not _is(value, form):
        yield Misfit(where, words(form), value)


def _of_entries(value: dict[str, Any], form: dict[Any, Any], where: str) -> Iterator[Misfit]:
    forms = {name.removesuffix("?"): one for name, one in form.items() if name is not str}
    before = f"{where}." if where else ""
    for name, one in form.items():
        if name is not str and not name.endswith("?") and name not in value:
            yield Misfit(f"{before}{name}", words(one), "nothing: it is missing")
    for name, each in value.items():
        if name in forms or str in form:
            yield from misfits(each, forms[name] if name in forms else form[str], f"{before}{name}")
        else:
            yield Misfit(where, f"of entries {', '.join(forms)}", name)


def _is(value: Any, form: Any) -> bool:
    if form is Any or form is None:
        return form is Any or value is None
    if form is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if isinstance(form, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in form
    if isinstance(form, set):
        return isinstance(value, str) and value in form
    return isinstance(form, type | UnionType) and isinstance(value, form)


def words(form: Any) -> str:
    """A form as a person says it.

    >>> words((None, [float]))
    'null or a list, each a number'
    """
    if isinstance(form, tuple):
        return " or ".join(map(words, form))
    if isinstance(form, range):
        return f"a whole number within {form.start}..{form.stop - 1}"
    if isinstance(form, set):
        return " or ".join(map(repr, sorted(form)))
    if isinstance(form, list):
        return "a list" if form[0] is Any else f"a list, each {words(form[0])}"
    if isinstance(form, dict):
        return "a mapping of names to values"
    return {str: "text", bool: "true or false", None: "null", Any: "anything"}.get(form, "a number")
