"""Models for samples of other sides: whole ones, from networks that saw crops and where these lie."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.conditions.base import Condition
from ..data.conditions.picture import PictureCondition
from ..data.conditions.place import PlaceCondition, place_in
from ..data.crops import with_sides
from ..data.space import Space
from .batched import batch_size
from .denoiser import Denoiser

OVERLAP = 0.25
"""The share of a side by which two parts beside each other overlap, or a little more."""


class InParts:
    """`call_network` for whole samples: the network runs on parts that overlap, each told where it lies.

    What it says of a place is the mean of all parts that have it, which count less towards their edges
    (arXiv 2302.08113; that the parts are told their places, arXiv 2406.02462). A mean of outputs for the same
    x_t is the same mean of x0_hat, whatever is predicted.

    Args:
        parts: the model of crops.
        name, place: of its condition that tells the place.
    """

    def __init__(self, parts: Denoiser, name: str, place: PlaceCondition) -> None:
        self.parts, self.call, self.name, self.place = parts, parts.call, name, place
        self.size = batch_size(parts.shape, parts.device)
        starts, ramps = [], []
        for side, room in zip(place.sides, place.room, strict=True):
            count = math.ceil(room / max(1, math.floor((1 - OVERLAP) * side))) + 1
            starts.append(np.linspace(0, room, count).round().astype(int))
            i = np.arange(side)
            ramps.append(np.minimum(np.minimum(i + 1, side - i) / max(1, round(OVERLAP * side)), 1.0))
        self.corners = np.array(list(itertools.product(*starts)), np.int64)
        self.weight = functools.reduce(np.multiply.outer, ramps).astype(np.float32)
        self.told = torch.from_numpy(place.encode(self.corners.astype(float)))
        total = np.zeros(place.whole, np.float32)
        for part in map(self._part, self.corners):
            total[part] += self.weight
        self.share = torch.from_numpy(1 / total)

    def __call__(self, net: nn.Module, weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
        """As `call_network` for x (B, C, *whole), c_noise (B,) and conditions, grids among them whole too."""
        x, c_noise, cond = arguments
        pairs = np.array(list(itertools.product(range(len(x)), range(len(self.corners)))))
        weight = torch.from_numpy(self.weight).to(x.device)
        found = torch.zeros(x.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        for start in range(0, len(pairs), self.size):
            some = pairs[start : start + self.size]
            seats = np.resize(some, (self.size, 2))  # kernels may round differently at another size
            which = torch.from_numpy(seats[:, 0]).to(x.device)
            parts = [(row, ..., *self._part(self.corners[k])) for row, k in seats]
            told = {name: self._of_parts(value, which, parts) for name, value in cond.items()}
            told[self.name] = self.told[seats[:, 1]].to(x.device, x.dtype)
            out = self.call(net, weights, (self._of_parts(x, which, parts), c_noise[which], told))
            for i in range(len(some)):
                found[parts[i]] += weight * out[i]
        return found * self.share.to(x.device)

    def _of_parts(self, value: Tensor, which: Tensor, parts: list[Any]) -> Tensor:
        """Of grids (B, C', *whole) the parts, of vectors (B, K) the rows."""
        return torch.stack([value[part] for part in parts]) if value.ndim > 2 else value[which]

    def _part(self, corner: np.ndarray) -> tuple[slice, ...]:
        return tuple(slice(a, a + side) for a, side in zip(corner.tolist(), self.place.sides, strict=True))


def of_sides(denoiser: Denoiser, sides: Sequence[int]) -> Denoiser:
    """A model, with the same weights, for samples of other sides: one for all, or one each.

    Whole samples of a model that knows where crops lie are drawn `InParts`. ValueError for other sides unless
    the network takes any, and nothing else of the model is of the sides trained on.
    """
    axes = len(denoiser.shape) - 1
    sides = tuple(sides) * max(axes, 1) if len(sides) == 1 else tuple(sides)
    place = place_in(denoiser.conditions)
    other = copy.copy(denoiser)
    other.whole = None
    if sides == denoiser.shape[1:]:
        return other
    others = {n: c for n, c in denoiser.conditions.items() if place is None or n != place[0]}
    if place is not None and sides == place[1].whole:
        other.conditions = {name: _over(condition, sides) for name, condition in others.items()}
        other.call = InParts(denoiser, *place)
    else:
        _check_sides(denoiser, sides)
        if place is not None:
            place[1].check_told(place[0], [None])
            other.conditions = others
    space = with_sides(denoiser.space, sides)
    space = replace(space, kept=None) if sides == space.kept else space
    other.codec = replace(denoiser.codec, space=space)
    return other


def of_crops(denoiser: Denoiser) -> Denoiser:
    """The model for samples of the sides that its network was trained on, also where these are crops."""
    return of_sides(denoiser, denoiser.shape[1:])


def for_samples(denoiser: Denoiser, shape: Sequence[int]) -> Denoiser:
    """The model for samples of shape (C, *sides): whole ones where they are, else as it was trained."""
    whole = denoiser.whole
    return of_sides(denoiser, whole) if whole and tuple(shape[1:]) == whole else of_crops(denoiser)


def _over(condition: Condition, sides: tuple[int, ...]) -> Condition:
    """A condition of crops as it is of whole samples."""
    if not isinstance(condition, PictureCondition):
        return condition
    return replace(condition, space=with_sides(Space(**condition.space), sides).to_dict())


def _check_sides(denoiser: Denoiser, sides: tuple[int, ...]) -> None:
    """ValueError unless the network takes samples of these sides, and nothing else has other ones."""
    name, axes = type(denoiser.net).__name__, len(denoiser.shape) - 1
    if not getattr(denoiser.net, "any_sides", False):
        raise ValueError(
            f"size is for networks that take any sides, such as unet and vit, and this model has {name}: "
            "leave it out, or train with --network unet"
        )
    if len(sides) != axes:
        raise ValueError(
            f"size must be one side, or {axes} for samples of {denoiser.space.shown_shape()}, got "
            f"{'x'.join(map(str, sides))}"
        )
    fixed = [name for name, condition in denoiser.conditions.items() if len(condition.shape) > 1]
    fixed += ["missing numbers (NaN)"] * bool(denoiser.space.missing)
    if fixed:
        raise ValueError(
            f"size must be {' × '.join(map(str, denoiser.shape[1:]))}: this model knows {', '.join(fixed)}, "
            "which have the sides trained on"
        )
