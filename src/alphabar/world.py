"""Processes that work together, as torchrun begins them: one leads, and the others do what it tells them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from .torchrun import are_several, end_with_parent

PATIENCE = timedelta(days=30)
"""How long a process waits for the first one, which may be at a long measurement. One that ended is noticed
at once."""


class ProcessLost(ConnectionError):
    """Another process has ended, or can't be reached any more."""


class World:
    """The processes that work together: ranks 0 … size - 1, of which the first one leads.

    Args:
        rank, size: of this process, and how many there are.
        control: their group for messages, of the CPU.
        beside: the same processes by another group, for a thread.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, control: Any = None, beside: World | None = None
    ) -> None:
        self.rank, self.size, self._control, self.beside = rank, size, control, beside

    def __bool__(self) -> bool:
        return self.size > 1

    def share_of(self, n: int) -> slice:
        """Those of n neighbors that are this process's; n is a multiple of `size`."""
        each = n // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    @contextlib.contextmanager
    def leading(self) -> Iterator[None]:
        """Within it the others may be told what to do; then that it is over."""
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLost):
                self.tell(None)

    # --- what the first one tells ------------------------------------------------------------------

    def tell(self, message: Any) -> None:
        """Tell the others, if this one leads any."""
        if self and not self.rank:
            self._object(message)

    def hear(self) -> Any:
        """What the first one tells next."""
        return self._object(None)

    def wait(self) -> None:
        """Until all have come here."""
        if self:
            with lost():
                dist.barrier(group=self._control)

    def shared(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The first one's tensors with their names, one after another, on the CPU; at the others what they
        give counts for nothing.
        """
        if not self:
            yield from tensors.items()
            return
        told = self._object({name: (tuple(t.shape), t.dtype) for name, t in tensors.items()})
        for name, (shape, dtype) in told.items():
            tensor = torch.empty(shape, dtype=dtype) if self.rank else tensors[name].cpu().contiguous()
            with lost():
                dist.broadcast(tensor, 0, group=self._control)
            yield name, tensor

    def _object(self, message: Any) -> Any:
        row = [message]
        with lost():
            dist.broadcast_object_list(row, 0, group=self._control)
        return row[0]

    def at_first(self, value: Any) -> list[Any]:
        """What each process gives, at the first one; nothing at the others."""
        rows = None if self.rank else [None] * self.size
        with lost():
            dist.gather_object(value, rows, 0, group=self._control)
        return rows or []

    # --- what all have a part of ---------------------------------------------------------------------

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows (m, n) of all processes side by side, (m, size n)."""
        if not self:
            return rows
        parts = rows.new_empty(self.size * rows.numel())
        with lost():
            all_gather(parts, rows.flatten())
        return parts.view(self.size, *rows.shape).transpose(0, 1).flatten(1)


ALONE = World()
"""One process."""


all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@contextlib.contextmanager
def lost(*names: str) -> Iterator[None]:
    """ProcessLost where torch says in its own way that a connection has gone; of these libraries, if any.

    What torch says is kept as its cause.
    """
    try:
        yield
    except RuntimeError as error:
        if names and not any(name in str(error).lower() for name in names):
            raise
        raise ProcessLost(
            "another process has ended, or can't be reached: give the same command again, and it goes on"
        ) from error


@functools.cache
def join() -> World:
    """The processes that torchrun began together with this one, each of which must call this; else `ALONE`.

    One that has a GPU works on that of its number on its machine.
    """
    if not are_several():
        return ALONE
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    if not dist.is_initialized():
        end_with_parent()
        store, number, size = next(iter(rendezvous("env://")))
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
            # on one machine torchrun keeps its store, with old addresses, when it begins processes anew
            store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, store=store, rank=number, world_size=size)
        atexit.register(_leave)
    rank, size = dist.get_rank(), dist.get_world_size()
    control, beside = (dist.new_group(backend="gloo", timeout=PATIENCE) for _ in range(2))
    return World(rank, size, control, World(rank, size, beside))


def _leave() -> None:
    with contextlib.suppress(Exception):
        dist.destroy_process_group()
