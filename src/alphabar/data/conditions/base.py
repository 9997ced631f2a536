"""What a network can be told beside x_t, as numbers of which all zeros say nothing: what all kinds share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

NOT_TOLD, EACH = "none", "each"
Values = Mapping[str, Any]
"""What several samples are told: name → one value a sample, None where it is not told."""


@dataclass(frozen=True)
class Condition:
    """One thing that is told beside x_t. A row of `CONDITIONS` is a class like this one.

    A value is told as float32 numbers of the fixed `shape`, and all zeros mean "not told". So hiding it in
    training is a product with 0, and guidance away from it a tensor of zeros. In an array of values NaN is
    not told, in a list None or NaN.

    Attributes:
        rank: how many axes one value has: 0 for a number, 1 for a vector. Text is one value in any case.
        dropout: the share of training samples that it was hidden from; above 0 the model also works
            without it.
        examples: values of some training samples, of the same ones in all conditions of a model; none where
            values are drawn in another way.
    """

    kind: ClassVar[str] = ""
    measure: ClassVar[str] = "1 - E (predicted - told)^2 / E (told - mean)^2"
    """What `agreement` is, in words."""
    form: ClassVar[Mapping[str, Any]] = {}
    """What its own facts must be, see `files.check_facts`."""
    fitted_only: ClassVar[frozenset[str]] = frozenset({"dropout", "examples"})
    """Attributes that say nothing of what a value means."""
    dropout: float = field(default=0.0, kw_only=True)
    examples: tuple[Any, ...] = field(default=(), kw_only=True, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", frozen(self.examples))

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """The condition that a column's cells (n,) are plainly values of, and these, (n, …).

        Args:
            cells: texts, numbers or lists of them, None for what is missing.
            asked: whether this kind is asked for: then what could be another one is read as well.

        None if they are none, ValueError if they are asked for.
        """
        return None

    @property
    def rank(self) -> int:
        """Axes of one value."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one encoded value."""
        raise NotImplementedError

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Values (n,), None where not told → float32 (n, *shape)."""
        told = is_told(values)
        encoded = np.zeros((len(told), *self.shape), np.float32)
        if told.any():
            some = values[told] if isinstance(values, np.ndarray) else _at(values, told)
            try:
                array = np.asarray(some)
            except ValueError:  # NumPy's own words are about an "inhomogeneous part"
                raise ValueError(f"values of kind {self.kind} must all have one shape") from None
            encoded[told] = self.encode_told(array)
        return encoded

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """The same where all are told. ValueError for what is no value."""
        raise NotImplementedError

    def fitted(self, values: np.ndarray) -> Self:
        """This condition with what is known of it from the values of the training samples (n, …)."""
        return self

    def with_examples(self, values: np.ndarray) -> Self:
        """This condition with the values of some training samples to `draw` from."""
        told = is_told(values).tolist()
        some = [value if known else None for value, known in zip(values.tolist(), told, strict=True)]
        return replace(self, examples=some)

    def example_size(self, values: np.ndarray) -> int:
        """How many numbers an example takes in a model's file, given values (n, …)."""
        return values[:1].size

    def notes(self, name: str, values: Any) -> list[str]:
        """What to say of a data set with this condition: to how many samples it isn't told."""
        told = is_told(values)
        return [] if told.all() else [f"{len(told) - told.sum():,} of {len(told):,} are told no {name}"]

    def is_each(self, given: Any) -> bool:
        """Whether this asks for every value as often as any other."""
        return isinstance(given, str) and given == EACH

    def draw(self, u: np.ndarray) -> Any:
        """Values as often as in the training data, from numbers u uniform in [0, 1), (n,).

        Equal numbers give examples of the same training samples in all conditions that have some.
        """
        if not self.examples:
            raise ValueError(f"this model knows no values of its {self.kind} to draw: give one")
        return [plain(self.examples[int(share * len(self.examples))]) for share in u.tolist()]

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
            values = [self.value(each) for each in ([given] if one else given)]
            self.check(values)
        except ValueError as error:
            raise ValueError(str(error) if name == self.kind else f"{name}: {error}") from None
        return values * n if one else values

    def value(self, given: Any) -> Any:
        """One value in plain Python; text is read as a person types it."""
        return self.parse(given) if isinstance(given, str) else plain(given)

    def check(self, values: Sequence[Any]) -> None:
        """ValueError for what is no value."""
        self.encode(list({repr(value): value for value in values}.values()))

    def _axes(self, given: Any) -> int:
        """How many axes this has: the rank of a value, and one more for a list of them."""
        if given is None or isinstance(given, str):
            return self.rank
        if hasattr(given, "ndim"):
            return given.ndim
        return 1 + max(map(self._axes, given), default=0) if isinstance(given, Sequence) else 0

    def check_told(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Raise ValueError where a value is missing, and training never hid it."""
        if not self.dropout and not is_told(values).all():
            raise ValueError(
                f"this model always needs to be told the {name}, which training never hid: give one "
                "(a model trained with --set condition_dropout=0.1 does without)"
            )

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """The same, and warn of values that training never saw: what is drawn of them was never learned."""
        self.check_told(name, values)

    def title(self, value: Any) -> str:
        """A value as a person says it."""
        return self.said(value) if is_told([value]).all() else NOT_TOLD

    def said(self, value: Any) -> str:
        """The same of one that is told."""
        return str(value)

    def written(self, value: Any) -> str:
        """The same in the cell of a table; nothing where it is not told."""
        return self.said(value) if is_told([value]).all() else ""

    def described(self) -> str:
        """What its values are, in words."""
        return f"{self.kind}, {' × '.join(map(str, self.shape))} numbers"

    def summary(self, encoded: np.ndarray) -> np.ndarray:
        """What of encoded values (n, *shape) is looked for in samples, for `agreement`: all of it."""
        return encoded

    def agreement(self, predicted: np.ndarray, encoded: np.ndarray) -> float:
        """How well a `summary` that was predicted agrees with that of encoded values: at most 1."""
        away = np.square(predicted.reshape(encoded.shape) - encoded).sum()
        return 1.0 - float(away / max(np.square(encoded - encoded.mean(0)).sum(), 1e-30))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        own = {each.name: plain(getattr(self, each.name)) for each in fields(self)}
        return {
            "kind": self.kind,
            **{name: value for name, value in own.items() if name != "examples" or value},
        }

    def meaning(self) -> dict[str, Any]:
        """What a value means, as JSON: two models for which it is equal can be told the same values."""
        return {name: value for name, value in self.to_dict().items() if name not in self.fitted_only}

    def encoding(self) -> dict[str, Any]:
        """What an encoded value means, as JSON."""
        return self.meaning()


def is_told(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Which of several values say something, bool (n,): neither None nor NaN, and no empty text.

    Of a vector no number may be missing (NaN); a grid, of two axes or more, is told unless all of it is.

    >>> is_told([1.0, None, float("nan"), "a", [2.0, float("nan")]]).tolist()
    [True, False, False, True, False]
    """
    if isinstance(values, np.ndarray) and values.dtype != object:
        if values.dtype.kind == "U":
            return np.asarray(values != "")
        if values.dtype.kind != "f":
            return np.ones(len(values), bool)
        missing = np.all if values.ndim > 2 else np.any
        return np.asarray(~missing(np.isnan(values), axis=tuple(range(1, values.ndim))))
    return np.array([_says(value) for value in values], bool)


def _says(value: Any) -> bool:
    if value is None or isinstance(value, float | str):
        return value is not None and value == value and value != ""
    if isinstance(value, np.ndarray):
        return bool(is_told(value[None])[0]) if value.dtype.kind == "f" else True
    return all(map(_says, value)) if isinstance(value, list | tuple) else True


def _at(values: Sequence[Any], mask: np.ndarray) -> list[Any]:
    return [value for value, here in zip(values, mask.tolist(), strict=True) if here]


def frozen(value: Any) -> Any:
    """Lists, within lists as well, as tuples."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """Arrays and NumPy's numbers as lists and numbers, within lists as well: ready for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
