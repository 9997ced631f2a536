"""Conditions whose values are made of names: a class, tags."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from unicodedata import normalize

import numpy as np

from ..errors import check_whole, unknown
from ..files import COUNT
from .condition import EACH, NOT_TOLD, Condition, few, is_told
from .source_types import some

SHOWN = 20  # names
FEW = 20
"""Different texts that are classes in any case; more are, if each stands in ten rows or more."""


@dataclass(frozen=True)
class Named(Condition):
    """A condition whose values are made of names.

    Attributes:
        names: of the classes, or tags.
        counts: how many training samples each has, if that is known.
    """

    noun: ClassVar[tuple[str, str]] = ("", "")
    form: ClassVar[Mapping[str, Any]] = {"names": [str], "counts": [COUNT]}
    fitted_only: ClassVar[frozenset[str]] = Condition.fitted_only | {"counts"}
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one, several = self.noun
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(
            self, "counts", tuple(check_whole("a count of samples", n, 0) for n in self.counts)
        )
        if not self.names:
            raise ValueError(f"a {one} condition needs the names of its {several}, got none")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names of {several} must differ, got {', '.join(self.names)}")
        if self.counts and len(self.counts) != len(self.names):
            raise ValueError(f"counts must be one for each of {len(self.names)} {several}, got {self.counts}")

    def place(self, name: str) -> int | None:
        """The number of a name, in any of Unicode's forms; None if it is none of them."""
        if name in self.names:
            return self.names.index(name)
        alike = [i for i, own in enumerate(self.names) if normalize("NFC", own) == normalize("NFC", name)]
        return alike[0] if len(alike) == 1 else None

    def warn_of(self, name: str, told: set[int]) -> None:
        """Warn of those of these numbers that had no training sample."""
        if unseen := [self.names[i] for i in sorted(told) if self.counts and not self.counts[i]]:
            warnings.warn(
                f"no training sample was of {name} {', '.join(unseen)}: it was never learned", stacklevel=4
            )

    def notes(self, name: str) -> list[str]:
        """Names without a training sample."""
        without = [own for own, n in zip(self.names, self.counts, strict=False) if not n]
        several = "classes" if name == "class" else f"{self.noun[1]} of {name}"
        return [f"{several} without a training sample: {some(without)}"] if without else []

    def described(self) -> str:
        """The names, with how many training samples each has."""
        counts = self.counts or [None] * len(self.names)
        pairs = list(zip(self.names, counts, strict=True))[:SHOWN]
        rest = len(self.names) - len(pairs)
        shown = [name if n is None else f"{name} ({n:,})" for name, n in pairs]
        return ", ".join(shown) + (f" and {rest} more" if rest else "")


