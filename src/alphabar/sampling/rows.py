"""A .npy file that is made at once and filled by rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def make_array(path: Path, like: np.ndarray) -> bool:
    """Make a .npy of this shape and type, to be filled by rows, unless it is there; whether it was made."""
    try:
        there = np.load(path, mmap_mode="r")
        if there.shape == like.shape and there.dtype == like.dtype:
            return False
    except (OSError, ValueError):
        pass
    np.lib.format.open_memmap(path, mode="w+", dtype=like.dtype, shape=like.shape)
    return True


def write_rows(path: Path, where: list[int], rows: np.ndarray) -> None:
    """Rows of a .npy file, by seeking: a memory map would count as this process's memory."""
    with open(path, "r+b") as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        for i, row in zip(where, rows, strict=True):
            file.seek(start + i * row.nbytes)
            file.write(np.ascontiguousarray(row).tobytes())
        file.flush()
        os.fsync(file.fileno())
