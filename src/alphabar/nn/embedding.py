"""What a network is told beside x: the time, and vectors by name, as one vector a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import brief, unknown


class TimeEmbedding(nn.Module):
    """c_noise (B,) → (B, embed): [sin, cos] of it at `channels / 2` frequencies from 1 to 1e-4, two layers.

    The angles are made in c_noise's own dtype, never in reduced precision.
    """

    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.count = channels // 2
        self.linear1 = nn.Linear(2 * self.count, embed)
        self.linear2 = nn.Linear(embed, embed)

    def forward(self, c_noise: Tensor) -> Tensor:
        exponent = torch.arange(self.count, dtype=c_noise.dtype, device=c_noise.device)
        angle = c_noise[:, None] * torch.exp(-math.log(10000) / (self.count - 1) * exponent)
        features = torch.cat([angle.sin(), angle.cos()], 1)
        return self.linear2(F.silu(self.linear1(features.to(self.linear1.weight.dtype))))


class Embedded(nn.Module):
    """A network that embeds c_noise (B,), and conditions of shape (K,) by matrices without bias; their sum.

    All zeros, or a missing name, tell nothing.
    """

    shape: tuple[int, ...]
    """Of one sample."""
    outer: tuple[str, ...] = ("time_embedding", "condition_embeddings", "embed")
    """What reads an input or writes the output; all else is hidden, and Muon's where it is a matrix."""

    def add_embeddings(self, channels: int, embed: int, vectors: Mapping[str, int]) -> None:
        """Build them, for `embedded`.

        Args:
            channels: of the sines and cosines of c_noise.
            embed: numbers of the result.
            vectors: name → K.
        """
        self.vectors = dict(vectors)
        self.time_embedding = TimeEmbedding(channels, embed)
        self.condition_embeddings = nn.ModuleDict(
            {f"of_{name}": nn.Linear(size, embed, bias=False) for name, size in self.vectors.items()}
        )

    def add_conditions(
        self, network: str, conditions: Mapping[str, Sequence[int]], channels: int, embed: int
    ) -> int:
        """Build `embedded` and `joined` for samples of `self.shape`; return the channels of what is joined.

        Args:
            network: its name, for messages.
            conditions: name → shape: (K,) is embedded, (C', *sides) is joined to x.
            channels, embed: as in `add_embeddings`.
        """
        vectors, self.grids, sides = {}, {}, self.shape[1:]
        for name, given in conditions.items():
            check_name(name)
            if len(given) == 1:
                vectors[name] = given[0]
            elif tuple(given[1:]) == sides:
                self.grids[name] = tuple(given)
            else:
                raise ValueError(
                    f"network: {network} takes conditions of shape (K,) or (C, {str(sides).strip('(,)')}), "
                    f"and {name} has {tuple(given)}"
                )
        self.add_embeddings(channels, embed, vectors)
        return self.shape[0] + sum(grid[0] for grid in self.grids.values())

    def joined(self, x: Tensor, cond: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """(x with the grids among the conditions as further channels, the conditions, checked).

        A grid that isn't told is zeros. ValueError for conditions of other names or shapes.
        """
        wanted = {name: (len(x), size) for name, size in self.vectors.items()}
        grids = {name: (len(x), grid[0], *x.shape[2:]) for name, grid in self.grids.items()}
        cond = check_cond(cond, wanted | grids)
        told = [cond[name].to(x.dtype) if name in cond else x.new_zeros(s) for name, s in grids.items()]
        return torch.cat([x, *told], 1) if told else x, cond

    def initialize(self) -> None:
        """Xavier-uniform weights and zero biases, as in the paper's code; embeddings as torch's begin."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.condition_embeddings.values():
            nn.init.normal_(cast(nn.Linear, module).weight)  # of a one-hot: as an nn.Embedding begins

    def embedded(self, c_noise: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """(B, embed), after a SiLU."""
        emb = self.time_embedding(c_noise)
        for name in self.vectors:
            if name in cond:
                emb = emb + self.condition_embeddings[f"of_{name}"](cond[name].to(emb.dtype))
        return F.silu(emb)


def check_cond(cond: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> Mapping[str, Tensor]:
    """The mapping; ValueError unless its tensors have the shapes that their names call for."""
    for name, given in cond.items():
        if name not in wanted:
            raise unknown("condition of this network", name, wanted)
        if given.shape != wanted[name]:
            raise ValueError(f"the condition {name} must have shape {wanted[name]}, got {tuple(given.shape)}")
    return cond


def check_name(name: str) -> None:
    """ValueError for a name that no condition can have in a network."""
    if not name or "." in name:
        raise ValueError(
            f"network: the name of a condition must not be empty or have dots, got {brief(name)}"
        )
