"""Options made from the fields of settings (`settings` goes the other way), and commands that take them.

A field of a pydantic model is an option: its name, type, help (the description), default and bounds come
from the field. What a terminal needs beyond that is in the field's `json_schema_extra`:

- `group`: the heading that the help lists it under; without one it is among the first
- `flag`: the option's name, if it isn't the field's
- `choices`: the names that are accepted, a table or a function that returns one; with `glossed` the help
  describes each row
- `metavar`, `shown`: what the help shows for the value, and for the default
- `off`: the help of --no-…, for a switch that is on by default
- `option`: False if only --set can give it; "choice" if it is an option only once there are two choices
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, BeforeValidator, PlainValidator
from pydantic_core import PydanticUndefined

from ..errors import brief, row_help

LAST = ("fork", "sets", "device", "dry_run", "json")
"""Options that the help lists last among those without a heading."""

TAKES = {bool: "true or false", (float, float): "LOW,HIGH", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Flag:
    """One option: its names, and how its value is read.

    Attributes:
        name: of the value, a field or an argument.
        flag: what is typed, such as `--batch`.
        kind: bool, int, float, str, (float, float), or list (of words: the option may be repeated).
        help: a phrase that describes it.
        shown: the default, in words; "" to show none.
        group: the heading that the help lists it under.
        metavar: what the help shows for the value.
        amount: whether the value is a number of images, such as 200k.
        short: a second name, of one letter.
    """

    name: str
    flag: str
    kind: Any
    help: str
    shown: str = ""
    group: str | None = None
    metavar: str | None = None
    amount: bool = False
    short: str = ""

    def option(self, show_default: bool = False) -> Any:
        """As Typer's option, for the annotation of an argument; it may show that argument's default."""
        text = f"{self.help} [default: {self.shown}]" if self.shown else self.help
        return typer.Option(
            *([self.short, self.flag] if self.short else [self.flag]),
            help=text.replace("[", r"\["),
            rich_help_panel=self.group,
            metavar=self.metavar,
            show_default=show_default,
        )

    def parameter(self) -> inspect.Parameter:
        """As a parameter of a command; None unless it is given."""
        kind = {(float, float): tuple[float, float], list: list[str]}.get(self.kind, self.kind)
        kind = str if self.amount else kind
        annotation = Annotated[kind | None, self.option()]
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )

    def read(self, typed: Any) -> Any:
        """The value, from what Typer made of the words."""
        if self.amount and isinstance(typed, str):
            return amount(typed, self.flag)
        if self.kind is bool and typed is True:
            return not self.flag.startswith("--no-")
        return typed

    def read_text(self, text: str) -> Any:
        """The value of one word, as in --compare "steps=10"; ValueError says what is accepted."""
        try:
            if self.kind is list:
                return [text]
            if self.kind is bool:
                return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            if self.kind == (float, float):
                low, high = map(float, text.split(","))
                return low, high
            return amount(text, self.name) if self.amount else self.kind(text)
        except (KeyError, ValueError):
            raise ValueError(
                f"{self.name} takes {TAKES.get(self.kind, 'a word')}, got {brief(text)}"
            ) from None


def amount(text: str, option: str) -> int:
    """ "200k" → 200000, "3M" → 3000000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{option} must be a number such as 5000, 200k or 3M, got {brief(text)}")
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


# --- from fields ---------------------------------------------------------------------------------


def flags_of(
    model: type[BaseModel], *, group: str | None = None, without: Iterable[str] = ()
) -> dict[str, Flag]:
    """The options of a settings model, by the field's name; `group` is for those without a group."""
    found, tables = {}, getattr(model, "tables", {})
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        extra = extra if isinstance(extra, dict) else {}
        kind, literals = kind_of(field.annotation)
        readers = [mark for mark in field.metadata if isinstance(mark, BeforeValidator | PlainValidator)]
        kind = str if kind is None and readers else kind  # the field parses text itself
        if name in without or kind is None or extra.get("option") is False:
            continue
        choices: Any = extra.get("choices", tables.get(name, literals))
        choices = choices() if callable(choices) else choices
        if extra.get("option") == "choice" and len(choices) == 1:
            continue
        default = field.get_default(call_default_factory=False)
        text = field.description or ""
        if kind is bool and default is True:
            text = str(extra.get("off") or f"turn off: {text}")
        found[name] = Flag(
            name,
            str(extra.get("flag") or flag_name(name, kind is bool, default)),
            kind,
            glossed(text, choices) if extra.get("glossed") else described(text, choices),
            str(extra.get("shown") or shown_default(default)),
            extra.get("group", group),  # type: ignore[arg-type]
            extra.get("metavar") or ("LOW HIGH" if kind == (float, float) else None),  # type: ignore[arg-type]
            bool(extra.get("amount")),
        )
    return found


