"""What training sees in place of a sample: mirrored, turned; a function of (seed, k, place)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import rng
from .conditions.base import Condition
from .conditions.picture import PictureCondition
from .conditions.place import PlaceCondition
from .space import Space


class Draw(NamedTuple):
    """What random choices for samples in batch k depend on: the seed, k and their places in it, (n,)."""

    seed: int
    k: int
    places: np.ndarray


def check_augment(
    space: Space, flip: bool = False, turns: bool = False, conditions: Mapping[str, Condition] | None = None
) -> None:
    """ValueError where mirroring samples left to right, or turning them and their grids, makes no sense."""
    if flip and space.kind != "picture":
        raise ValueError(
            f"flip mirrors pictures left to right, and these samples are {space.shown_shape()}, not "
            "pictures: leave flip out"
        )
    if not turns:
        return
    if space.kind not in ("picture", "field") or space.shape[1] != space.shape[2]:
        raise ValueError(
            f"turns are for square pictures and fields, and these samples are {space.shown_shape()}: leave "
            "turns out"
        )
    for name, condition in (conditions or {}).items():
        if isinstance(condition, PictureCondition) and len({*condition.own_shape[1:]}) > 1:
            shown = " × ".join(map(str, condition.own_shape[1:]))
            raise ValueError(f"{name}, {shown}, isn't square, and can't be turned alike: leave turns out")
    if space.absent is not None and not (space.absent == np.rot90(space.absent, 1, (1, 2))).all():
        raise ValueError(
            "what every sample lacks (NaN) would lie elsewhere in one that is turned: leave turns out"
        )


def augment(
    images: np.ndarray,
    values: Mapping[str, np.ndarray],
    conditions: Mapping[str, Condition],
    draw: Draw,
    flip: bool = False,
    turns: bool = False,
) -> None:
    """Move the samples (n, C, *sides) of a batch in their place, and alike the grids and places told.

    flip: each mirrored left to right with probability 1/2; turns: each turned by 0 to 3 quarters, all as
    likely.
    """
    seed, k, rows = draw
    grids = [images, *(values[name] for name, c in conditions.items() if isinstance(c, PictureCondition))]
    places = [(c, values[name]) for name, c in conditions.items() if isinstance(c, PlaceCondition)]
    if flip:
        chosen = rng.uniform(seed, "flip", rows, k) < 0.5
        for each in grids:
            each[chosen] = each[chosen][..., ::-1]
        for place, corners in places:
            corners[chosen] = place.mirrored(corners[chosen])
    if turns:
        quarters = np.floor(4 * rng.uniform(seed, "turn", rows, k))
        for quarter in (1, 2, 3):
            chosen = quarters == quarter
            for each in grids:
                each[chosen] = np.rot90(each[chosen], quarter, (2, 3))
            for place, corners in places:
                corners[chosen] = place.turned(corners[chosen], quarter)
