"""Samples that are parts of larger ones: crops drawn anywhere to train on, and fixed ones to look at."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np

from .. import rng
from .augment import Draw
from .conditions.base import Condition
from .conditions.picture import PictureCondition
from .conditions.place import PlaceCondition
from .kinds import KINDS, shown_shape
from .sources.source_types import block_size
from .space import Space
from .stored import ByNumber, Stored, StoredSamples

LEAST = 4
"""The shortest side of a crop of samples that are longer."""
PLACE = PlaceCondition.kind
"""The name of the condition that tells where a crop lies, unless the data have another one of that name."""
LOOKED_AT, MANY = 2**27, 20_000
"""Bytes of samples and fixed crops of them, up to which all of these are looked at."""


class Crops(ByNumber):
    """Samples (N M, C, *sides) that are parts of N larger ones: number i M + j is tile j of sample i.

    The M tiles cover a sample, spread evenly, with as little overlap as there can be: they are what is
    evaluated, held out and counted as a pass over the data. Training sees parts `drawn` anywhere.

    Args:
        whole: (N, C, *larger), an array or `StoredSamples`.
        sides: of a crop, none longer than the sample's.
    """

    def __init__(self, whole: Any, sides: tuple[int, ...]) -> None:
        self.whole, self.sides, self.room = whole, sides, np.subtract(whole.shape[2:], sides)
        starts = [
            np.linspace(0, room, math.ceil(room / side) + 1).round().astype(int)
            for room, side in zip(self.room.tolist(), sides, strict=True)
        ]
        self.corners = np.array(list(itertools.product(*starts)), np.int64)
        self.tiles = len(self.corners)
        super().__init__((len(whole) * self.tiles, whole.shape[1], *sides), whole.dtype)
        self.nbytes = whole.nbytes

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The tiles of these numbers (n,)."""
        return self._cut(numbers, self.corners[numbers % self.tiles])

    def drawn(self, draw: Draw, numbers: np.ndarray) -> np.ndarray:
        """Crops of the samples that these tiles are of, each anywhere, uniformly."""
        return self._cut(numbers, self.drawn_corners(draw))

    def drawn_corners(self, draw: Draw) -> np.ndarray:
        """The first corners of those crops, (n, D)."""
        u = rng.uniform(draw.seed, "crop", draw.places, draw.k, shape=(len(self.sides),))
        return np.floor(u * (self.room + 1)).astype(np.int64)

    def num_constant(self) -> int:
        """How many tiles hold one single value, such as air; 0 where there are too many to look at."""
        if self.nbytes > LOOKED_AT or len(self) > MANY:
            return 0
        size, found = block_size(self.shape[1:], self.dtype), 0
        for start in range(0, len(self), size):
            tiles = self.read(np.arange(start, min(start + size, len(self))))
            tiles = tiles.reshape(*tiles.shape[:2], -1)
            found += int((tiles == tiles[:, :, :1]).all((1, 2)).sum())
        return found

    def _cut(self, numbers: np.ndarray, corners: np.ndarray) -> np.ndarray:
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for i, (sample, corner) in enumerate(zip(numbers // self.tiles, corners.tolist(), strict=True)):
            starts = zip((0, *corner), self.shape[1:], strict=True)
            part = tuple(slice(start, start + side) for start, side in starts)
            if isinstance(self.whole, StoredSamples):
                found[i] = self.whole.read_part(int(sample), part)
            else:
                found[i] = self.whole[sample][part]
        return found


def cropped(stored: Stored, wanted: tuple[int, ...]) -> Stored:
    """Stored samples as crops of the sides that are asked for: one for all sides, or one each.

    All tiles of a sample have its class and its hash, so that they are held out together.
    """
    space = stored.space
    sides = crop_sides(wanted, space.shape, space.kind, space.resize is not None)
    crops = Crops(stored.images, sides)
    shown, larger = (" × ".join(map(str, each)) for each in (sides, space.shape[1:]))
    count = f"{crops.tiles} fixed ones" if crops.tiles > 1 else "a fixed one"
    kind, n = KINDS[space.kind], len(stored.images)
    among = f"the {n:,} {kind.noun}" if n > 1 else f"one {kind.one}"
    note = (
        f"training sees crops of {shown} from anywhere in {among} of {larger}; "
        f"scores and held-out data are {count} of each, which cover it, {len(crops):,} in all"
    )
    if constant := crops.num_constant():
        note += f", {constant:,} of which hold one single value"
    told = {name: _cropped_told(*told, crops) for name, told in stored.told.items()}
    if PLACE not in told and crops.room.any():
        place = PlaceCondition.of(sides, tuple(crops.room.tolist()))
        told[PLACE] = place, np.tile(crops.corners.astype(float), (n, 1))
        note += "; each is told where it lies, so that whole ones can be sampled"
    missing = ["of crops, samples are full also where all of the data lack a number (NaN)"] * bool(
        space.missing
    )
    facts = json.dumps([stored.fingerprint, sides])
    return stored._replace(
        images=crops,
        space=replace(_space_of(space, sides), gaps=space.gaps or bool(space.missing)),
        labels=None if stored.labels is None else np.repeat(stored.labels, crops.tiles),
        told=told,
        hashes=np.repeat(stored.hashes, crops.tiles),
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
        notes=[*stored.notes, note, *missing],
    )


def _space_of(space: Space, sides: tuple[int, ...]) -> Space:
    """That of crops of its samples."""
    kept = (space.shape[1], space.shape[2]) if space.resize else None
    return replace(with_sides(replace(space, missing=""), sides), kept=kept)


def _cropped_told(condition: Condition, values: Any, crops: Crops) -> tuple[Condition, Any]:
    """What is told of samples as it is of their crops: of a grid the same part."""
    if not isinstance(condition, PictureCondition):
        return condition, np.repeat(values, crops.tiles, 0)
    if condition.times:
        raise ValueError(
            "crop cuts samples, and grids of lower resolution that are told of them aren't cut: repeat their "
            "places first (numpy.repeat), or leave crop out"
        )
    space = _space_of(Space(**condition.space), crops.sides)
    return replace(condition, space=space.to_dict()), Crops(values, crops.sides)


def with_sides(space: Space, sides: tuple[int, ...]) -> Space:
    """The space of samples of other sides, whose places along them nobody knows."""
    if sides == space.shape[1:]:
        return space
    grid = {name: value for name, value in space.grid.items() if name != "coordinates"}
    return replace(space, shape=(space.channels, *sides), grid=grid)


def crop_sides(wanted: tuple[int, ...], shape: tuple[int, ...], kind: str, resized: bool) -> tuple[int, ...]:
    """The sides of a crop; ValueError where there is none of samples of this shape and kind.

    `resized`: whether their size can be asked for.
    """
    larger = shape[1:]
    if len(larger) < 2:
        raise ValueError(
            f"crop cuts samples of two or three sides, and these are {shown_shape(shape, kind)}: leave it out"
            + "; series are cut by --window" * (kind == "series")
            + "; one picture or field alone is given as array[None]" * (kind != "series")
        )
    sides = wanted * len(larger) if len(wanted) == 1 else wanted
    if len(sides) != len(larger) or any(a > b for a, b in zip(sides, larger, strict=False)):
        raise ValueError(
            f"crop must be a side such as {min(larger)}, or a row of them as "
            f"{'x'.join(map(str, larger))}, none longer than the samples' "
            + shown_shape(shape, kind)
            + " (pictures: --size)" * resized
            + f"; got {'x'.join(map(str, wanted))}"
        )
    if any(side < min(LEAST, own) for side, own in zip(sides, larger, strict=True)):
        raise ValueError(
            f"the sides of a crop must be at least {LEAST}, or the samples' own where these are shorter "
            f"({shown_shape(shape, kind)}), got {'x'.join(map(str, wanted))}"
        )
    return sides
