"""Differences of numbers that may be far from zero."""

from __future__ import annotations

import numpy as np


def less(images: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """images - origin, float64; exact for whole numbers of `origin`'s type that are not far from it."""
    images = np.asarray(images)
    if not origin.any():
        return images.astype(np.float64)
    far = images.astype(np.float64) - origin.astype(np.float64)
    if images.dtype.kind not in "iu" or origin.dtype.kind not in "iu":
        return far
    steps = (images.astype(np.uint64) - origin.astype(np.uint64)).view(np.int64)  # modulo 2^64
    return np.where(np.abs(far) < 2.0**62, steps.astype(np.float64), far)
