"""Blocks of a network that are run again in the backward pass, instead of keeping what is in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ..nn import blocks_of


def recompute(net: nn.Module, sharded: bool = False) -> None:
    """Let the blocks of a network keep nothing but what they are given, in training (arXiv 1604.06174).

    The gradient is the same to the bit, and takes a forward pass more. Dropout comes again as it was: that of
    `alphabar.nn` within `keyed_dropout`, torch's own by the state of its generator.

    Args:
        net: whose blocks are those that stand in its lists, the outer ones where one is within another.
        sharded: whether FSDP2 has cut it, and brings each block's weights itself.

    ValueError for a network without blocks.
    """
    blocks = blocks_of(net)
    inner = {part for block in blocks for part in block.modules() if part is not block}
    outer = [block for block in blocks if block not in inner]
    if not outer:
        raise ValueError(
            f"{type(net).__name__} has no blocks in a ModuleList that could be run again: leave recompute out"
        )
    for block in outer:
        block.forward = functools.partial(_run, block, block.forward, sharded)


def _run(block: nn.Module, forward: Callable[..., Any], sharded: bool, *args: Any, **kwargs: Any) -> Any:
    """What the block does, and does again when its gradient is wanted."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if sharded:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    # those of now, which may stand in for the block's own
    weights: dict[str, Tensor] = dict(block.named_parameters())

    def again(*args: Any) -> Any:
        own = block.forward
        block.forward = forward
        try:
            return functional_call(block, weights, args, kwargs)
        finally:
            block.forward = own

    return checkpoint(again, *args, use_reentrant=False)
