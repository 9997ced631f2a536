"""Settings from options: errors that name the option, --set, and settings as a person types them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, get_origin

from pydantic import BaseModel

from ..errors import brief, unknown
from .flags import Flag


def in_flags(error: ValueError, flags: Mapping[str, Flag]) -> ValueError:
    """The same error, which may begin with a setting's name, with the option's name in its place."""
    parts = []
    for part in str(error).split("; "):
        word, _, rest = part.partition(" ")
        name = word.rstrip(":")
        if name in flags:
            part = f"{flags[name].flag.split('/')[0]} {rest.replace('Input should be', 'must be', 1)}"
        parts.append(part)
    return ValueError("; ".join(parts))


def check_given(settings: Mapping[str, Any], flags: Mapping[str, Flag]) -> None:
    """ValueError for settings of a training that no data make right, before data are read."""
    from ..training.config import BUDGETS, TrainConfig

    given = {name: value for name, value in settings.items() if name != "preset"}
    given["network"] = {"name": "unet"} | given.get("network", {})
    if "name" not in given.get("schedule", {}):
        given.pop("schedule", None)  # parts of the preset's, the run's or the model's, which is read later
    if not any(given.get(name) is not None for name in BUDGETS):
        given["images"] = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice is given when all is known
            TrainConfig(**given)
    except ValueError as error:
        raise in_flags(error, flags) from None


def parse_sets(pairs: Iterable[str], model: type[BaseModel]) -> dict[str, Any]:
    """["lr=1e-3", "network.channels=96"] → {"lr": 1e-3, "network": {"channels": 96}}."""
    found: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path or not text:
            raise ValueError(
                f"--set takes NAME=VALUE, such as lr=1e-3 or network.channels=96, got {brief(pair)}"
            )
        *parents, name = path.split(".")
        if (first := (parents or [name])[0]) not in model.model_fields:
            raise unknown("setting", first, model.model_fields)
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"--set gives both a value and parts to {parent!r}, got {brief(pair)}")
        if name in place:
            raise ValueError(f"--set gives {path} twice, the second time by {pair!r}")
        place[name] = _value(text)
    for name, value in found.items():
        if _has_parts(model, name) and not isinstance(value, dict):
            raise ValueError(
                f"{name} has several settings; give them one by one, such as --set {name}.name=NAME, "
                f"got {brief(value)}"
            )
    return found


def _has_parts(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return annotation is dict or get_origin(annotation) is dict


def _value(text: str) -> Any:
    """The value if it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise ValueError(f"--set: {text[:20]}… is nested too deep to be a setting") from None


def merged(options: dict[str, Any], sets: dict[str, Any], flags: Mapping[str, Flag]) -> dict[str, Any]:
    """Settings from options and from --set; ValueError for one that is given by both."""
    for name, value in sets.items():
        if name not in options:
            options[name] = value
        elif _have_no_part_in_common(options[name], value):
            options[name] = {**options[name], **value}
        else:
            flag = flags[name].flag if name in flags else f"an option for {name}"
            raise ValueError(f"{name} is given twice, by {flag} and by --set {name}…; give one of them")
    return options


def _have_no_part_in_common(a: Any, b: Any) -> bool:
    return isinstance(a, dict) and isinstance(b, dict) and not a.keys() & b.keys()


def typed(flags: Mapping[str, Flag], values: Mapping[str, Any]) -> list[str]:
    """Settings as a person types them: {"skip_bad": True, "size": [8, 6]} → ["--size", "8x6", "--skip-bad"].

    Reading the words again gives the same values.
    """
    words: list[str] = []
    for name, flag in flags.items():
        value: Any = values.get(name)
        names = flag.flag.split("/")
        if value is None or (flag.kind is bool and len(names) == 1 and value == names[0].startswith("--no-")):
            continue
        words.append(names[-1 if flag.kind is bool and not value else 0])
        if flag.kind is bool:
            continue
        if flag.kind == (float, float):
            words += map(exact, value)
        elif isinstance(value, dict):
            words.append(",".join(f"{name}={each}" for name, each in value.items()))
        elif isinstance(value, tuple | list):
            words.append("x".join(map(str, value)) if len(set(value)) > 1 else str(value[0]))
        else:
            words.append(str(value))
    return words


def exact(value: float) -> str:
    """A number in the fewest digits that mean the same number.

    >>> exact(3.0), exact(-1.23456789)
    ('3', '-1.23456789')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
