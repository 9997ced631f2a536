"""--compare: other settings of sampling, other runs, or existing samples, each beside the first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import brief
from ..files import expanded, missing
from .flags import Flag
from .told import told_of


class Variant(NamedTuple):
    """What to score: a run, file or folder of samples; the options of sampling; and its name in the table."""

    path: str
    how: dict[str, Any]
    name: str = ""


def checked(variant: Variant, flags: Mapping[str, Flag]) -> Variant:
    """The same; an error if there is nothing at its path, or samples and yet options to draw some."""
    from ..runs.given import is_model

    if not expanded(variant.path).exists():
        raise missing(variant.path)
    given = [flags[name].flag for name in variant.how if name != "device"]
    if given and not is_model(variant.path):
        raise ValueError(
            f"{variant.path} holds samples, and {', '.join(given)} would be for a model to draw some"
        )
    return variant


def variant_of(text: str, first: Variant, flags: Mapping[str, Flag]) -> Variant:
    """A variant from words such as "runs/other steps=10"; all else is as in the first."""
    from ..errors import unknown
    from ..runs.given import is_model

    names = words_for(flags)
    path, own = first.path, {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"--compare: {error}, got {brief(text)}") from None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or expanded(word).exists():
            path = word
            continue
        field = names.get(name.replace("-", "_"))
        if field is None:
            raise unknown("option of sampling", name, sorted(set(names) - {"device"}))
        try:
            read = flags[field].read_text(value)
        except ValueError as error:
            raise ValueError(f"--compare: {error}") from None
        own[field] = [*own[field], *read] if isinstance(read, list) and field in own else read
    if path == first.path and not own:
        raise ValueError(f"--compare takes a run, or options of sampling such as steps=10, got {brief(text)}")
    how = _changed(first.how, own) if own or is_model(path) or not expanded(path).exists() else {}
    return checked(Variant(path, how, text), flags)


def _changed(how: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options `how` with those of `own`; a condition that `own` doesn't name keeps its value."""
    changed = {**how, **own}
    if told := told_of(how) | told_of(own):
        changed.pop("class_name", None)
        changed["cond"] = [f"{name}={value}" for name, value in told.items()]
    return changed


def words_for(flags: Mapping[str, Flag]) -> dict[str, str]:
    """Every word for an option → its name, such as `steps` and `evaluations` → `evaluations`."""
    found = {}
    for name, flag in flags.items():
        words = [option.lstrip("-").removeprefix("no-") for option in flag.flag.split("/")]
        for word in (name, *words):
            found[word.replace("-", "_")] = name
    return found
