"""Samples kept where the network is, so that an update needs nothing of the program but their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..data.conditions.base import Condition
from ..data.conditions.picture import PictureCondition
from ..data.conditions.place import PlaceCondition
from ..data.crops import Crops
from ..data.dataset import BLOCK, Dataset
from ..model.affine import Codec, known_of
from ..model.memory import free_memory
from .config import TrainConfig
from .inputs import Number

SHARE = 0.25
"""Of the device's free memory, what samples may take."""


class Resident:
    """All samples of a data set with what is told of them, on a device: bytes as they are, others encoded.

    What comes out of it is equal to the bit to what NumPy makes of the same samples.

    Args:
        data, codec, conditions: the samples, and how they and what is told of them are encoded.
        device: where to keep them.
    """

    def __init__(
        self, data: Dataset, codec: Codec, conditions: Mapping[str, Condition], device: torch.device
    ) -> None:
        n, self.raw = len(data.images), is_raw(codec)
        shape, dtype = (data.space.shape, torch.uint8) if self.raw else (codec.shape, torch.float32)
        self.x = torch.empty(n, *shape, dtype=dtype, device=device)
        self.known = torch.empty(n, *codec.shape, device=device) if codec.space.gaps else None
        self.cond = {name: torch.empty(n, *c.shape, device=device) for name, c in conditions.items()}
        for start in range(0, n, BLOCK):
            here = slice(start, min(start + BLOCK, n))
            batch = data.take(np.arange(here.start, here.stop))
            images = batch.images if self.raw else codec.encode(batch.images)
            self.x[here] = torch.from_numpy(np.ascontiguousarray(images)).to(device)
            if self.known is not None:
                self.known[here] = torch.from_numpy(known_of(codec, batch.images)).to(device)
            for name, told in self.cond.items():
                told[here] = torch.from_numpy(conditions[name].encode(batch.values[name])).to(device)
        if self.raw:
            ends = [codec.space.column(each).astype(np.float32) for each in (codec.offset, codec.scale)]
            self.offset, self.scale = (torch.from_numpy(each).to(device) for each in ends)

    def batch(
        self, indices: Tensor, config: TrainConfig, k: Number, places: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """(x_0, what is told, what is known) of the samples at `indices` in batch k, augmented."""
        x = self.x[indices]
        if config.flip or config.turns:
            x = moved(x, config, k, places)
        x_0 = (x.float() - self.offset) / self.scale if self.raw else x
        known = None if self.known is None else self.known[indices]
        return x_0, {name: told[indices] for name, told in self.cond.items()}, known


def moved(x: Tensor, config: TrainConfig, k: Number, places: Tensor) -> Tensor:
    """`data.augment` for tensors: mirrored with probability 1/2, turned by 0 to 3 quarters."""

    def drawn(purpose: str) -> Tensor:
        u = rng.uniform_tensor(config.seed, purpose, places, k, device=x.device)
        return u.reshape(-1, *[1] * (x.ndim - 1))

    if config.flip:
        x = torch.where(drawn("flip") < 0.5, x.flip(-1), x)
    if config.turns:
        quarters = torch.floor(4 * drawn("turn"))
        for quarter in (1, 2, 3):
            x = torch.where(quarters == quarter, torch.rot90(x, quarter, (2, 3)), x)
    return x


def is_raw(codec: Codec) -> bool:
    """Whether samples are bytes that an offset and a scale encode."""
    return codec.name == "affine" and codec.space.dtype == "uint8" and codec.space.absent is None


def is_suited(
    data: Dataset,
    codec: Codec,
    conditions: Mapping[str, Condition],
    config: TrainConfig,
    device: torch.device,
) -> bool:
    """Whether samples can be kept on a device: all are at hand and fit, none is a part of a larger one, and
    what moves with them (grids, places, gaps) needn't."""
    if rng.by_numpy(device) or isinstance(data.images, Crops) or not data.is_at_hand:
        return False
    along = any(isinstance(each, PictureCondition | PlaceCondition) for each in conditions.values())
    if (config.flip or config.turns) and (along or not is_raw(codec)):
        return False
    numbers = sum(math.prod(each.shape) for each in conditions.values())
    numbers += math.prod(codec.shape) * ((0 if is_raw(codec) else 1) + codec.space.gaps)
    each_bytes = 4 * numbers + math.prod(codec.shape) * is_raw(codec)
    free = free_memory(device)
    return free is None or len(data.images) * each_bytes <= SHARE * free


def resident(
    data: Dataset, codec: Codec, conditions: Mapping[str, Condition], config: TrainConfig, device: Any
) -> Resident | None:
    """The samples on a device, or None where `is_suited` says that they can't be kept there."""
    suited = is_suited(data, codec, conditions, config, device)
    return Resident(data, codec, conditions, device) if suited else None
