"""Parts of the U-Net, for samples with one, two or three sides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import Dropout

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""By the number of sides: (B, C, L), (B, C, H, W) or (B, C, D, H, W)."""


class ResBlock(nn.Module):
    """norm, SiLU, conv; embedding; norm, SiLU, dropout, conv; plus the input."""

    def __init__(
        self, dims: int, c_in: int, c_out: int, embed: int, dropout: float, groups: int, scale_shift: bool
    ) -> None:
        super().__init__()
        conv = CONVOLUTIONS[dims]
        self.scale_shift = scale_shift
        self.norm1 = nn.GroupNorm(groups, c_in, eps=1e-6)
        self.conv1 = conv(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(embed, 2 * c_out if scale_shift else c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=1e-6)
        self.dropout = Dropout(dropout)
        self.conv2 = conv(c_out, c_out, 3, padding=1)
        self.shortcut = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.embed(emb)[(..., *[None] * (x.ndim - 2))]
        if self.scale_shift:
            scale, shift = e.chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + e)
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over all places of a sample, plus the input: (B, C, *sides) → the same shape."""

    def __init__(self, channels: int, groups: int, head_channels: int | None) -> None:
        super().__init__()
        head_channels = head_channels or channels
        if channels % head_channels:
            raise ValueError(f"network: head_channels = {head_channels} must divide {channels} channels")
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, places, C)
        q, k, v = (
            layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(h).transpose(1, 2).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    """Halve the sides by a strided convolution, padded at the far edges as in the paper's code."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1) * (x.ndim - 2)))


class Upsample(nn.Module):
    """Double the sides: repeat each place, then a convolution."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def fold(x: Tensor, patch: int) -> Tensor:
    """(B, C, *sides) → (B, C patch^dims, *(sides / patch)): `F.pixel_unshuffle` for any number of sides."""
    if patch == 1:
        return x
    dims, split = x.ndim - 2, x
    for side in reversed(range(2, x.ndim)):
        split = split.unflatten(side, (-1, patch))
    within = range(3, 3 + 2 * dims, 2)
    across = range(2, 2 + 2 * dims, 2)
    return split.permute(0, 1, *within, *across).flatten(1, 1 + dims)


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`."""
    if patch == 1:
        return x
    dims = x.ndim - 2
    split = x.unflatten(1, (-1, *[patch] * dims))
    pairs = [axis for side in range(dims) for axis in (2 + dims + side, 2 + side)]
    split = split.permute(0, 1, *pairs)
    for side in range(2, x.ndim):
        split = split.flatten(side, side + 1)
    return split


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """The sides made multiples of a number by repeating their far edges."""
    for side in range(2, x.ndim):
        missing = -x.shape[side] % multiple
        if missing:  # joined, for the gradient of F.pad's "replicate" adds up in no fixed order on a GPU
            edge = x.narrow(side, -1, 1)
            x = torch.cat([x, edge.expand(*x.shape[:side], missing, *x.shape[side + 1 :])], side)
    return x
