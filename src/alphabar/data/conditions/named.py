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

from ...errors import brief, check_whole, some, unknown
from ...files import COUNT
from .base import EACH, NOT_TOLD, Condition, is_told

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

    def notes(self, name: str, values: Any) -> list[str]:
        """Names without a training sample too."""
        without = [own for own, n in zip(self.names, self.counts, strict=False) if not n]
        several = "classes" if name == "class" else f"{self.noun[1]} of {name}"
        untold = [] if name == "class" else super().notes(name, values)
        return [*untold, *([f"{several} without a training sample: {some(without)}"] if without else [])]

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
    measure: ClassVar[str] = "share of the same class"
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
                f"a class is a whole number within 0..{k - 1}, one a sample, got {brief(values.tolist())}"
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

    def agreement(self, predicted: np.ndarray, encoded: np.ndarray) -> float:
        """The share of samples whose largest prediction is of their class."""
        return float((predicted.argmax(1) == encoded.argmax(1)).mean())

    def said(self, value: Any) -> str:
        """Its name."""
        return self.names[int(value)]


def _whole(cell: Any) -> Any:
    """A whole number, as it or as a text, as an integer; yes and no as a text."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return int(cell) if isinstance(cell, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", cell) else cell


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
