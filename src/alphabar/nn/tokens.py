"""Tokens on a grid with any number of sides: rotary positions, and attention to all of them or in windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .layers import divided, fold, unfold

BASES = {1: 10_000.0}
"""Rotary frequencies fall from 1 to about 1 / base, by the number of sides: one side alone may be long."""
BASE = 100.0


class RMSNorm(nn.Module):
    """x / sqrt(mean x^2 + 1e-6) over the last axis, times a weight of each of `channels`, if any."""

    def __init__(self, channels: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if channels else None

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        x = x * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)
        return x if self.weight is None else x * self.weight


def rotations(sides: Sequence[int], channels: int, device: torch.device | None = None) -> Tensor:
    """Angles of rotary positions (arXiv 2104.09864) for N = prod(sides) places: (N, channels / 2), float32.

    Each axis has its share of the pairs of channels; its pair i turns by base^(-i / share) a place.
    """
    dims, found = len(sides), []
    for axis, side in enumerate(sides):
        share = (channels // 2 + dims - 1 - axis) // dims
        exponent = torch.arange(share, device=device) / share
        angle = torch.arange(side, device=device)[:, None] * BASES.get(dims, BASE) ** -exponent
        others = [1] * dims
        others[axis] = side
        found.append(angle.view(*others, share).expand(*sides, share))
    return torch.cat(found, -1).flatten(0, -2)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, N, D) with channels i and D / 2 + i turned by the angle of these (N, D / 2).

    The product of two rotated vectors depends on the difference of their angles alone.
    """
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Windows:
    """The places of a grid in windows of at most `size` a side, moved by half of one if `shifted`.

    A side that fits into one window is not cut. Windows at the edges may reach beyond the grid: `mask`
    (W, 1, P) is True at places of the grid; None if all are.
    """

    def __init__(
        self, sides: Sequence[int], size: int, shifted: bool, device: torch.device | None = None
    ) -> None:
        self.sides = tuple(sides)
        self.by = tuple(min(size, side) for side in sides)
        before = [by // 2 if shifted and by < n else 0 for by, n in zip(self.by, sides, strict=True)]
        moved = [first + n for first, n in zip(before, sides, strict=True)]
        self.count = divided(moved, self.by)
        after = [w * by - n for w, by, n in zip(self.count, self.by, moved, strict=True)]
        self.padding = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
        self.inside = tuple(slice(first, first + n) for first, n in zip(before, sides, strict=True))
        self.mask = None
        if any(self.padding):
            ones = torch.ones(1, 1, math.prod(sides), 1, dtype=torch.bool, device=device)
            self.mask = self.cut(ones)[0].transpose(1, 2)

    def cut(self, x: Tensor) -> Tensor:
        """(B, heads, N, D) → (B heads, W, P, D), with zeros beyond the grid."""
        x = x.flatten(0, 1).unflatten(1, self.sides).movedim(-1, 1)
        x = fold(F.pad(x, self.padding), self.by).flatten(2)
        return x.unflatten(1, (-1, math.prod(self.by))).permute(0, 3, 2, 1)

    def join(self, x: Tensor, heads: int) -> Tensor:
        """The inverse of `cut`."""
        x = x.permute(0, 3, 2, 1).flatten(1, 2).unflatten(2, self.count)
        x = unfold(x, self.by)[(..., *self.inside)]
        return x.flatten(2).transpose(1, 2).unflatten(0, (-1, heads))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of (B, heads, M + N, D) within each window of the last N; all read the first M as well.

        The first M read one another.
        """
        m, mask = q.shape[2] - math.prod(self.sides), self.mask
        keys, values = self.cut(k[:, :, m:]), self.cut(v[:, :, m:])
        if m:
            windows = keys.shape[1]
            keys, values = (
                torch.cat([x[:, :, :m].flatten(0, 1)[:, None].expand(-1, windows, -1, -1), cut], 2)
                for x, cut in ((k, keys), (v, values))
            )
            mask = None if mask is None else F.pad(mask, (m, 0), value=True)
        found = self.join(attend(self.cut(q[:, :, m:]), keys, values, mask), q.shape[1])
        return torch.cat([attend(*(x[:, :, :m] for x in (q, k, v))), found], 2) if m else found


class TokenAttention(nn.Module):
    """Self-attention of tokens (B, N, C): heads whose queries and keys are normalized, then rotated."""

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.norm_query = RMSNorm(head_channels)
        self.norm_key = RMSNorm(head_channels)
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], windows: Windows | None) -> Tensor:
        """turn: cosines and sines (N, head_channels / 2); windows: None to attend to all."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        q, k = rotated(self.norm_query(q), *turn), rotated(self.norm_key(k), *turn)
        h = attend(q, k, v) if windows is None else windows.attend(q, k, v)
        return self.out(h.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) up(x)) (arXiv 2002.05202)."""

    def __init__(self, channels: int, inner: int, dropout: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Linear(channels, inner, bias=False)
        self.up = nn.Linear(channels, inner, bias=False)
        self.dropout = dropout
        self.down = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(F.silu(self.gate(x)) * self.up(x)))
