"""Batch k among the batches that follow it, which are the references of its stable target."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..data.conditions.base import Condition
from ..data.conditions.named import Named
from ..model.affine import Codec
from .inputs import Number
from .objectives import References


class Ring:
    """Batches k … k + later, where the network is; each is put in once, and takes the place of one used up.

    Args:
        later: how many batches follow one.
        size: of a batch.
        codec, conditions: of the samples. ValueError where they have gaps, or are told what no two share.
        device: where it is.
    """

    def __init__(
        self, later: int, size: int, codec: Codec, conditions: Mapping[str, Condition], device: torch.device
    ) -> None:
        _check(codec, conditions)
        self.later, n = later, (later + 1) * size
        self.seats = torch.arange(size, device=device)
        cond = {name: torch.zeros(n, *each.shape, device=device) for name, each in conditions.items()}
        self.all = References(
            torch.zeros(n, *codec.shape, device=device), torch.zeros(n, device=device), cond
        )

    def put(self, k: Number, x_0: Tensor, cond: Mapping[str, Tensor]) -> None:
        """Batch k, whole, in the place of batch k - later - 1."""
        rows = self._rows(k)
        self.all.x_0[rows] = x_0
        self.all.squares[rows] = x_0.flatten(1).square().sum(1)
        for name, told in cond.items():
            self.all.cond[name][rows] = told

    def batch(self, k: Number, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """(x_0, what is told) of a part of batch k."""
        rows = self._rows(k)[part]
        return self.all.x_0[rows], {name: told[rows] for name, told in self.all.cond.items()}

    def _rows(self, k: Number) -> Tensor:
        return k % (self.later + 1) * len(self.seats) + self.seats


def _check(codec: Codec, conditions: Mapping[str, Condition]) -> None:
    what = "a mean over samples that are told the same and have all their numbers"
    for name, condition in conditions.items():
        if not isinstance(condition, Named):
            raise ValueError(
                f"references make each target {what}, and hardly any two are told the same {name}: train "
                f"with references 0, or without conditions"
            )
    if codec.space.gaps:
        raise ValueError(f"references make each target {what}, and these samples have gaps: take 0 of them")
