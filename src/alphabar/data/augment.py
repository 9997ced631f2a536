"""What training sees in place of a sample: mirrored, turned; a function of (seed, k, place)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import rng
from .conditions.base import Condition
from .conditions.picture import PictureCondition
from .space import Space


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


def mirrored(images: np.ndarray, seed: int, k: int) -> np.ndarray:
    """Samples (n, C, H, W) of batch k, each mirrored left to right with probability 1/2, in their place."""
    chosen = rng.uniform(seed, "flip", np.arange(len(images)), k) < 0.5
    images[chosen] = images[chosen][..., ::-1]
    return images


def turned(images: np.ndarray, seed: int, k: int) -> np.ndarray:
    """Samples (n, C, H, H) of batch k, each turned by 0 to 3 quarters, all as likely, in their place."""
    quarters = np.floor(4 * rng.uniform(seed, "turn", np.arange(len(images)), k))
    for quarter in (1, 2, 3):
        chosen = quarters == quarter
        images[chosen] = np.rot90(images[chosen], quarter, (2, 3))
    return images
