"""Group norm with what follows it in a U-Net: scale and shift, SiLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import can_be_built

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes of a batch."""


def normalized(
    x: Tensor,
    norm: nn.GroupNorm,
    silu: bool = False,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """norm(x) (1 + scale) + shift, or SiLU of that; on a GPU in one pass where that can be (`kernels.norm`).

    Args:
        x: (B, C, *sides).
        norm: of C channels.
        silu: whether SiLU follows.
        scale, shift: (B, C), both or none.
    """
    if _is_fused(x, norm):
        from ..kernels.norm import GroupNormSiLU

        gain, bias = norm.weight, norm.bias
        if scale is not None and shift is not None:
            more = 1 + scale.float()
            gain, bias = gain * more, bias * more + shift
        return GroupNormSiLU.apply(x, gain, bias, norm.num_groups, norm.eps, silu)  # pyright: ignore
    h = norm(x)
    if scale is not None and shift is not None:
        places = (..., *[None] * (x.ndim - 2))
        h = h * (1 + scale[places]) + shift[places]
    return F.silu(h) if silu else h


def _is_fused(x: Tensor, norm: nn.GroupNorm) -> bool:
    """Whether x lies as the kernels want it, on a GPU, and no second derivative can be asked for."""
    if x.device.type != "cuda" or x.ndim not in LAYOUTS or torch.compiler.is_compiling():
        return False
    if not (norm.training or not torch.is_grad_enabled()) or x.dtype == torch.float64:
        return False
    return x.is_contiguous(memory_format=LAYOUTS[x.ndim]) and can_be_built(x.device)
