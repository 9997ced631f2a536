"""The numbers of `alphabar.rng` by one kernel: Philox and Box-Muller as in `alphabar.philox`, to the bit."""
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..philox import ATANH, MULTIPLIERS, SINE, WEYL

AT_ONCE = 256
M0, M1, W0, W1 = map(tl.constexpr, (*MULTIPLIERS, *WEYL))
A0, A1, A2, A3, A4, A5, A6, A7, A8 = map(tl.constexpr, ATANH)
S0, S1, S2, S3, S4, S5, S6, S7 = map(tl.constexpr, SINE)
ROOT_HALF, TWO_LOG_TWO, SHARE = map(tl.constexpr, (0x3FE6A09E667F3BCD, 2 * math.log(2), 2.0**-32))


@triton.jit
def _philox(indices, steps, seeds, purpose, blocks, many_steps, many_seeds, at, there):
    """Four words of 32 bits of each block: `philox.philox`."""
    sample = at // blocks
    index = tl.load(indices + sample, there, 0)
    seed = tl.load(seeds + sample * many_seeds, there, 0)
    c0 = (at % blocks).to(tl.uint32)
    c1 = tl.load(steps + sample * many_steps, there, 0).to(tl.uint32)
    c2 = (index & 0xFFFFFFFF).to(tl.uint32)
    c3 = ((purpose << 24) + (index >> 32)).to(tl.uint32)
    k0, k1 = (seed & 0xFFFFFFFF).to(tl.uint32), (seed >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        high0, high1 = tl.umulhi(c0, M0), tl.umulhi(c2, M1)
        low0, low1 = (c0 * M0).to(tl.uint32), (c2 * M1).to(tl.uint32)
        c0, c2 = high1 ^ c1 ^ k0, high0 ^ c3 ^ k1
        c1, c3 = low1, low0
        k0, k1 = (k0 + W0).to(tl.uint32), (k1 + W1).to(tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def _pair(a, b):
    """Two normal numbers of two words: `philox.box_muller`."""
    u = (a.to(tl.float64) + 0.5) * SHARE
    bits = u.to(tl.int64, bitcast=True)
    k = (bits - ROOT_HALF) >> 52
    m = (bits - (k << 52)).to(tl.float64, bitcast=True)
    s = (m - 1) / (m + 1)
    x = s * s
    y = (((((((x * A8 + A7) * x + A6) * x + A5) * x + A4) * x + A3) * x + A2) * x + A1) * x + A0
    y = y * s + k.to(tl.float64) * TWO_LOG_TWO
    r = tl.sqrt(-y)
    f = (b.to(tl.float64) - 2147483647.5) * SHARE
    x = f * f
    s = ((((((x * S7 + S6) * x + S5) * x + S4) * x + S3) * x + S2) * x + S1) * x + S0
    s = s * f
    square = s * s
    s = s * (tl.sqrt(1 - square) * 2)
    cos = (1 - 2 * square) * s
    s = s * s
    return (1 - 2 * s) * r, (2 * cos) * r


@triton.jit
def _fill(out, indices, steps, seeds, purpose, n, blocks, many_steps, many_seeds, AT_ONCE: tl.constexpr):
    """Four numbers of each block: normal ones if they are to be float32, else the words."""
    at = tl.program_id(0).to(tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = at < n * blocks
    a, b, c, d = _philox(indices, steps, seeds, purpose, blocks, many_steps, many_seeds, at, there)
    if out.dtype.element_ty == tl.float32:
        z0, z1 = _pair(a, b)
        z2, z3 = _pair(c, d)
    else:
        z0, z1 = a.to(tl.int32, bitcast=True), b.to(tl.int32, bitcast=True)
        z2, z3 = c.to(tl.int32, bitcast=True), d.to(tl.int32, bitcast=True)
    tl.store(out + 4 * at, z0.to(out.dtype.element_ty), there)
    tl.store(out + 4 * at + 1, z1.to(out.dtype.element_ty), there)
    tl.store(out + 4 * at + 2, z2.to(out.dtype.element_ty), there)
    tl.store(out + 4 * at + 3, z3.to(out.dtype.element_ty), there)


def normal(seeds: Tensor, purpose: int, indices: Tensor, steps: Tensor, blocks: int) -> Tensor:
    """Normal numbers, float32 (n, blocks, 4).

    Args:
        seeds, steps: (n,) or (1,), int64.
        purpose: its number.
        indices: (n,), int64.
        blocks: of each index.
    """
    return _filled(torch.float32, seeds, purpose, indices, steps, blocks)


def octets(seeds: Tensor, purpose: int, indices: Tensor, steps: Tensor, blocks: int) -> Tensor:
    """Bytes, uint8 (n, 16 blocks); arguments as for `normal`."""
    return _filled(torch.int32, seeds, purpose, indices, steps, blocks).flatten(1).view(torch.uint8)


def _filled(
    dtype: torch.dtype,
    seeds: Tensor,
    purpose: int,
    indices: Tensor,
    steps: Tensor,
    blocks: int,
) -> Tensor:
    n = len(indices)
    out = torch.empty(n, blocks, 4, dtype=dtype, device=indices.device)
    many = int(len(steps) > 1), int(len(seeds) > 1)
    # each product is rounded, and each sum: none are joined
    ways = {"AT_ONCE": AT_ONCE, "enable_fp_fusion": False}
    _fill[(triton.cdiv(n * blocks, AT_ONCE),)](out, indices, steps, seeds, purpose, n, blocks, *many, **ways)
    return out
