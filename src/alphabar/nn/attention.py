"""Attention, by whatever computes it fastest where it is."""

from __future__ import annotations

import math

import torch
import torch.autograd.forward_ad as forward_mode
import torch.nn.functional as F
from torch import Tensor

SHORT = 256
"""So many keys, or fewer, are attended to faster by plain products, in bfloat16 on a CPU (docs/log.md)."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v over the keys where mask is True; q, k, v: (…, heads, places, D).

    By plain products for few keys, and with tangents of forward-mode differentiation, which fused kernels
    lack.
    """
    short = k.device.type == "cpu" and k.dtype == torch.bfloat16 and k.shape[-2] <= SHORT
    if not short and forward_mode.unpack_dual(q).tangent is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q * (1 / math.sqrt(q.shape[-1])) @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v
