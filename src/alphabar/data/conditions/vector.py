"""Conditions that are numbers: attributes, parameters, angles, continuous labels."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ...errors import brief, check_whole
from ...files import COUNT
from ..columns import MISSING
from .base import NOT_TOLD, Condition, is_told

FEW = 0.1
"""The share of a vector's numbers beyond which it lies outside of what was trained on."""
SHOWN = 8  # numbers


@dataclass(frozen=True)
class VectorCondition(Condition):
    """Numbers: a single one, or K of them; told as (value - mean) / (scale sqrt(K)) and a mark, (K + 1,).

    So the mean square length of what is told is 1 for any K, as that of a one-hot class is: networks begin
    with weights of that size. The mark is 1 where it is told, so that the mean is something else than "not
    told".

    Attributes:
        size: K; 0 for a single number, which is told as K = 1.
        mean, scale: of the training samples, (K,): their mean and standard deviation (1 where that is 0).
        low, high: the least and the greatest value among them, (K,).
    """

    kind: ClassVar[str] = "vector"
    measure: ClassVar[str] = "1 - E (predicted - told)^2 / variance in training"
    form: ClassVar[Mapping[str, Any]] = {
        "size": COUNT, "mean": [float], "scale": [float], "low": [float], "high": [float],
    }  # fmt: skip
    fitted_only: ClassVar[frozenset[str]] = Condition.fitted_only | {"mean", "scale", "low", "high"}
    size: int = 0
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("the size of a vector", self.size, 0)
        for name in ("mean", "scale", "low", "high"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            if len(getattr(self, name)) not in (0, max(self.size, 1)):
                raise ValueError(
                    f"{name} of a vector must be {max(self.size, 1)} numbers, got {getattr(self, name)}"
                )
        if not all(scale > 0 for scale in self.scale):
            raise ValueError(f"the scale of a vector must be above 0, got {self.scale}")

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """Numbers, as they or as texts, or lists of numbers of one length."""
        cells = [None if isinstance(cell, str) and cell in MISSING else cell for cell in cells]
        known = [cell for cell in cells if cell is not None]
        try:
            rows = np.array([_numbers(cell) for cell in known], np.float64)
            if not known or not np.isfinite(rows).all() or rows.ndim > 2:
                raise ValueError
        except (TypeError, ValueError):
            if asked:
                raise ValueError(
                    f"a vector is a finite number, or a list of as many each, got {_odd(cells)}"
                ) from None
            return None
        values = np.full((len(cells), *rows.shape[1:]), math.nan)
        values[[cell is not None for cell in cells]] = rows
        return cls(size=rows.shape[1] if rows.ndim == 2 else 0), values

    @property
    def rank(self) -> int:
        """1 for a vector, 0 for a number."""
        return int(self.size > 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """(K + 1,)."""
        return (max(self.size, 1) + 1,)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[(value - mean) / (scale sqrt(K)), 1]; ValueError unless all are as many finite numbers."""
        wanted = (self.size,) if self.size else ()
        if values.shape[1:] != wanted or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            what = f"{self.size} numbers" if self.size else "a number"
            got = brief(values.tolist()) if values.size <= SHOWN else f"{values.dtype} {values.shape[1:]}"
            raise ValueError(f"a value must be {what}{self._range()}, got {got}")
        rows = values.reshape(len(values), -1).astype(np.float64)
        told = (rows - np.array(self.mean or 0.0)) / (np.array(self.scale or 1.0) * rows.shape[1] ** 0.5)
        return np.concatenate([told, np.ones((len(rows), 1))], 1).astype(np.float32)

    def fitted(self, values: np.ndarray) -> Self:
        """With mean, scale and range of these."""
        rows = values[is_told(values)].reshape(-1, max(self.size, 1)).astype(np.float64)
        if not len(rows):
            return self
        deviation = rows.std(0)
        scale = np.where(deviation > 1e-12 * np.abs(rows).max(0), deviation, 1.0)
        found = {"mean": rows.mean(0), "scale": scale, "low": rows.min(0), "high": rows.max(0)}
        return replace(self, **{name: tuple(value.tolist()) for name, value in found.items()})

    def parse(self, given: Any) -> Any:
        """A number, or K with `,` or `;` between them."""
        text = str(given).strip()
        if given is None or text == NOT_TOLD:
            return None
        try:
            numbers = [float(part) for part in re.split(r"\s*[,;]\s*", text)]
        except ValueError:
            numbers = []
        if len(numbers) != max(self.size, 1) or not all(map(math.isfinite, numbers)):
            what = f"{self.size} numbers, such as 1,2 or FILE.npy" if self.size else "a number"
            raise ValueError(f"a value must be {what}{self._range()}, got {brief(text)}")
        return numbers if self.size else numbers[0]

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of values outside of the range that was trained on."""
        super().check_asked(name, values)
        told = [value for value, known in zip(values, is_told(values).tolist(), strict=True) if known]
        if not told or not self.low:
            return
        rows = np.asarray(told, np.float64).reshape(len(told), -1)
        outside = ((rows < self.low) | (rows > self.high)).mean(1) > FEW  # of many, some are by chance
        if outside.any():
            first = self.said(told[int(outside.argmax())])
            warnings.warn(
                f"{name} {first} lies outside of what was trained on{self._range()}: it was never learned",
                stacklevel=3,
            )

    def said(self, value: Any) -> str:
        """The numbers, shortly; of many the first."""
        numbers = [f"{number:.6g}" for number in np.ravel(value).tolist()]
        return ", ".join(numbers[:SHOWN]) + (" and so on" if len(numbers) > SHOWN else "")

    def agreement(self, predicted: np.ndarray, encoded: np.ndarray) -> float:
        """1 - the mean squared error over the variance that the training samples have."""
        return 1.0 - float(np.square(predicted - encoded)[:, :-1].sum(1).mean())

    def written(self, value: Any) -> str:
        """All digits, with `;` between numbers."""
        return ";".join(map(repr, np.ravel(value).tolist())) if is_told([value]).all() else ""

    def described(self) -> str:
        """Their range, mean and deviation."""
        if not self.low:
            return super().described()
        ranges = [f"{a:.6g} to {b:.6g}" for a, b in zip(self.low, self.high, strict=True)]
        shown = ", ".join(ranges[:4]) + (" and so on" if len(ranges) > 4 else "")
        if self.size:
            return f"{self.size} numbers, {shown}"
        return f"numbers, {shown}, mean {self.mean[0]:.4g}, deviation {self.scale[0]:.4g}"

    def encoding(self) -> dict[str, Any]:
        """Also what values are standardized by."""
        return {**self.meaning(), "mean": list(self.mean), "scale": list(self.scale)}

    def _range(self) -> str:
        """`, 18 to 90`."""
        if not self.low or len(self.low) > 4:
            return ""
        return ", " + ", ".join(f"{a:.6g} to {b:.6g}" for a, b in zip(self.low, self.high, strict=True))


def _numbers(cell: Any) -> Any:
    """A number, or a list of some; TypeError or ValueError for anything else."""
    if isinstance(cell, list | tuple | np.ndarray):
        return [_numbers(part) for part in cell]
    if isinstance(cell, bool):
        raise TypeError
    return float(cell)


def _odd(cells: Sequence[Any]) -> str:
    """The first cell that is no finite numbers, or not as many as the first; with its row, from 0."""
    shape: tuple[int, ...] | None = None
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        try:
            numbers = np.array(_numbers(cell), np.float64)
        except (TypeError, ValueError):
            return f"{cell!r} in row {row}"
        shape = numbers.shape if shape is None else shape
        if numbers.shape != shape or numbers.ndim > 1 or not np.isfinite(numbers).all():
            return f"{cell!r} in row {row}"
    return "none that is told"
