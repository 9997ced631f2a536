"""Grids: outlines, masks, pictures of low resolution, the past of a series, told place by place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from ...errors import brief
from .base import NOT_TOLD, Condition, is_told

PARTS = 8
"""Parts a side whose means `summary` has, at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """One grid that is told, (C', *sides), with the name of the file that it was read from."""

    array: np.ndarray
    name: str = ""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.array, dtype)

    def __repr__(self) -> str:
        return f"Grid({self.said()})"

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self.array.ndim

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.array).data).hexdigest()

    def said(self) -> str:
        """Its name, or the beginning of its digest."""
        return self.name or self.digest[:12]

    def to_dict(self) -> dict[str, str]:
        """As JSON, which tells it from another one; `samples.json` has this in its place."""
        return {"name": self.name, "sha256": self.digest}


def as_json(value: Any) -> Any:
    """A value as it comes back from JSON; of a grid its name and digest."""

    def of_grid(grid: Any) -> dict[str, str]:
        return (grid if isinstance(grid, Grid) else Grid(np.asarray(grid))).to_dict()

    return json.loads(json.dumps(value, default=of_grid))


@dataclass(frozen=True)
class PictureCondition(Condition):
    """A grid over the places of a sample; told as (value - mean) / scale and a mark at each place.

    It is (C' + 1, *sides of a sample); one of lower resolution is told at several places each. The mark is 1
    where all channels are known and else 0, as where it is not told, so that black is something else than
    nothing. Single numbers may be missing (NaN): they are told as 0.

    Attributes:
        space: what one grid is, the facts of a `Space`.
        mean, scale: of the training samples, a channel: their mean and standard deviation (1 where that is
            0).
        times: a side, how many places of a sample each of its own is told at; once unless given.
    """

    kind: ClassVar[str] = "picture"
    measure: ClassVar[str] = "1 - E (predicted - told)^2 / E (told - mean)^2 of means of 8 x 8 parts"
    form: ClassVar[Mapping[str, Any]] = {
        "space": {"shape": [range(1, 2**30)], "dtype": str, str: Any}, "mean": [float], "scale": [float],
        "times": [range(1, 2**14)],
    }  # fmt: skip
    fitted_only: ClassVar[frozenset[str]] = Condition.fitted_only | {"mean", "scale"}
    space: Mapping[str, Any] = field(default_factory=dict, hash=False)
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    times: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "space", json.loads(json.dumps(dict(self.space))))
        shape = self.space.get("shape", ())
        if len(shape) < 2 or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"a told grid must have the shape (C, *sides), got {tuple(shape)}")
        object.__setattr__(self, "times", tuple(map(int, self.times)))
        if len(self.times) not in (0, len(shape) - 1):
            raise ValueError(f"times of a told grid must be one a side of {tuple(shape)}, got {self.times}")
        for name in ("mean", "scale"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            if len(getattr(self, name)) not in (0, shape[0]):
                raise ValueError(
                    f"{name} of a told grid must be a number for each of {shape[0]} channels, got "
                    f"{getattr(self, name)}"
                )
        if not all(scale > 0 for scale in self.scale):
            raise ValueError(f"the scale of a told grid must be above 0, got {self.scale}")

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """None: cells of a table hold none."""
        if asked:
            raise ValueError(
                "pictures are no cells of a table: give a folder or archive of them, --pairs DATA, or an "
                "array of an .npz, samples first"
            )
        return None

    @property
    def own_shape(self) -> tuple[int, ...]:
        """(C', *sides) of one grid."""
        return tuple(self.space["shape"])

    @property
    def rank(self) -> int:
        """Its channels, and its sides."""
        return len(self.own_shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C' + 1, *sides of a sample)."""
        channels, *sides = self.own_shape
        return (
            channels + 1,
            *(side * n for side, n in zip(sides, self.times or [1] * len(sides), strict=True)),
        )

    def over(self, sides: tuple[int, ...]) -> Self:
        """Told of samples of these sides; ValueError unless its own divide them."""
        own = self.own_shape[1:]
        if len(own) != len(sides) or any(side % small for side, small in zip(sides, own, strict=True)):
            raise ValueError(f"{' × '.join(map(str, own))} don't divide {' × '.join(map(str, sides))}")
        times = tuple(side // small for side, small in zip(sides, own, strict=True))
        return replace(self, times=() if set(times) == {1} else times)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[(value - mean) / scale, known]; ValueError for grids of another shape, and infinity."""
        self._check(values.shape[1:], values)
        column = (1, -1, *[1] * (self.rank - 1))
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros((1,) * values.ndim, bool)
        encoded = np.empty((len(values), 1 + self.own_shape[0], *self.own_shape[1:]), np.float32)
        mean, scale = (
            np.array(given or usual).reshape(column if given else ())
            for given, usual in ((self.mean, 0.0), (self.scale, 1.0))
        )
        encoded[:, :-1] = np.where(missing, 0.0, (values.astype(np.float64) - mean) / scale)
        encoded[:, -1] = ~missing.any(1)
        for axis, n in enumerate(self.times, 2):
            encoded = encoded.repeat(n, axis)
        return encoded

    def fitted(self, values: np.ndarray) -> Self:
        """With mean and scale of these, NaN left out."""
        flat = np.moveaxis(values, 1, 0).reshape(self.own_shape[0], -1).astype(np.float64)
        known = ~np.isnan(flat)
        if not known.any(1).all():
            return self
        mean = [float(row[here].mean()) for row, here in zip(flat, known, strict=True)]
        found = [float(row[here].std()) for row, here in zip(flat, known, strict=True)]
        most = [float(np.abs(row[here]).max()) for row, here in zip(flat, known, strict=True)]
        scale = [s if s > 1e-12 * top else 1.0 for s, top in zip(found, most, strict=True)]
        return replace(self, mean=tuple(mean), scale=tuple(scale))

    def notes(self, name: str, values: Any) -> list[str]:
        """Nothing: to look at all grids takes too long."""
        return []

    def with_examples(self, values: np.ndarray) -> Self:
        """Itself: pictures are no facts of a file."""
        return self

    def draw(self, u: np.ndarray) -> list[Any]:
        """Not told: a model's file holds no pictures to draw from. ValueError where training never hid it."""
        if not self.dropout:
            raise ValueError(
                "a model's file holds no pictures to draw from, and training never hid this one: give it "
                "(--cond NAME=FILE, or an array in Python)"
            )
        return [None] * len(u)

    def parse(self, given: Any) -> None:
        """None for `none`; a file is read by who knows its form."""
        if given is None or str(given).strip() == NOT_TOLD:
            return
        shown = " × ".join(map(str, self.own_shape))
        raise ValueError(
            f"a value must be an array {shown}; the commands take a file, as picture=FILE, got {brief(given)}"
        )

    def value(self, given: Any) -> Any:
        """As a `Grid`, checked."""
        if given is None or isinstance(given, str):
            return self.parse(given)
        grid = given if isinstance(given, Grid) else Grid(np.asarray(given))
        self._check(grid.array.shape, grid.array)
        return grid if is_told(grid.array[None]).all() else None

    def check(self, values: Sequence[Any]) -> None:
        """Nothing: each is checked already."""

    def said(self, value: Any) -> str:
        """Its name, or the beginning of its digest."""
        return (value if isinstance(value, Grid) else Grid(np.asarray(value))).said()

    def described(self) -> str:
        """Its shape, type, mean and deviation."""
        shown = f"{' × '.join(map(str, self.own_shape))} {self.space['dtype']}"
        if self.times:
            shown += f", told at {' × '.join(map(str, self.times))} places each"
        if not self.mean:
            return shown
        numbers = [f"{m:.4g} ± {s:.4g}" for m, s in zip(self.mean, self.scale, strict=True)]
        return f"{shown}, {', '.join(numbers[:4])}" + (" and so on" if len(numbers) > 4 else "")

    def summary(self, encoded: np.ndarray) -> np.ndarray:
        """(n, C', *parts): the means of at most 8 parts a side."""
        means = encoded[:, :-1].astype(np.float64)
        for axis, side in enumerate(encoded.shape[2:], 2):
            starts = np.unique(np.linspace(0, side, min(side, PARTS) + 1)[:-1].astype(int))
            sizes = np.diff([*starts, side]).reshape(-1, *[1] * (means.ndim - axis - 1))
            means = np.add.reduceat(means, starts, axis) / sizes
        return means

    def meaning(self) -> dict[str, Any]:
        """Shape and type."""
        own = {"kind": self.kind, "shape": list(self.own_shape), "dtype": self.space["dtype"]}
        return own | {"times": list(self.times)}

    def encoding(self) -> dict[str, Any]:
        """Also what values are standardized by."""
        return {**self.meaning(), "mean": list(self.mean), "scale": list(self.scale)}

    def _check(self, shape: tuple[int, ...], values: np.ndarray) -> None:
        if shape != self.own_shape or values.dtype.kind not in "biuf":
            wanted = " × ".join(map(str, self.own_shape))
            raise ValueError(f"a value must be numbers {wanted}, got {values.dtype} {shape}")
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise ValueError("a told grid holds infinity: fill it in, or say NaN for what is missing")
