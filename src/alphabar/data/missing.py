"""Where every sample of a data set lacks a number (NaN), as text that a model keeps."""

from __future__ import annotations

import base64
import binascii
import math
import zlib

import numpy as np


def packed(absent: np.ndarray) -> str:
    """A mask as text: its bits, compressed, in base 64."""
    return base64.b64encode(zlib.compress(np.packbits(absent).tobytes(), 9)).decode()


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `packed`, of the given shape; ValueError for other text.

    >>> absent = np.array([[True, False, False], [False, False, True]])
    >>> unpacked(packed(absent), (2, 3)).tolist()
    [[True, False, False], [False, False, True]]
    """
    count = math.prod(shape)
    try:
        stream = zlib.decompressobj()
        found = stream.decompress(base64.b64decode(text, validate=True), (count + 7) // 8)
        whole = stream.decompress(b"", 1) == b"" and stream.eof
    except (binascii.Error, zlib.error, TypeError, ValueError):
        found, whole = b"", False
    if not whole or len(found) != (count + 7) // 8:
        raise ValueError(f"missing must be a packed mask of {count} numbers, got {str(text)[:40]!r}")
    return np.unpackbits(np.frombuffer(found, np.uint8), count=count).astype(bool).reshape(shape)


def check_missing(absent: np.ndarray, dtype: str) -> None:
    """ValueError where a mask can't be one of samples: whole numbers, or a channel without any number."""
    empty = np.flatnonzero(absent.reshape(len(absent), -1).all(1)).tolist()
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"samples of {dtype} have no missing values (NaN)")
    if empty:
        raise ValueError(f"all values of channel {empty[0]} are missing (NaN): leave that channel out")