def described(text: str, choices: Iterable[Any]) -> str:
    """A help text: a sentence, with the names to choose from."""
    text = text.rstrip(".")
    text = text[:1].upper() + text[1:]
    names = [str(choice) for choice in choices]
    if not all(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names):
        text = f"{text} ({listed(names)})" if text else listed(names)
    return f"{text}." if text else ""


def listed(names: Iterable[Any]) -> str:
    """Names in a row: "a, b or c"."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def glossed(text: str, table: Mapping[str, Any]) -> str:
    """A help text: a sentence, with the names of a table's rows and a description of each."""
    rows = {name: row if isinstance(row, str) else row_help(row) for name, row in table.items()}
    found = "; ".join(f"{name}: {gloss}" if gloss else name for name, gloss in rows.items())
    return f"{text[:1].upper()}{text[1:]} ({found})."


def shown_default(default: Any) -> str:
    """A default as the help shows it: "" for None, and for a switch that is off."""
    if (
        default is None
        or isinstance(default, bool)
        or default in (PydanticUndefined, inspect.Parameter.empty)
    ):
        return ""
    if isinstance(default, tuple | list):
        return " ".join(map(shown_default, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def kind_of(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """(type of an option, its literal values) from a field's annotation; (None, ()) if it can't be one."""
    if get_origin(annotation) is Annotated:
        return kind_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        if any(get_origin(one) is dict for one in get_args(annotation)):
            return None, ()  # the field parses its own text
        known = [kind_of(one) for one in get_args(annotation) if one is not type(None)]
        return next((one for one in known if one[0] is not None), (None, ()))
    if get_origin(annotation) is Literal:
        return str, tuple(str(value) for value in get_args(annotation) if isinstance(value, str))
    if get_origin(annotation) is tuple and get_args(annotation) == (float, float):
        return (float, float), ()
    return (annotation, ()) if annotation in (bool, int, float, str) else (None, ())


def flag_name(name: str, switch: bool = False, default: Any = False) -> str:
    """ "beta_min" → "--beta-min"; "--no-…" for a switch that is on, and both for one that depends."""
    name = name.replace("_", "-")
    if switch and default is not False:
        return f"--no-{name}" if default else f"--{name}/--no-{name}"
    return f"--{name}"


def flags_of_rows(options: Mapping[str, Mapping[str, Any]], group: str | None) -> dict[str, Flag]:
    """The options of a table's rows, each once, from the rows' names and their options.

    The help says which rows take it, unless all do, and the default, if they share one.
    """
    takers: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    defaults: dict[str, set[str]] = {}
    for row, entries in options.items():
        for name, entry in entries.items():
            takers.setdefault(name, []).append(row)
            found.setdefault(name, entry)
            defaults.setdefault(name, set()).add(shown_default(entry.default))
    flags = {}
    for name, entry in found.items():
        kind, literals = kind_of(entry.type)
        if kind is None:
            continue
        who = "" if len(takers[name]) == len(options) else f"; {', '.join(takers[name])} only"
        help = described(entry.help, literals).rstrip(".") + who + "."
        shown = defaults[name].pop() if len(defaults[name]) == 1 else ""
        flags[name] = Flag(name, flag_name(name), kind, help, shown, group)
    return flags


# --- on commands ---------------------------------------------------------------------------------


def takes(**tables: Callable[[], Mapping[str, Flag]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a command as taking the options of tables: those given arrive as one dictionary for each table.

    The tables are made when the command is built, so that they hold what has been registered until then.
    """

    def mark(command: Callable[..., None]) -> Callable[..., None]:
        command.tables = tables  # type: ignore[attr-defined]
        return command

    return mark


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with its own options and those of its tables, in the form that Typer reads."""
    tables = {name: make() for name, make in getattr(command, "tables", {}).items()}
    own = inspect.signature(command, eval_str=True)
    only = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=only) for p in own.parameters.values() if p.name not in tables]
    for table in tables.values():
        parameters += [flag.parameter() for flag in table.values()]
    parameters.sort(key=lambda p: LAST.index(p.name) if p.name in LAST else -1)
    names = [p.name for p in parameters]
    assert len(set(names)) == len(names), f"{command.__name__} has an option twice: {sorted(names)}"

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, table in tables.items():
            typed = {option: given.pop(option) for option in table}
            given[name] = {k: table[k].read(value) for k, value in typed.items() if value is not None}
        command(**given)

    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called
