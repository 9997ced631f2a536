"""The columns of a table: what each holds, found from its texts; numbers ↔ texts, exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np

from ..errors import brief, unknown

ColumnKind = Literal["number", "category", "date"]
NUMBER = re.compile(
    r"[+-]?(?:(?P<whole>\d+)(?:\.(?P<decimals>\d*))?|\.(?P<only>\d+))(?P<power>[eE][+-]?\d+)?", re.ASCII
)
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "?", "-", ".")
"""Texts that stand for a missing value among numbers and dates; among categories only the empty one does."""
FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%H:%M", "%H:%M:%S"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M"),
    *("%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
)
"""Of dates, in the order in which they are tried; `%Y%m%d` only where it is asked for."""
MOST_CATEGORIES = 1000
SHOWN = 8  # categories
NARROW = {"float": np.float32, "halffloat": np.float16}
"""Types of a file that hold fewer digits than a sample's number, by Arrow's names."""
EPOCH = datetime(1970, 1, 1)
DAY = 86_400


@dataclass(frozen=True)
class Column:
    """What one column of a table holds; in a sample it is one float64 number.

    Attributes:
        kind: `number`; `category`, whose number is its place in `names`; `date`, in seconds since 1970.
        names: of the categories.
        decimals: of a number as text; None for as many as it takes.
        digits: that count, of a number as text; None for as many as it takes. They stand back for decimals.
        padded: whether it is written with all of them, or without zeros at its end.
        comma: whether they follow a comma.
        form: of a date, as strptime has it.
        missing: the text that stands for a missing value, NaN; None if there are none.
        type: in the file's own schema, if it has one.
    """

    kind: ColumnKind = "number"
    names: tuple[str, ...] = ()
    decimals: int | None = None
    digits: int | None = None
    padded: bool = False
    comma: bool = False
    form: str = ""
    missing: str | None = None
    type: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ColumnKind):
            raise unknown("kind of column", str(self.kind), get_args(ColumnKind))
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if self.kind == "category" and len(set(self.names)) < len(self.names):
            raise ValueError(f"the names of categories must differ, got {self.names[:9]}")
        if self.decimals is not None and not 0 <= self.decimals <= 17:
            raise ValueError(f"decimals must lie within 0 and 17, got {self.decimals}")
        if self.digits is not None and not 1 <= self.digits <= 17:
            raise ValueError(f"digits must lie within 1 and 17, got {self.digits}")

    def texts(self, values: np.ndarray) -> list[str]:
        """Numbers (n,) as the texts of a file."""
        known, places = np.unique(values, return_inverse=True)
        texts = [self._text(value) for value in known.tolist()]
        return [texts[i] for i in places.ravel().tolist()]

    def _text(self, value: float) -> str:
        if math.isnan(value):
            return self.missing or ""
        if self.kind == "category":
            return self.names[min(max(round(value), 0), len(self.names) - 1)]
        if self.kind == "date":
            return (EPOCH + timedelta(seconds=value)).strftime(self.form)
        text = repr(value) if self.decimals is None else f"{value:.{self.decimals}f}"
        if not self.padded and "." in text and "e" not in text:
            text = text.rstrip("0").rstrip(".")
        text = "0" if text == "-0" else text
        return text.replace(".", ",") if self.comma else text

    def number(self, text: str | None) -> float:
        """The number that a text stands for, NaN for a missing one: the inverse of `texts`.

        ValueError for what the column can't hold.
        """
        if text is None or text == self.missing or (text in MISSING and text not in self.names):
            return math.nan
        if self.kind == "category":
            if text not in self.names:
                raise unknown("category", text, self.names)
            return float(self.names.index(text))
        if self.kind == "date":
            seconds = _seconds(text, self.form)
            if seconds is None:
                raise ValueError(f"a date must have the form {self.form}, got {brief(text)}")
            return seconds
        if not _parsed(text, self.comma):
            raise ValueError(f"a number must be finite, got {brief(text)}")
        return float(text.replace(",", ".") if self.comma else text)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Numbers (n,) as they can stand in a file."""
        if self.kind == "category":
            return np.clip(np.rint(values), 0, max(len(self.names) - 1, 0))
        if self.kind == "date":
            step = next(step for part, step in STEPS.items() if part in self.form)
            return np.rint(values / step) * step
        if self.decimals is not None:
            values = np.round(values, self.decimals)
        elif self.digits is not None:
            values = np.array([float(f"{value:.{self.digits}g}") for value in values.tolist()], np.float64)
        return values.astype(NARROW.get(self.type, np.float64)).astype(np.float64) + 0.0

    def said(self) -> str:
        """`number`, `whole number`, `5 categories`, `date`."""
        if self.kind == "category":
            return f"{len(self.names)} categor{'y' if len(self.names) == 1 else 'ies'}"
        return "whole number" if self.kind == "number" and self.decimals == 0 else self.kind

    def described(self, values: np.ndarray) -> str:
        """`whole number, 18 to 90`, `4 categories: Lille, Lyon, Nice, Paris`; and how many are missing."""
        known = values[~np.isnan(values)]
        text = self.said()
        if self.kind == "category":
            text += ": " + ", ".join(self.names[:SHOWN]) + (", …" if len(self.names) > SHOWN else "")
        elif len(known):
            low, high = self.texts(np.array([known.min(), known.max()]))
            text += f", {low} to {high}"
        absent = len(values) - len(known)
        return text + (f"; {absent:,} missing" if absent else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON: what is not usual."""
        usual = asdict(Column())
        return {name: v for name, v in asdict(self).items() if v != usual[name] or name == "kind"}


@dataclass(frozen=True)
class LabelColumn:
    """A column of a table that the model is told: it is none of a sample's numbers.

    Attributes:
        name: of the column.
        place: among all columns of the file that are used.
        column: what it holds; of a class its categories, in their order.
        told: as which condition.
    """

    name: str
    place: int
    column: Column
    told: str = "class"

    def __post_init__(self) -> None:
        column: Any = self.column
        object.__setattr__(self, "column", column if isinstance(column, Column) else Column(**column))
        if self.place < 0 or self.column.kind == "date":
            raise ValueError(f"what is told is a category or a number at a place from 0, got {self}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "column": self.column.to_dict()}


STEPS = {"%S": 1, "%M": 60, "%H": 3600, "%d": DAY}
"""What a date is a multiple of, in seconds, by the finest part of its form."""


class Found:
    """A column as it was read: each different text once, and which of them stands where.

    Args:
        texts: the different ones, None for a missing value.
        places: (n,) numbers of them, -1 for a missing value.

    Attributes:
        absent: whether any is missing without a text for it.
    """

    def __init__(self, texts: Sequence[str | None], places: np.ndarray) -> None:
        self.texts, self.places = texts, places
        self.absent = None in texts or bool(np.any(places < 0))


def read_column(found: Found, wanted: str = "", comma: bool = False) -> tuple[Column, np.ndarray, str] | None:
    """(what the column holds, its numbers (n,), what to say of it); None for free text.

    Args:
        found: its texts.
        wanted: `number`, `category` or a date's form such as `%d.%m.%Y`; found out unless given.
        comma: whether decimals follow a comma.

    ValueError where it is not what is wanted, and where dates can be read in two ways.
    """
    texts = [text for text in found.texts if text is not None]
    if wanted and wanted not in ("number", "category", "date") and "%" not in wanted:
        raise ValueError(f"a column is number, category, skip, or a date such as %d.%m.%Y, got {wanted!r}")
    words = [text for text in texts if text in MISSING]
    rest = [text for text in texts if text not in MISSING]
    if wanted != "category":
        read = _number(rest, comma, bool(wanted)) if wanted in ("", "number") else None
        if read is None and wanted != "number":
            read = _date(rest, wanted if "%" in wanted else "")
        if read is not None:
            return _with_missing(found, read, words)
        if wanted:
            odd = next((t for t in rest if _parsed(t, comma) is None), rest[:1])
            raise ValueError(f"it is no {wanted}: it holds {odd!r}")
    return _category(found, texts, wanted == "category")


Read = tuple[Column, Callable[[str], float]]


def _with_missing(found: Found, read: Read, words: list[str]) -> tuple[Column, np.ndarray, str]:
    column, parse = read
    absent = found.absent
    counts = {w: int((found.places == i).sum()) for i, w in enumerate(found.texts) if w in words}
    most = max(counts, key=lambda w: counts[w], default=None)
    missing = "" if most is None and absent else most
    own = [math.nan if t is None or t in words else parse(t) for t in found.texts]
    values = np.array([*own, math.nan])[found.places]
    said = ", ".join(f"{w!r} {n} times" for w, n in counts.items() if w)
    return replace(column, missing=missing), values, f"{said} taken as missing" if said else ""


def _parsed(text: str, comma: bool) -> re.Match[str] | None:
    return NUMBER.fullmatch(text.replace(",", ".") if comma and "." not in text else text)


def _number(texts: list[str], comma: bool, asked: bool) -> Read | None:
    """Of numbers alone; codes such as 007 are none unless asked for."""
    matches = [_parsed(text, comma) for text in texts]
    if not all(matches):
        return None
    parts = [m for m in matches if m]
    if not asked and any(len(m["whole"] or "") > 1 and (m["whole"] or "")[0] == "0" for m in parts):
        return None
    lengths = {0 if m["power"] else len(m["decimals"] or m["only"] or "") for m in parts}
    power = any(m["power"] for m in parts)
    most, digits = max(lengths, default=0), max((_digits(m) for m in parts), default=1)
    decimals = None if power or most > 15 else most
    padded = len(lengths) == 1 and most > 0 and not power
    comma = comma and any("," in text for text in texts)
    digits = digits if digits <= 15 else None
    column = Column("number", decimals=decimals, digits=digits, padded=padded, comma=comma)
    return column, lambda text: float(text.replace(",", ".") if comma else text)


def _digits(number: re.Match[str]) -> int:
    """How many of its digits count, at least one: neither zeros before nor those after them all."""
    digits = f"{number['whole'] or ''}{number['decimals'] or number['only'] or ''}".strip("0")
    return max(1, len(digits))


def _date(texts: list[str], form: str) -> Read | None:
    forms = [form] if form else [f for f in FORMATS if f != "%Y%m%d"]
    fitting = [f for f in forms if texts and all(_seconds(text, f) is not None for text in texts)]
    if not fitting:
        return None
    if len(fitting) > 1:
        raise ValueError(
            f"its dates can be read in several ways, {' or '.join(fitting)}: say which by --types NAME=FORM"
        )
    return Column("date", form=fitting[0]), lambda text: float(_seconds(text, fitting[0]) or 0.0)


def _seconds(text: str, form: str) -> float | None:
    try:
        moment = datetime.strptime(text, form)
    except ValueError:
        return None
    if "%Y" not in form and "%y" not in form:  # a time of day
        moment = moment.replace(year=1970, month=1, day=1)
    return (moment.replace(tzinfo=UTC) - EPOCH.replace(tzinfo=UTC)).total_seconds()


def _category(found: Found, texts: list[str], asked: bool) -> tuple[Column, np.ndarray, str] | None:
    names = sorted(text for text in texts if text)
    rows = len(found.places)
    if asked and len(names) > MOST_CATEGORIES:
        raise ValueError(f"it has {len(names):,} different values, a category at most {MOST_CATEGORIES:,}")
    if len(names) > MOST_CATEGORIES or (not asked and len(names) > max(20, rows // 2)):
        return None
    missing = "" if len(names) < len(found.texts) or found.absent else None
    place = {name: float(i) for i, name in enumerate(names)}
    own = [place.get(text or "", math.nan) for text in found.texts]
    return Column("category", tuple(names), missing=missing), np.array([*own, math.nan])[found.places], ""
