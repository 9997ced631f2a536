"""Randomness as an argument: a stream of numbers is a pure function of what it is for."""

from __future__ import annotations

import numpy as np

PURPOSES = (
    "weights",
    "order",
    "flip",
    "time",
    "noise",
    "dropout",
    "holdout",
    "validation",
    "sample",
    "label",
    "label_dropout",
    "tune",
    "probe",
    "evaluation",
)


def stream(seed: int, purpose: str, i: int = 0, j: int = 0) -> np.random.Generator:
    """The generator (Philox) for (seed, purpose, i, j), independent of every other.

    No state is kept anywhere, so that what is drawn for step i or sample i depends on nothing else.

    >>> a, b = (stream(0, "sample", 7, 3).standard_normal() for _ in range(2))
    >>> a == b
    True
    """
    check_seed(seed)
    key = [seed, PURPOSES.index(purpose)]
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, i, j]))


def check_seed(seed: int) -> None:
    """Raise ValueError unless seed is a whole number within 0..2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number within 0..2^63 - 1, got {seed!r}")
