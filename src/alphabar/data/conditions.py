"""What a network can be told beside x_t, as numbers of which all zeros say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar
from unicodedata import normalize

import numpy as np

from ..errors import check_whole, made_from, unknown

NOT_TOLD, EACH = "none", "each"
Values = Mapping[str, Any]
"""What several samples are told: name → one value a sample, None where it is not told."""


@dataclass(frozen=True)
class Condition:
    """One thing that is told beside x_t. A row of `CONDITIONS` is a class like this one.

    A value is told as float32 numbers of the fixed `shape`, and all zeros mean "not told". So hiding it in
    training is a product with 0, and guidance away from it a tensor of zeros.

    Attributes:
        rank: how many axes one value has: 0 for a number, 1 for a vector. Text is one value in any case.
        dropout: the share of training samples that it was hidden from; above 0 the model also works
            without it.
    """

    kind: ClassVar[str] = ""
    rank: ClassVar[int] = 0
    dropout: float = field(default=0.0, kw_only=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one encoded value."""
        raise NotImplementedError

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Values (n,), None where not told → float32 (n, *shape)."""
        told = np.array([value is not None for value in values], dtype=bool)
        encoded = np.zeros((len(told), *self.shape), np.float32)
        if told.any():
            some = values[told] if isinstance(values, np.ndarray) else [v for v in values if v is not None]
            try:
                array = np.asarray(some)
            except ValueError:  # NumPy's own words are about an "inhomogeneous part"
                raise ValueError(f"values of kind {self.kind} must all have one shape") from None
            encoded[told] = self.encode_told(array)
        return encoded

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """The same where all are told. ValueError for what is no value."""
        raise NotImplementedError

    def is_each(self, given: Any) -> bool:
        """Whether this asks for every value as often as any other."""
        return isinstance(given, str) and given == EACH

    def draw(self, u: np.ndarray) -> np.ndarray:
        """Values as often as in the training data, from numbers u uniform in [0, 1), (n,)."""
        raise NotImplementedError

    def each(self, indices: np.ndarray) -> list[Any]:
        """Every value as often as any other, from the numbers of samples; ValueError where they can't be."""
        raise ValueError(f"{EACH} is for classes, and this is told a {self.kind}: give a value")

    def parse(self, given: Any) -> Any:
        """A value from what a person typed; None for `none`. ValueError says what is known."""
        raise NotImplementedError

    def is_one(self, given: Any) -> bool:
        """Whether this is one value, and not a list of them."""
        return self._axes(given) <= self.rank

    def values(self, name: str, given: Any, n: int) -> list[Any]:
        """The n values that are given: one for all samples, or a list of one each, in plain Python.

        Args:
            name: of the condition, for messages.
            given: text is read as a person types it; None is not told.
            n: samples.
        """
        axes = self._axes(given)
        if axes > self.rank + 1:
            raise ValueError(
                f"a value of {name} has rank {self.rank}: give one, or a list of {n}, got {axes} axes"
            )
        one = axes <= self.rank
        if not one and len(given) != n:
            raise ValueError(f"{name} must be one value, or {n} of them, got {len(given)}")
        try:
            values = [self.parse(v) if isinstance(v, str) else plain(v) for v in ([given] if one else given)]
            self.encode(list({repr(value): value for value in values}.values()))  # raises for what is none
        except ValueError as error:
            raise ValueError(str(error) if name == self.kind else f"{name}: {error}") from None
        return values * n if one else values

    def _axes(self, given: Any) -> int:
        """How many axes this has: the rank of a value, and one more for a list of them."""
        if given is None or isinstance(given, str):
            return self.rank
        if hasattr(given, "ndim"):
            return given.ndim
        return 1 + max(map(self._axes, given), default=0) if isinstance(given, Sequence) else 0

    def check_told(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Raise ValueError where a value is missing, and training never hid it."""
        if not self.dropout and any(value is None for value in values):
            raise ValueError(
                f"this model always needs to be told the {name}, which training never hid: give one "
                "(a model trained with --set condition_dropout=0.1 does without)"
            )

    def title(self, value: Any) -> str:
        """A value as a person says it."""
        return NOT_TOLD if value is None else str(value)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, **asdict(self)}

    def meaning(self) -> dict[str, Any]:
        """What an encoded value means, as JSON: two models for which it is equal can be told the same."""
        return {name: value for name, value in self.to_dict().items() if name != "dropout"}


@dataclass(frozen=True)
class ClassCondition(Condition):
    """One of K classes, told as a one-hot vector (K,); a value is its number.

    Attributes:
        names: of the classes.
        counts: how many training samples each has, if that is known.
    """

    kind: ClassVar[str] = "class"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(
            self, "counts", tuple(check_whole("a count of samples", n, 0) for n in self.counts)
        )
        if not self.names:
            raise ValueError("a class condition needs the names of its classes, got none")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names of classes must differ, got {', '.join(self.names)}")
        if self.counts and len(self.counts) != len(self.names):
            raise ValueError(f"counts must be one for each of {len(self.names)} classes, got {self.counts}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (len(self.names),)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """One-hot rows; ValueError unless all are whole numbers within 0..K - 1."""
        k = len(self.names)
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= k:
            raise ValueError(
                f"a class is a whole number within 0..{k - 1}, one a sample, got {values.tolist()}"
            )
        return np.eye(k, dtype=np.float32)[values]

    def draw(self, u: np.ndarray) -> np.ndarray:
        """Class numbers, int64."""
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
        if name in self.names:
            return self.names.index(name)
        alike = [i for i, own in enumerate(self.names) if normalize("NFC", own) == normalize("NFC", name)]
        if len(alike) == 1:
            return alike[0]
        if given is None or name == NOT_TOLD:
            return None
        if name.isdecimal() and not any(map(_is_number, self.names)) and int(name) < len(self.names):
            return int(name)
        raise unknown("class", name, self.names)

    def check_told(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of classes that had no training sample: what is drawn of them was never learned."""
        super().check_told(name, values)
        told = {int(value) for value in values if value is not None} if self.counts else set()
        if unseen := [self.names[value] for value in sorted(told) if not self.counts[value]]:
            warnings.warn(
                f"no training sample was of {name} {', '.join(unseen)}: it was never learned",
                stacklevel=2,
            )

    def title(self, value: Any) -> str:
        """Its name."""
        return NOT_TOLD if value is None else self.names[int(value)]

    def meaning(self) -> dict[str, Any]:
        """The names; how many samples each had doesn't matter."""
        return {name: value for name, value in super().meaning().items() if name != "counts"}


CONDITIONS: dict[str, type[Condition]] = {ClassCondition.kind: ClassCondition}
"""Kinds of conditions by name: `class`, one of several."""


def condition_from(entry: Mapping[str, Any]) -> Condition:
    """The condition that `to_dict` described."""
    return made_from(CONDITIONS, entry, "kind", "kind of condition")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def plain(value: Any) -> Any:
    """Arrays and NumPy's numbers as lists and numbers, within lists as well: ready for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
