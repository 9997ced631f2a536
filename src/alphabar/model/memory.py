"""What memory a network takes on samples of a shape, counted before it is taken."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..nn import takes_cond
from .batched import batch_size
from .denoiser import Denoiser
from .whole import InParts

LARGE = 2**19
"""Of how many places a batch is at least whose memory is counted: the counting takes seconds."""
WITH_GRADIENT = 5  # copies of the weights: gradient, average, what the optimizer remembers, room
COPIES = 12
"""Of whole samples, that sampling keeps at once beside the parts that the network runs on."""
REAL = 1.3
"""What is taken beside what is counted: copies in other layouts. Measured: 0.9 to 1.3 times."""
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


class TooLarge(ValueError):
    """More memory is needed than there is."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free where a network is to run, within the limits of a container; None if unknown."""
    if device.type == "cuda":
        own = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + own
    if device.type != "cpu":
        return None
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return None
    for limit, usage in CGROUPS:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
        except (OSError, ValueError):
            continue
    return max(0, min(found)) if found else None


def needed_memory(denoiser: Denoiser, n: int, training: bool) -> int | None:
    """Bytes that a model's network takes at its peak for n samples, beside its weights.

    It is run on torch's `meta` device, where tensors have shapes and no numbers, and what is alive is added
    up: layer by layer in inference, all that the gradient needs in training. None for less than `LARGE`
    places, or if the network can't be run so.
    """
    net, shape = denoiser.net, denoiser.shape
    if isinstance(denoiser.call, InParts):
        parts = denoiser.call.parts
        own = needed_memory(parts, batch_size(parts.shape, parts.device), training) or 0
        return own + 4 * COPIES * n * math.prod(shape)
    if n * math.prod(shape[1:]) < LARGE:
        return None
    own = [*net.named_parameters(), *net.named_buffers()]
    weights = {name: torch.empty_like(t, device="meta").requires_grad_(t.requires_grad) for name, t in own}
    given: tuple[Any, ...] = torch.empty(n, *shape, device="meta"), torch.empty(n, device="meta")
    if takes_cond(net):
        told = {name: condition.shape for name, condition in denoiser.conditions.items()}
        given += ({name: torch.empty(n, *each, device="meta") for name, each in told.items()},)
    alive = _Alive()
    try:
        with _fused(), alive, torch.set_grad_enabled(training):
            found = functional_call(net, weights, given)
            if training:
                found.square().mean().backward()
    except Exception:  # a network of the user's may need numbers
        return None
    return int(REAL * alive.peak)


def check_memory(denoiser: Denoiser, n: int, training: bool) -> None:
    """TooLarge if n samples at once take more memory than is free, with what would take less."""
    needed = needed_memory(denoiser, n, training)
    free = None if needed is None else free_memory(denoiser.device)
    if needed is None or free is None:
        return
    fixed = sum(p.numel() * p.element_size() for p in denoiser.parameters()) * (
        WITH_GRADIENT if training else 0
    )
    if needed + fixed <= free:
        return
    what, remedies = "sampling", ["ask for shorter sides (--size)", "train a network of fewer channels"]
    if training:
        fitting = int(n * (free - fixed) / needed)
        what, remedies = "an update on", ["use fewer channels (--set network.channels=32)"]
        remedies[:0] = ["train on crops (--crop SIDE)"] * (len(denoiser.shape) > 2)
        keeps = not any("forward" in vars(part) for part in denoiser.net.modules())
        remedies[:0] = ["run blocks again instead of keeping what is in them (--recompute)"] * keeps
        remedies[:0] = [f"take the batch in parts (--micro-batch {fitting})"] * (fitting > 0)
    raise TooLarge(
        f"{what} {n} at once of {denoiser.space.shown_shape()} takes about {_gib(needed + fixed)} of memory, "
        f"and {_gib(free)} are free: {', or '.join(remedies)}"
    )


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


@contextlib.contextmanager
def _fused() -> Iterator[None]:
    """Attention as the kernels of CPU and GPU do it, without a matrix of all pairs; in blocks that are run
    again too, which no mode of torch reaches.
    """
    real = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda q, k, v, *_, **__: q * (k * v).sum(-2, keepdim=True)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = real


class _Alive(TorchDispatchMode):
    """Adds up the bytes of the tensors that are alive: `peak` is the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return found

    def _count(self, storage: Any) -> None:
        if (key := storage._cdata) not in self.seen:
            self.seen.add(key)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size
