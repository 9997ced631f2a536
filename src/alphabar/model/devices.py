"""Where networks run, and how: memory, its layout, threads, compiler."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..nn.norm import LAYOUTS


def pick_device(name: str = "auto") -> str:
    """`auto` → a CUDA GPU if there is one, else the CPU; any other name that torch can use, or ValueError."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, rather than by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


MALLOPT = {-4: 0, -1: -1}
"""M_MMAP_MAX: no block is mapped by itself. M_TRIM_THRESHOLD: what is free is kept."""


@functools.cache
def keep_memory(device: torch.device) -> None:
    """Let the C library keep freed memory for the next tensors, if they are on the CPU and it is glibc.

    It would give large blocks back to the system, which clears each page again at its next use: up to a
    fifth of an update (docs/log.md). Whatever the environment says of `malloc` stays as it is.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    chosen |= "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if device.type == "cpu" and sys.platform == "linux" and not chosen:
        with contextlib.suppress(AttributeError):  # of another library
            for parameter, value in MALLOPT.items():
                ctypes.CDLL(None).mallopt(parameter, value)


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Work with so many threads of the CPU; None: as many as before."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


def layout_of(shape: tuple[int, ...]) -> torch.memory_format:
    """The channels-last layout of batches of samples of this shape; ValueError if there is none."""
    if len(shape) + 1 not in LAYOUTS:
        raise ValueError(f"channels_last is for pictures and volumes, and samples have the shape {shape}")
    return LAYOUTS[len(shape) + 1]


def compiled(function: Callable[..., Any], mode: str, device: torch.device) -> Callable[..., Any]:
    """A function by torch.compile. ValueError if what it needs is not installed."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError("compile needs the package triton, which is not installed; leave compile out")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        raise ValueError("compile needs a C++ compiler, and none is found; install one, or leave compile out")
    return torch.compile(function, dynamic=False, mode=mode)
