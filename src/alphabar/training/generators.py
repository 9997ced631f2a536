"""Torch's own random generators, set for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ALONE = threading.RLock()  # the CPU's generator is one for all threads


@contextmanager
def seeded(number: int, device: torch.device) -> Iterator[None]:
    """Within it, torch's generators of the CPU and of `device` start from `number`; then they are as before.

    Threads wait for one another.
    """
    others = [] if device.type == "cpu" else [device]
    with _ALONE, torch.random.fork_rng(others, device_type=device.type):
        torch.default_generator.manual_seed(number)  # torch.manual_seed changes all devices
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(number)
        elif others:
            torch.get_device_module(device).manual_seed(number)
        yield
