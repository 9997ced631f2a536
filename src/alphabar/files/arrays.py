"""Files in .npy: whole ones, and those that are made at once and filled by rows."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from .places import naming, write_all, write_bytes


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, atomically."""
    write_bytes(path, npy_bytes(array))


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as a .npy file."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def make_array(path: Path, like: np.ndarray) -> bool:
    """Make a .npy of this shape and type, to be filled by rows, unless it is there; whether it was made."""
    try:
        there = np.load(path, mmap_mode="r")
        if there.shape == like.shape and there.dtype == like.dtype:
            return False
    except (OSError, ValueError, EOFError):
        pass
    with naming(path):
        np.lib.format.open_memmap(path, mode="w+", dtype=like.dtype, shape=like.shape)
    return True


def write_rows(path: Path, where: list[int], rows: np.ndarray) -> None:
    """Rows of a .npy file, by seeking: a memory map would count as this process's memory."""
    with naming(path), open(path, "r+b", buffering=0) as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        for i, row in zip(where, rows, strict=True):
            file.seek(start + i * row.nbytes)
            write_all(file, np.ascontiguousarray(row).tobytes())
        os.fsync(file.fileno())
