"""What of torch is one for a whole process, set for a while: random generators, exact repetition."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_ALONE = threading.RLock()  # the CPU's generator is one for all threads


@contextmanager
def seeded(number: int, device: torch.device) -> Iterator[None]:
    """Within it, torch's generators of the CPU and of `device` start from `number`; then they are as before.

    Threads wait for one another.
    """
    others = [] if device.type in ("cpu", "meta") else [device]
    with _ALONE, torch.random.fork_rng(others, device_type=device.type):
        torch.default_generator.manual_seed(number)  # torch.manual_seed changes all devices
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(number)
        elif others:
            torch.get_device_module(device).manual_seed(number)
        yield


@contextmanager
def repeatable(device: torch.device, asked: bool = True) -> Iterator[None]:
    """Within it, a GPU adds up in a fixed order, so that the same gradient has the same bits each time.

    A CPU does so anyway. RuntimeError (`has_no_fixed_order`) where something can't be done so.
    """
    if device.type != "cuda" or not asked:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which its products need to be so
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    ways: Any = torch.utils.deterministic
    filled, ways.fill_uninitialized_memory = ways.fill_uninitialized_memory, False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
        ways.fill_uninitialized_memory = filled


def has_no_fixed_order(error: RuntimeError) -> bool:
    """Whether torch says so of a part of a network."""
    return "deterministic implementation" in str(error)
