"""Words of 32 bits from counters, and numbers from words: the same bits in NumPy and in torch, on any device.

Philox 4x32-10 is of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11. Logarithm, sine
and cosine are made of +, -, ×, ÷ and √ alone, each rounded correctly everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MASK = 2**32 - 1
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ATANH = [4 / (2 * n + 1) for n in range(9)]
SINE = [(-1) ** n * (math.pi / 2) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(8)]


def philox(counter: Sequence[Any], key: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Four words of 32 bits from a counter of four and a key of two, by ten rounds.

    Words are arrays of int64, NumPy's or torch's, that broadcast. A product needs 64 bits, and wraps around;
    its low word is cut out of it only where it is used.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = (p1 >> 32) ^ c1
        c0 ^= k0
        c0 &= MASK
        c2 = (p0 >> 32) ^ c3
        c2 ^= k1
        c2 &= MASK
        c1, c3 = p1, p0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1 & MASK, c2, c3 & MASK


def box_muller(words: tuple[Any, Any, Any, Any], out: Any) -> None:
    """Four normal numbers of four words, into out (n, blocks, 4), by Box and Muller (1958).

        r = sqrt(-2 log u), u = (a + 1/2) / 2^32;   r cos θ, r sin θ, θ = 2 π ((b + 1/2) / 2^32 - 1/2)

    in float64 from the pairs of words (a, b), so that |z| goes up to 6.76.
    """
    for k in (0, 2):
        r = _sqrt(_minus_two_log((_float(words[k]) + 0.5) * 2.0**-32))
        cos, sin = _cos_sin((_float(words[k + 1]) - (2.0**31 - 0.5)) * 2.0**-32)
        out[..., k] = cos * r
        out[..., k + 1] = sin * r


def _minus_two_log(u: Any) -> Any:
    """-2 log u = -2 k log 2 - 4 atanh((m - 1) / (m + 1)) for u = 2^k m, sqrt(1/2) <= m < sqrt(2)."""
    bits = u.view(torch.int64 if isinstance(u, Tensor) else np.int64)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = (bits - (k << 52)).view(u.dtype)
    s = m - 1
    s /= m + 1
    y = _polynomial(s * s, ATANH)
    y *= s
    y += _float(k) * (2 * math.log(2))
    return -y


def _cos_sin(f: Any) -> tuple[Any, Any]:
    """cos and sin of 2 π f for |f| <= 1/2: of a quarter of the angle, doubled twice."""
    s = _polynomial(f * f, SINE)
    s *= f
    square = s * s
    s *= _sqrt(1 - square) * 2
    cos = 1 - 2 * square
    cos *= s
    s *= s
    return 1 - 2 * s, 2 * cos


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Σ_n coefficients[n] x^n, by Horner's rule."""
    y = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        y += c
        y *= x
    y += coefficients[0]
    return y


def _float(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) else x.astype(np.float64)


def _sqrt(x: Any) -> Any:
    return x.sqrt() if isinstance(x, Tensor) else np.sqrt(x)


def doubles(words: tuple[Any, Any, Any, Any], out: Any) -> None:
    """Two numbers of 53 bits within [0, 1), float64, of four words, into out (n, blocks, 2)."""
    a, b, c, d = words
    out[..., 0] = _float((a >> 5) * 2**26 + (b >> 6)) * 2.0**-53
    out[..., 1] = _float((c >> 5) * 2**26 + (d >> 6)) * 2.0**-53
