"""The paper's linear betas for any number of steps."""

from __future__ import annotations

import numpy as np


def linear_bounds(T: int) -> tuple[float, float]:
    """(1e-4 k, 0.02 k), with the k for which prod_t (1 - beta_t) is that of k = 1, T = 1000."""
    if T == 1000:
        return 1e-4, 0.02
    target = np.log1p(-np.linspace(1e-4, 0.02, 1000)).sum()
    shape = np.linspace(1e-4 if T > 1 else 0.02, 0.02, T)
    low, high = 0.0, 1 / 0.02  # the log of the product falls from 0 to -inf between them
    while low < (k := (low + high) / 2) < high:
        low, high = (k, high) if np.log1p(-k * shape).sum() > target else (low, k)
    return float(low * shape[0]), float(low * shape[-1])
