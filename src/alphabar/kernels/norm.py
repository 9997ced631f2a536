"""Group norm, scale, shift and SiLU in one pass over a channels-last tensor on a GPU, by Triton.

PyTorch's own group norm wants channels first there: of an update of a U-Net in channels last, copies from
layout to layout and the elementwise steps around norms are the larger part (docs/log.md).
"""
# pyright: reportMissingImports=false, reportIndexIssue=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_ONCE, ALONG = 4096, 32
"""Numbers that a program holds at once, which has some groups of a sample; channels of these, about."""


@triton.jit
def _lanes(c, GROUPS: tl.constexpr, WIDTH: tl.constexpr):
    """(the group, the channel, whether it is one, whether it is its group's first) of each lane."""
    lane = tl.arange(0, GROUPS * WIDTH)
    group, within = tl.program_id(1) * GROUPS + lane // WIDTH, lane % WIDTH
    return group, group * c + within, within < c, within == 0


@triton.jit
def _places(start, P, C, channel, real, BLOCK: tl.constexpr):
    """(where places start … of these channels are, whether they are any): (BLOCK, lanes)."""
    p = start + tl.arange(0, BLOCK)[:, None]
    return (tl.program_id(0).to(tl.int64) * P + p) * C + channel[None, :], (p < P) & real[None, :]


@triton.jit
def _mean(v, count, GROUPS: tl.constexpr, WIDTH: tl.constexpr):
    """The mean of a group's numbers by their sums v (lanes,), at each of its lanes."""
    mean = tl.sum(tl.reshape(v, (GROUPS, WIDTH)), 1) / count
    return tl.reshape(tl.broadcast_to(mean[:, None], (GROUPS, WIDTH)), (GROUPS * WIDTH,))


@triton.jit
def _forward(
    x, gain, bias, y, means, scales, P, C, c, groups, per_sample, eps,
    SILU: tl.constexpr, BLOCK: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0)
    group, channel, real, first = _lanes(c, GROUPS, WIDTH)
    total = tl.zeros((BLOCK, GROUPS * WIDTH), tl.float32)
    for start in range(0, P, BLOCK):
        at, there = _places(start, P, C, channel, real, BLOCK)
        total += tl.load(x + at, there, 0.0).to(tl.float32)
    mean = _mean(tl.sum(total, 0), P * c, GROUPS, WIDTH)
    square = tl.zeros((BLOCK, GROUPS * WIDTH), tl.float32)
    for start in range(0, P, BLOCK):
        at, there = _places(start, P, C, channel, real, BLOCK)
        off = tl.where(there, tl.load(x + at, there, 0.0).to(tl.float32) - mean[None, :], 0.0)
        square += off * off
    scale = 1 / tl.sqrt(_mean(tl.sum(square, 0), P * c, GROUPS, WIDTH) + eps)
    tl.store(means + sample * groups + group, mean, first)
    tl.store(scales + sample * groups + group, scale, first)
    g = scale * tl.load(gain + per_sample * sample * C + channel, real, 0.0)
    b = tl.load(bias + per_sample * sample * C + channel, real, 0.0)
    for start in range(0, P, BLOCK):
        at, there = _places(start, P, C, channel, real, BLOCK)
        z = (tl.load(x + at, there, 0.0).to(tl.float32) - mean[None, :]) * g[None, :] + b[None, :]
        if SILU:
            z = z / (1 + tl.exp(-z))
        tl.store(y + at, z.to(y.dtype.element_ty), there)


