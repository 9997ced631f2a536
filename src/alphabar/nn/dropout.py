"""Dropout whose masks can be a function of (seed, step, place in the batch, layer, element) alone."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import random_bytes

Mask = Callable[[Tensor, float, "Key"], Tensor]


@dataclass(frozen=True)
class Key:
    """What the masks of one layer are a function of."""

    seed: int
    layer: int
    k: int | Tensor
    places: np.ndarray | Tensor
    mask: Mask


class Dropout(nn.Module):
    """Zero each element with probability p while training, and scale what is kept.

    Within `keyed_dropout` an element takes one random byte, so that p is rounded to a multiple of 1/256
    (to 1/256 at least, and 255/256 at most), and what is kept is scaled by exactly the inverse of its share.
    Elsewhere the masks are torch's.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not isinstance(p, int | float) or not 0 <= p < 1:
            raise ValueError(f"network: dropout must lie within 0 and 1 (1 excluded), got {p}")
        self.p = p
        self.key: Key | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, …), of any shape and memory format."""
        if not self.training or not self.p:
            return x
        return F.dropout(x, self.p) if self.key is None else x * self.key.mask(x, self.p, self.key)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"p={self.p}"


def keyed_mask(x: Tensor, p: float, key: Key) -> Tensor:
    """0 or 1 / (share that is kept) for each element of x, in its dtype and memory format."""
    if len(key.places) != len(x):
        raise ValueError(f"keyed_dropout has {len(key.places)} places, and the batch {len(x)} samples")
    threshold = min(max(round(256 * (1 - p)), 1), 255)
    samples = key.layer * 2**32 + key.places
    octets = random_bytes(key.seed, "dropout", samples, key.k, x[0].numel(), x.device)
    kept = (octets < threshold).view(x.shape)
    return torch.empty_like(x, requires_grad=False).copy_(kept).mul_(256 / threshold)


@functools.cache
def _uncompiled_mask(compiler: bool) -> Mask:
    """`keyed_mask`, which torch.compile must leave alone; asked for only where the compiler is loaded."""
    return cast(Mask, torch.compiler.disable(keyed_mask)) if compiler else keyed_mask


@contextmanager
def keyed_dropout(
    net: nn.Module, seed: int, k: int | Tensor, places: Sequence[int] | np.ndarray | Tensor
) -> Iterator[None]:
    """Within it, masks of the network's `Dropout` layers depend on nothing but what is named here.

    So they are equal in any cut of a batch into micro-batches, devices and processes. Layers are counted
    in the order of `net.modules()`. Dropout layers of torch's own are left alone.

    Args:
        net: the network.
        seed: of the run.
        k: the update; a tensor (1,) where x is, if that changes while nothing else does.
        places: where in the batch of update k the samples of this call stand, (B,); a tensor where x is.
    """
    layers = [module for module in net.modules() if isinstance(module, Dropout)]
    places = places if isinstance(places, Tensor) else np.asarray(places, dtype=np.int64)
    mask = _uncompiled_mask("torch._dynamo" in sys.modules)
    try:
        for number, layer in enumerate(layers):
            layer.key = Key(seed, number, k, places, mask)
        yield
    finally:
        for layer in layers:
            layer.key = None
