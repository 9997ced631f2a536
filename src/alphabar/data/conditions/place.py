"""Where in a larger sample a crop lies, so that whole samples can be drawn part by part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from .base import Condition
from .vector import VectorCondition

FINEST = 2
"""The quickest wave has half a period in 1/2^FINEST of a crop's side, or less."""


@dataclass(frozen=True)
class PlaceCondition(VectorCondition):
    """The first corner of a crop, in places of the sample that it is of, (D,); told as waves and a mark.

    With u = corner / room, the share of the way that a crop can lie along each of D sides,

        [sin(pi 2^f u), cos(pi 2^f u)] / sqrt(D F),    f = 0 … F - 1,

    and 1 where it is told: (2 D F + 1,), of mean square length 1 but for the mark. As in arXiv 2304.12526 and
    2406.02462, where whole samples come from networks that saw crops and where these lie.

    Attributes:
        sides: of a crop, D.
        room: by how much the larger sample's sides are longer.
    """

    kind: ClassVar[str] = "place"
    measure: ClassVar[str] = Condition.measure
    form: ClassVar[Mapping[str, Any]] = {
        **VectorCondition.form, "sides": [range(1, 2**30)], "room": [range(2**30)],
    }  # fmt: skip
    sides: tuple[int, ...] = ()
    room: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sides", "room"):
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))
        if not self.size == len(self.sides) == len(self.room) > 0:
            raise ValueError(f"a place has as many sides and room as numbers, got {self.sides}, {self.room}")

    @classmethod
    def of(cls, sides: tuple[int, ...], room: tuple[int, ...]) -> Self:
        """That of crops of these sides in samples that are longer by `room`."""
        low, high = (0.0,) * len(room), tuple(map(float, room))
        return cls(size=len(room), sides=sides, room=room, low=low, high=high)

    @classmethod
    def read(cls, cells: Any, asked: bool) -> None:
        """None: crops have places, and columns don't."""

    @property
    def whole(self) -> tuple[int, ...]:
        """Sides of the sample that crops are of."""
        return tuple(a + b for a, b in zip(self.sides, self.room, strict=True))

    @property
    def waves(self) -> int:
        """F, at least 1."""
        most = max(room / side for room, side in zip(self.room, self.sides, strict=True))
        return max(1, FINEST + math.ceil(math.log2(max(most, 2**-FINEST))))

    @property
    def shape(self) -> tuple[int, ...]:
        """(2 D F + 1,)."""
        return (2 * self.size * self.waves + 1,)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """Waves of the corner, and 1; ValueError unless all are D finite numbers."""
        corners = super().encode_told(values)[:, :-1] * self.size**0.5
        u = corners.astype(np.float64) / np.maximum(self.room, 1)
        angle = (math.pi * u[..., None] * 2.0 ** np.arange(self.waves)).reshape(len(u), -1)
        waves = np.concatenate([np.sin(angle), np.cos(angle)], 1) / angle.shape[1] ** 0.5
        return np.concatenate([waves, np.ones((len(u), 1))], 1).astype(np.float32)

    def fitted(self, values: np.ndarray) -> Self:
        """Itself: what there is to know of it is known."""
        return self

    def agreement(self, predicted: np.ndarray, encoded: np.ndarray) -> float:
        """That of any condition."""
        return Condition.agreement(self, predicted, encoded)

    def described(self) -> str:
        """Of which crops."""
        crop, whole = (" × ".join(map(str, sides)) for sides in (self.sides, self.whole))
        return f"where in {whole} a crop of {crop} lies"

    def mirrored(self, corners: np.ndarray) -> np.ndarray:
        """Corners (n, D) of the same crops of samples that are mirrored left to right."""
        return np.concatenate([corners[:, :-1], self.room[-1] - corners[:, -1:]], 1)

    def turned(self, corners: np.ndarray, quarters: int) -> np.ndarray:
        """The same (n, 2) of samples turned by so many quarters; NaN where none of the data lie so."""
        if quarters % 2 and self.room[0] != self.room[1]:
            return np.full_like(corners, np.nan)
        (rows, columns), (down, right) = corners.T, self.room
        r, c = down - rows, right - columns
        return np.stack([(rows, columns), (c, rows), (r, c), (columns, r)][quarters], 1)


def place_in(conditions: Mapping[str, Any]) -> tuple[str, PlaceCondition] | None:
    """The name and the condition that tells where a crop lies, if there is one."""
    found = ((name, c) for name, c in conditions.items() if isinstance(c, PlaceCondition))
    return next(found, None)
