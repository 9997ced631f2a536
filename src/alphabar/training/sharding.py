"""Weights, gradients, optimizer and average in shards, a part of each at every process (PyTorch's FSDP2)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..files import Piece
from ..model.denoiser import Denoiser
from ..nn import blocks_of
from ..world import World, lost


class Sharding:
    """The network of a denoiser in shards: a block's weights are whole only while it is at work.

    Args:
        model: whose network is cut, and called as it is from now on.
        world: the processes.
    """

    def __init__(self, model: Denoiser, world: World) -> None:
        from torch.distributed.device_mesh import init_device_mesh  # takes a while
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        half = None if model.precision == "float32" else getattr(torch, model.precision)
        policy = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
        with lost():
            mesh = init_device_mesh(model.device.type, (world.size,))
            for part in (*blocks_of(model.net), model.net):
                fully_shard(part, mesh=mesh, mp_policy=policy)
        # what a network returns may be a part of a tensor: nothing here changes it in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        self._net: Any = model.net
        model.call = lambda net, weights, arguments: net(*arguments)

    @contextlib.contextmanager
    def reducing(self, last: bool) -> Iterator[None]:
        """Within it, backward reduces the gradients if it is the last of those that are added up."""
        self._net.set_requires_gradient_sync(last)
        with lost("gloo", "nccl"):
            yield


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is in shards, which all processes ask for at once; another one as it is."""
    full: Any = getattr(tensor, "full_tensor", None)
    if full is None:
        return tensor
    with lost():
        return full()


def piece_of(tensor: Tensor) -> Piece | None:
    """A copy of what this process has of a tensor in shards, if anything, on the CPU."""
    here: Any = tensor
    (chunk,) = here.__create_chunk_list__()  # as torch.distributed.checkpoint asks for it
    if not all(chunk.sizes):
        return None
    return here.to_local().detach().cpu().clone(), tuple(chunk.offsets)


def shard_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, on the device and in the shards of another one."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    there = tensor.to(like.device)
    return DTensor.from_local(there, like.device_mesh, [Replicate()]).redistribute(placements=like.placements)
