"""What a batch is told: a mapping of tensors, of which zeros say nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Cond = Mapping[str, Tensor]
"""Name → (B, …), float32. All zeros in a row, or a missing name, tell that row nothing."""


def each(act: Callable[[Tensor], Tensor], cond: Cond | None) -> dict[str, Tensor]:
    """The mapping with `act` of each tensor: a slice, a product, another device."""
    return {name: act(tensor) for name, tensor in (cond or {}).items()}


def take(cond: Cond | None, index: Any) -> dict[str, Tensor]:
    """The rows at `index`."""
    return each(lambda tensor: tensor[index], cond)


def cat(*conds: Cond) -> dict[str, Tensor]:
    """The rows of each, one after another, of equal names."""
    assert len({frozenset(cond) for cond in conds}) == 1
    return {name: torch.cat([cond[name] for cond in conds]) for name in conds[0]}
