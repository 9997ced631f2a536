"""The scales of data: the standard deviations of their coarsest and of their finest detail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Scales(NamedTuple):
    """Standard deviations in model space along directions of unit length.

    A detail of standard deviation s is settled while sigma = sqrt(1 - alpha_bar) / sqrt(alpha_bar) falls past
    s: sooner it is lost in the noise, later it is plain. So sampling has something to do from the
    coarsest scale down to the finest, and nothing above and below.

    Attributes:
        coarsest: of what varies most, such as the brightness of whole pictures.
        finest: of what varies least, such as grain.
    """

    coarsest: float = 8.0
    finest: float = 0.05

    @classmethod
    def of(cls, given: Sequence[float]) -> Scales:
        """From two numbers within 1e-30..1e30, the second not above the first; or ValueError."""
        if len(given) != 2 or not 1e-30 <= given[1] <= given[0] <= 1e30:
            raise ValueError(
                f"scales must be two numbers within 1e-30..1e30, the coarsest and the finest, got {given}"
            )
        return cls(*map(float, given))


USUAL = Scales()
"""Those of small photographs, where the data's own are not known."""


def scales_of(x_0: np.ndarray) -> Scales:
    """The scales of samples (n, C, *sides) or (n, D) in model space; `USUAL` where all samples are equal.

    What is not known is NaN.

    The coarsest is the root of the covariance's largest eigenvalue. The finest is the root mean square of
    differences along all sides, in the channel where it is least: of order 4, (1, -4, 6, -4, 1) / sqrt(70),
    or less along short sides; where all numbers are known. They leave independent noise as large as it is,
    and remove whatever is smooth (as J. Immerkær 1996, "Fast noise variance estimation", does with order 2).
    Vectors have no sides: theirs is the root of the least eigenvalue that is above rounding errors.

    >>> x_0 = np.random.default_rng(0).normal(0, 0.1, (64, 1, 32, 32))
    >>> round(scales_of(x_0).finest, 3)
    0.1
    """
    x_0 = np.asarray(x_0, np.float64)
    roots = _roots(x_0)
    if not len(roots):
        return USUAL
    finest = roots[0] if x_0.ndim == 2 else _finest(x_0)
    coarsest = float(f"{roots[-1]:.9g}")  # the last bits of linear algebra depend on its threads
    return Scales(coarsest, min(max(float(f"{finest:.9g}"), 1e-3 * coarsest), coarsest))


HALF_LOST = 5.0
"""`half_lost` of small photographs, for which the schedules of the literature were found."""


def half_lost(x_0: np.ndarray) -> float:
    """The sigma at which half of the variance of samples (n, …) is lost in noise, in model space.

    That is sum(l sigma^2 / (l + sigma^2)) = sum(l) / 2 over the eigenvalues l of their covariance: the error
    of the best linear denoiser is half of what there is. `HALF_LOST` where all samples are equal.

    >>> x_0 = np.random.default_rng(0).normal(0, 3.0, (1000, 2))
    >>> round(half_lost(x_0), 1)
    3.0
    """
    squares = np.square(_roots(np.asarray(x_0, np.float64)))
    if not len(squares):
        return HALF_LOST
    low, high = np.log(squares[[0, -1]])
    for _ in range(60):
        middle = (low + high) / 2
        lost = (squares / (1 + squares * np.exp(-middle))).sum() / squares.sum()
        low, high = (middle, high) if lost < 0.5 else (low, middle)
    return float(np.exp(low / 2))


def _roots(x_0: np.ndarray) -> np.ndarray:
    """Standard deviations along the principal axes of samples, rising, those above rounding errors."""
    flat = np.nan_to_num(x_0.reshape(len(x_0), -1))
    flat = flat - flat.mean(0)
    roots = np.sqrt(
        np.maximum(np.linalg.eigvalsh(flat @ flat.T if len(flat) < flat.shape[1] else flat.T @ flat), 0)
    )
    return roots[roots > 1e-6 * roots[-1]] / np.sqrt(len(flat))


def _finest(x_0: np.ndarray) -> float:
    for axis in range(2, x_0.ndim):
        order = min(4, x_0.shape[axis] - 1)
        x_0 = np.diff(x_0, n=order, axis=axis) / math.sqrt(math.comb(2 * order, order))
    squares = np.square(np.moveaxis(x_0, 1, 0)).reshape(x_0.shape[1], -1)
    of_channels = np.sqrt(np.nansum(squares, 1) / np.maximum((~np.isnan(squares)).sum(1), 1))
    return float(of_channels[of_channels > 0].min(initial=np.inf))