@triton.jit
def _normalized(x, dy, at, there, mean, scale, g, b, SILU: tl.constexpr):
    """(the normalized numbers, the gradient of what SiLU gets)."""
    hat = (tl.load(x + at, there, 0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
    dz = tl.load(dy + at, there, 0.0).to(tl.float32)
    if SILU:
        z = hat * g[None, :] + b[None, :]
        s = 1 / (1 + tl.exp(-z))
        dz = dz * s * (1 + z * (1 - s))
    return tl.where(there, hat, 0.0), dz


@triton.jit
def _backward(
    x, gain, bias, dy, means, scales, dx, dgain, dbias, P, C, c, groups, per_sample,
    SILU: tl.constexpr, BLOCK: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0)
    group, channel, real, _ = _lanes(c, GROUPS, WIDTH)
    mean = tl.load(means + sample * groups + group)
    scale = tl.load(scales + sample * groups + group)
    g = tl.load(gain + per_sample * sample * C + channel, real, 0.0)
    b = tl.load(bias + per_sample * sample * C + channel, real, 0.0)
    dg = tl.zeros((BLOCK, GROUPS * WIDTH), tl.float32)
    db = tl.zeros((BLOCK, GROUPS * WIDTH), tl.float32)
    for start in range(0, P, BLOCK):
        at, there = _places(start, P, C, channel, real, BLOCK)
        hat, dz = _normalized(x, dy, at, there, mean, scale, g, b, SILU)
        dg += dz * hat
        db += dz
    of_gain, of_bias = tl.sum(dg, 0), tl.sum(db, 0)
    tl.store(dgain + sample * C + channel, of_gain, real)
    tl.store(dbias + sample * C + channel, of_bias, real)
    along = _mean(of_gain * g, P * c, GROUPS, WIDTH)
    level = _mean(of_bias * g, P * c, GROUPS, WIDTH)
    for start in range(0, P, BLOCK):
        at, there = _places(start, P, C, channel, real, BLOCK)
        hat, dz = _normalized(x, dy, at, there, mean, scale, g, b, SILU)
        found = scale[None, :] * (dz * g[None, :] - level[None, :] - hat * along[None, :])
        tl.store(dx + at, found.to(dx.dtype.element_ty), there)


class GroupNormSiLU(torch.autograd.Function):
    """z = gain (x - mean) / sqrt(variance + eps) + bias, of each group's own mean; z, or z sigmoid(z).

    With n numbers in a group, hat x what is normalized, and sums over the group: for dz, the gradient of z,

        d gain = sum_places dz hat x,   d bias = sum_places dz
        dx = (gain dz - sum(gain dz) / n - hat x sum(gain dz hat x) / n) / sqrt(variance + eps)

    x is (B, C, *sides) in channels last; gain and bias are (C,), or (B, C) of each sample.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
    ) -> Tensor:
        """The result, in x's dtype and layout; all is worked out in float32."""
        gain, bias = (each.float().contiguous() for each in (gain, bias))
        means, scales = (x.new_empty(len(x), groups, dtype=torch.float32) for _ in range(2))
        y, (sizes, cut) = torch.empty_like(x), _sizes(x, gain, groups)
        _forward[len(x), groups // cut[1]](x, gain, bias, y, means, scales, *sizes, eps, silu, *cut)
        ctx.save_for_backward(x, gain, bias, means, scales)
        ctx.silu = silu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        """The gradients of x, gain and bias."""
        x, gain, bias, means, scales = ctx.saved_tensors
        groups = means.shape[1]
        dy = torch.empty_like(x).copy_(dy) if dy.stride() != x.stride() else dy
        dx = torch.empty_like(x)
        dgain, dbias = (x.new_empty(x.shape[:2], dtype=torch.float32) for _ in range(2))
        (sizes, cut), silu = _sizes(x, gain, groups), ctx.silu
        grid = len(x), groups // cut[1]
        _backward[grid](x, gain, bias, dy, means, scales, dx, dgain, dbias, *sizes, silu, *cut)
        if gain.ndim == 1:
            dgain, dbias = dgain.sum(0), dbias.sum(0)
        return dx, dgain, dbias, None, None, None


def _sizes(x: Tensor, gain: Tensor, groups: int) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """((places, channels, those of a group, groups, whether each sample has its gain), how they are cut)."""
    places, channels = x[0, 0].numel(), x.shape[1]
    width, together = triton.next_power_of_2(channels // groups), 1
    while 2 * together * width <= ALONG and groups % (2 * together) == 0:
        together *= 2
    height = min(triton.next_power_of_2(places), max(1, AT_ONCE // (together * width)))
    sizes = (places, channels, channels // groups, groups, int(gain.ndim == 2))
    return sizes, (height, together, width)
