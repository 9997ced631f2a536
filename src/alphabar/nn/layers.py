"""Parts of the U-Net, for samples with one, two or three sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .dropout import Dropout
from .norm import normalized

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
        h, e = self.conv1(normalized(x, self.norm1, silu=True)), self.embed(emb)
        if self.scale_shift:
            h = normalized(h, self.norm2, True, *e.chunk(2, 1))
        else:
            h = normalized(h + e[(..., *[None] * (x.ndim - 2))], self.norm2, silu=True)
        return self.shortcut(x) + self.conv2(self.dropout(h))


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
        h = normalized(x, self.norm).flatten(2).transpose(1, 2)  # (B, places, C)
        q, k, v = (
            layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        h = attend(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(h).transpose(1, 2).unflatten(2, x.shape[2:])


def strides(sides: Sequence[int], factor: int) -> tuple[int, ...]:
    """`factor` for each side that is at least 1 / factor as long as the longest one, 1 for the others.

    So unequal sides become about equal first, and equal ones are all divided.

    >>> strides((24, 40, 17), 2), strides((12, 20, 17), 2), strides((5, 300), 2)
    ((2, 2, 1), (2, 2, 2), (1, 2))
    """
    return tuple(factor if factor * side >= max(sides) else 1 for side in sides)


def divided(sides: Sequence[int], by: Sequence[int]) -> tuple[int, ...]:
    """The sides divided, rounded up."""
    return tuple(-(-side // stride) for side, stride in zip(sides, by, strict=True))


def held(shape: Sequence[int], patch: int) -> int:
    """The numbers of a sample (C, *sides) in one place of a network with this patch."""
    return shape[0] * math.prod(patches(shape[1:], patch))


def patches(sides: Sequence[int], patch: int) -> tuple[int, ...]:
    """What each side is folded by where the longest is by `patch`, a prime factor after the other.

    >>> patches((64, 64), 4), patches((100, 300), 8), patches((1, 4096), 32)
    ((4, 4), (4, 8), (1, 32))
    """
    found, prime = (1,) * len(sides), 2
    while patch > 1:
        while patch % prime:
            prime += 1
        by, patch = strides(divided(sides, found), prime), patch // prime
        found = tuple(a * b for a, b in zip(found, by, strict=True))
    return found


class Downsample(nn.Module):
    """Divide the sides by 2, or 1: a strided convolution, padded at the far edges as in the paper's code."""

    def __init__(self, by: Sequence[int], channels: int) -> None:
        super().__init__()
        self.padding = [n for stride in reversed(by) for n in ((0, 1) if stride == 2 else (1, 1))]
        self.conv = CONVOLUTIONS[len(by)](channels, channels, 3, stride=tuple(by))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class Upsample(nn.Module):
    """Multiply the sides by 2, or 1: repeat each place, then a convolution."""

    def __init__(self, by: Sequence[int], channels: int) -> None:
        super().__init__()
        self.by = tuple(float(stride) for stride in by)
        self.conv = CONVOLUTIONS[len(by)](channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=self.by, mode="nearest"))


class Repeat(nn.Module):
    """Multiply the sides by 2, or 1: a matrix for each place, then repeat it. A convolution can follow."""

    def __init__(self, by: Sequence[int], c_in: int, c_out: int) -> None:
        super().__init__()
        self.by = tuple(float(stride) for stride in by)
        self.conv = CONVOLUTIONS[len(by)](c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=self.by, mode="nearest")


def fold(x: Tensor, by: Sequence[int]) -> Tensor:
    """(B, C, *sides) → (B, C prod(by), *(sides / by)): `F.pixel_unshuffle` for any number of sides."""
    if max(by) == 1:
        return x
    dims, split = x.ndim - 2, x
    for side in reversed(range(2, x.ndim)):
        split = split.unflatten(side, (-1, by[side - 2]))
    within = range(3, 3 + 2 * dims, 2)
    across = range(2, 2 + 2 * dims, 2)
    return split.permute(0, 1, *within, *across).flatten(1, 1 + dims)


def unfold(x: Tensor, by: Sequence[int]) -> Tensor:
    """The inverse of `fold`."""
    if max(by) == 1:
        return x
    dims = x.ndim - 2
    split = x.unflatten(1, (-1, *by))
    pairs = [axis for side in range(dims) for axis in (2 + dims + side, 2 + side)]
    split = split.permute(0, 1, *pairs)
    for side in range(2, x.ndim):
        split = split.flatten(side, side + 1)
    return split


def pad_to_multiple(x: Tensor, multiples: Sequence[int]) -> Tensor:
    """Each side made a multiple of its number by repeating its far edge."""
    for side, multiple in enumerate(multiples, 2):
        missing = -x.shape[side] % multiple
        if missing:  # joined, for the gradient of F.pad's "replicate" adds up in no fixed order on a GPU
            edge = x.narrow(side, -1, 1)
            x = torch.cat([x, edge.expand(*x.shape[:side], missing, *x.shape[side + 1 :])], side)
    return x
