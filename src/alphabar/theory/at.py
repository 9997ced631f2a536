"""Times with what a schedule says there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class At:
    """A schedule at times t, looked up once: every function that takes times takes this instead.

    Attributes:
        t: the times, one number or one a sample, float64.
        alpha_bar: of the schedule at these times, same shape.
    """

    t: np.ndarray
    alpha_bar: np.ndarray

    @property
    def snr(self) -> np.ndarray:
        """alpha_bar / (1 - alpha_bar), same shape; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return self.alpha_bar / (1 - self.alpha_bar)