@dataclass(frozen=True)
class ClassCondition(Named):
    """One of K classes, told as a one-hot vector (K,); a value is its number."""

    kind: ClassVar[str] = "class"
    noun: ClassVar[tuple[str, str]] = ("class", "classes")

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """Texts of which few differ; whole numbers as well if asked."""
        known = [_whole(cell) for cell in cells if cell is not None]
        plain = all(isinstance(cell, str | bool if not asked else str | bool | int) for cell in known)
        values = (
            sorted(set(known)) if all(isinstance(v, int) for v in known) else sorted({str(v) for v in known})
        )
        if not values or not plain or (not asked and len(values) > max(FEW, len(known) // 10)):
            if asked:
                raise ValueError(f"classes are texts or whole numbers, got {known[:3]}")
            return None
        place = {str(value): i for i, value in enumerate(values)}
        numbers = [math.nan if cell is None else place[str(_whole(cell))] for cell in cells]
        return cls(names=tuple(place)), np.array(
            numbers, np.int64 if len(known) == len(cells) else np.float64
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (len(self.names),)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """One-hot rows; ValueError unless all are whole numbers within 0..K - 1."""
        k = len(self.names)
        if values.dtype.kind == "f" and (values == np.rint(values)).all():  # NaN beside them is not told
            values = values.astype(np.int64)
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= k:
            raise ValueError(
                f"a class is a whole number within 0..{k - 1}, one a sample, got {values.tolist()}"
            )
        return np.eye(k, dtype=np.float32)[values]

    def fitted(self, values: np.ndarray) -> Self:
        """With how many of the training samples each class has."""
        known = values[is_told(values)].astype(np.int64)
        return replace(self, counts=tuple(np.bincount(known, minlength=len(self.names)).tolist()))

    def draw(self, u: np.ndarray) -> Any:
        """Class numbers."""
        if self.examples:
            return super().draw(u)
        counts = np.asarray(self.counts or [1] * len(self.names), dtype=np.float64)
        share = np.cumsum(counts / counts.sum())
        return np.minimum(np.searchsorted(share, u, side="right"), len(self.names) - 1).astype(np.int64)

    def each(self, indices: np.ndarray) -> list[Any]:
        """Sample i is of class i modulo their number; a class without a training sample is left out."""
        known = np.flatnonzero(np.asarray(self.counts or [1] * len(self.names)))
        return known[indices % len(known)].tolist()

    def is_each(self, given: Any) -> bool:
        """Whether every class is asked for, and not one of that name."""
        return isinstance(given, str) and given == EACH and EACH not in self.names

    def parse(self, given: Any) -> int | None:
        """A class by its name, in any of Unicode's forms; or by its number, where names are no numbers."""
        name = str(given)
        place = self.place(name)
        if place is not None:
            return place
        if given is None or name == NOT_TOLD:
            return None
        if name.isdecimal() and not any(map(_is_number, self.names)) and int(name) < len(self.names):
            return int(name)
        raise unknown("class", name, self.names)

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of classes that had no training sample."""
        super().check_asked(name, values)
        told = zip(values, is_told(values).tolist(), strict=True)
        self.warn_of(name, {int(value) for value, known in told if known})

    def said(self, value: Any) -> str:
        """Its name."""
        return self.names[int(value)]


@dataclass(frozen=True)
class TagsCondition(Named):
    """Any of K tags at once, told as 0 or 1 for each and a mark, (K + 1,); a value is K zeros and ones.

    The mark is 1 where it is told, so that "no tag" is something else than "not told".
    """

    kind: ClassVar[str] = "tags"
    noun: ClassVar[tuple[str, str]] = ("tag", "tags")

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """Lists of texts, or texts of which one has `;` or `|` in it; any text, also with `,`, if asked.

        Rows of zeros and ones are tags as well, named by their numbers.
        """
        known = [cell for cell in cells if cell is not None]
        rows = np.array([1, 0]) if not known or isinstance(known[0], str) else _rows(known)
        if rows.ndim == 2 and ((rows == 0) | (rows == 1)).all():
            found = [None if cell is None else np.flatnonzero(cell).tolist() for cell in cells]
            names = tuple(map(str, range(rows.shape[1])))
        else:
            texts = all(isinstance(cell, str) or _is_texts(cell) for cell in known)
            split = texts and any(not isinstance(cell, str) or re.search("[;|]", cell) for cell in known)
            if not (split or (asked and texts and known)):
                if asked:
                    raise ValueError(
                        f"tags are lists of texts, or texts with ; or | between them, got {known[:3]}"
                    )
                return None
            apart = "[;|,]" if asked else "[;|]"
            tags = [None if cell is None else _apart(cell, apart) for cell in cells]
            names = tuple(sorted({name for each in tags for name in each or ()}))
            place = {name: i for i, name in enumerate(names)}
            found = [None if each is None else [place[name] for name in each] for each in tags]
        if not names:
            return None
        values = np.zeros((len(cells), len(names)), np.float64)
        for i, each in enumerate(found):
            values[i, slice(None) if each is None else each] = math.nan if each is None else 1
        missing = len(known) < len(cells)
        return cls(names=names), values if missing else values.astype(np.uint8)

    @property
    def rank(self) -> int:
        """1."""
        return 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(K + 1,)."""
        return (len(self.names) + 1,)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[value, 1]; ValueError unless all are K zeros and ones."""
        k = len(self.names)
        numbers = values.dtype.kind in "biuf"
        if values.shape[1:] != (k,) or not numbers or not ((values == 0) | (values == 1)).all():
            raise ValueError(
                f"tags are {k} numbers 0 or 1, or names with commas between them, got {few(values)}"
            )
        return np.concatenate([values, np.ones((len(values), 1))], 1).astype(np.float32)

    def fitted(self, values: np.ndarray) -> Self:
        """With how many of the training samples each tag has."""
        return replace(self, counts=tuple(values[is_told(values)].sum(0).astype(int).tolist()))

    def parse(self, given: Any) -> list[int] | None:
        """Names with `,`, `;` or `|` between them; nothing for no tag."""
        text = str(given).strip()
        if self.place(text) is None and (given is None or text == NOT_TOLD):
            return None
        names = [text] if self.place(text) is not None else _apart(text, "[;|,]")
        found = [0] * len(self.names)
        for name in names:
            place = self.place(name)
            if place is None:
                raise unknown("tag", name, self.names)
            found[place] = 1
        return found

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of tags that had no training sample."""
        super().check_asked(name, values)
        told = zip(values, is_told(values).tolist(), strict=True)
        self.warn_of(name, {i for value, known in told if known for i, on in enumerate(value) if on})

    def written(self, value: Any) -> str:
        """Their names with `;` between them."""
        told = is_told([value]).all()
        return ";".join(name for name, on in zip(self.names, value, strict=True) if on) if told else ""

    def said(self, value: Any) -> str:
        """Their names."""
        return ", ".join(name for name, on in zip(self.names, value, strict=True) if on) or "no tags"


def _whole(cell: Any) -> Any:
    """A whole number, as it or as a text, as an integer; yes and no as a text."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return int(cell) if isinstance(cell, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", cell) else cell


def _apart(cell: Any, pattern: str) -> list[str]:
    """The different names of a text or a list."""
    parts = re.split(pattern, cell) if isinstance(cell, str) else cell
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list | tuple) and all(isinstance(part, str) for part in cell)


def _rows(cells: Sequence[Any]) -> np.ndarray:
    """Rows of numbers (n, K); anything else as no rows."""
    try:
        rows = np.asarray(cells)
    except ValueError:  # of several lengths
        return np.zeros(0)
    return rows if rows.ndim == 2 and rows.dtype.kind in "biuf" else np.zeros(0)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
