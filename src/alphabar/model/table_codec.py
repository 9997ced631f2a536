"""The rows of a table ↔ vectors in model space: ranks for numbers, corners for categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from ..data.columns import Column
from ..data.space import Space
from .affine import Codec

MOST_NODES = 257
TAILS = 2.0 ** -np.arange(9, 16)
PLACES = np.unique([*np.linspace(0, 1, MOST_NODES), *TAILS, *(1 - TAILS)])
"""Probabilities of quantiles, closer at both ends: a long line to one extreme value would be drawn often."""
LEAST_SHARE = 2.0**-16
FEW = 64  # categories, up to which each has a number of its own
MOST_ROWS = 2**17  # that a codec is fitted to


def places_of(count: int) -> np.ndarray:
    """The probabilities of so many quantiles: even ones, or `PLACES` from `MOST_NODES` on."""
    return np.linspace(0, 1, count) if count < MOST_NODES else PLACES


class Ranks:
    """A column's numbers by their quantiles at `places_of` probabilities: v ↔ p within share..1 - share.

    Args:
        nodes: the quantiles, rising; none if there are no numbers.
    """

    def __init__(self, nodes: Sequence[float]) -> None:
        self.nodes, self.places = np.array(nodes), places_of(len(nodes))
        self.known, first, counts = np.unique(self.nodes, return_index=True, return_counts=True)
        self.middle = (self.places[first] + self.places[first + counts - 1]) / 2 if len(nodes) else first
        self.share = 0.5 / max(len(nodes), 1) if len(nodes) < MOST_NODES else LEAST_SHARE

    def place(self, values: np.ndarray) -> np.ndarray:
        """Numbers → p, of those that many are equal to in the middle; 1/2 where a number is missing."""
        if not len(self.nodes):
            return np.full(values.shape, 0.5)
        p = self.share + (1 - 2 * self.share) * np.interp(values, self.known, self.middle)
        return np.where(np.isnan(values), 0.5, p)

    def value(self, p: np.ndarray) -> np.ndarray:
        """p → numbers; NaN if there are none."""
        if not len(self.nodes):
            return np.full(p.shape, math.nan)
        return np.interp((p - self.share) / (1 - 2 * self.share), self.places, self.nodes)


class Part(NamedTuple):
    """How one column stands in model space: `width` numbers from `start` on.

    Attributes:
        ranks: of a number or date.
        corners: of a category, (K, width) of -1 and 1, the last one for a missing value if there are some.
        marked: of a number, whether the last of its numbers says that it is there (-1 if not, else 1).
    """

    start: int
    width: int
    ranks: Ranks
    corners: np.ndarray
    marked: bool


@dataclass(frozen=True)
class TableCodec(Codec):
    """Numbers as the normal quantiles of their ranks, categories as corners of a cube.

    A number v becomes z = Phi^-1(p), with p its place among the data's quantiles (the middle one where v has
    many), so that it is about standard normal whatever its law was; and z becomes v again by the straight
    lines between the quantiles, rounded as the data are. What piles up at one value has a stretch of z of its
    own, and so comes back exactly. A missing number is told by a number more. One of K categories is K
    numbers of which one is 1 and the others -1 (one number for two categories); beyond 64, the digits of its
    place in base 2. The nearest corner is the category that comes back.

    Attributes:
        quantiles: of each column's numbers, none for categories.
    """

    name: ClassVar[str] = "table"
    quantiles: tuple[tuple[float, ...], ...] = ()
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = tuple(tuple(map(float, nodes)) for nodes in self.quantiles)
        object.__setattr__(self, "quantiles", found)
        if any(MOST_NODES <= len(nodes) != len(PLACES) for nodes in found):
            raise ValueError(f"quantiles must be fewer than {MOST_NODES}, or {len(PLACES)}")
        if len(found) != len(self.space.columns):
            raise ValueError(
                f"quantiles must be those of {len(self.space.columns)} columns, got {len(found)}"
            )
        for nodes, column in zip(found, self.space.columns, strict=True):
            rising = np.all(np.isfinite(nodes)) and np.all(np.diff(nodes) >= 0)
            if not rising or len(nodes) == 1 or (nodes and column.kind == "category"):
                raise ValueError(
                    "quantiles must rise, two or more of a column of numbers, none of a category"
                )

    @cached_property
    def parts(self) -> list[Part]:
        """Of each column."""
        found, start = [], 0
        for column, nodes in zip(self.space.columns, self.quantiles, strict=True):
            corners, marked = _corners(column), column.kind != "category" and column.missing is not None
            width = corners.shape[1] if column.kind == "category" else 1 + marked
            found.append(Part(start, width, Ranks(nodes), corners, marked))
            start += width
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """(D',), at least as many as columns."""
        return (self.parts[-1].start + self.parts[-1].width,)

    @cached_property
    def _ranked(self) -> np.ndarray:
        """Which numbers of model space are ranks."""
        return np.array([part.start for part in self.parts if not len(part.corners)], int)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Rows (…, D) → (…, D') float32."""
        rows = np.asarray(images, np.float64)
        x_0 = np.empty((*rows.shape[:-1], *self.shape))
        for values, part in zip(np.moveaxis(rows, -1, 0), self.parts, strict=True):
            own, absent = x_0[..., part.start : part.start + part.width], np.isnan(values)
            if len(part.corners):
                codes = np.where(absent, len(part.corners) - 1, values).astype(int)
                own[...] = part.corners[np.clip(codes, 0, len(part.corners) - 1)]
                continue
            own[..., 0] = part.ranks.place(values)
            if part.marked:
                own[..., 1] = np.where(absent, -1, 1)
        p = torch.from_numpy(x_0[..., self._ranked])
        x_0[..., self._ranked] = torch.special.ndtri(p).numpy()
        return x_0.astype(np.float32)

    def decode(self, x_0: np.ndarray) -> np.ndarray:
        """The inverse, float64: the nearest category, numbers rounded as the data are."""
        x_0 = np.array(x_0, np.float64)
        x_0[..., self._ranked] = torch.special.ndtr(torch.from_numpy(x_0[..., self._ranked])).numpy()
        rows = np.empty((*x_0.shape[:-1], len(self.parts)))
        for i, (column, part) in enumerate(zip(self.space.columns, self.parts, strict=True)):
            own = x_0[..., part.start : part.start + part.width]
            if len(part.corners):
                codes = (own @ part.corners.T).argmax(-1)
                absent = (codes == len(part.corners) - 1) & (column.missing is not None)
                rows[..., i] = np.where(absent, math.nan, codes)
                continue
            values = column.rounded(part.ranks.value(own[..., 0]))
            rows[..., i] = np.where(own[..., 1] < 0, math.nan, values) if part.marked else values
        return rows

    def numbers_of(self, which: np.ndarray) -> np.ndarray:
        """A mask (…, D) of columns → that of the numbers (…, D') that encode them."""
        return np.repeat(which, [part.width for part in self.parts], -1)

    @cached_property
    def bounds(self) -> tuple[Any, Any]:
        """What the data reach from and to in model space, (D',) each."""
        high = np.ones(self.shape, np.float32)
        shares = torch.tensor([part.ranks.share for part in self.parts if not len(part.corners)])
        high[self._ranked] = -torch.special.ndtri(shares.double()).numpy()
        return -high, high

    @property
    def no_density(self) -> str:
        """A table has none."""
        return "a likelihood is of one density, and a table's columns have none in common"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "quantiles": [list(nodes) for nodes in self.quantiles]}

    @classmethod
    def fit(cls, space: Space, images: np.ndarray | None = None) -> TableCodec:
        """Quantiles of each column's numbers, of up to `MOST_ROWS` rows."""
        if images is None or not len(images):
            raise ValueError("a codec for tables is fitted to rows: give some")
        chosen = np.linspace(0, len(images) - 1, min(len(images), MOST_ROWS)).round().astype(int)
        rows = np.asarray(images[chosen], np.float64)
        quantiles = [
            () if column.kind == "category" else _quantiles(values[~np.isnan(values)])
            for column, values in zip(space.columns, rows.T, strict=True)
        ]
        return cls(space, quantiles=tuple(quantiles))


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    """At the probabilities of `places_of`, of the data's own values."""
    if not len(values):
        return ()
    nodes = min(MOST_NODES, max(2, len(values)))
    return tuple(np.quantile(values, places_of(nodes), method="nearest").tolist())


def _corners(column: Column) -> np.ndarray:
    """(K, width) of -1 and 1: of each category, and of a missing one."""
    count = (len(column.names) + (column.missing is not None)) if column.kind == "category" else 0
    if count <= 2:
        return np.array([[-1.0], [1.0]], np.float32)[:count]
    if count <= FEW:
        return 2 * np.eye(count, dtype=np.float32) - 1
    digits = np.arange(math.ceil(math.log2(count)))
    return (2 * (np.arange(count)[:, None] >> digits & 1) - 1).astype(np.float32)
