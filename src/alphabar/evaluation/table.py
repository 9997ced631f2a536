"""The scores by name, with what a person is told of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from .scores import classifier_two_sample, frechet_distance, kid, prdc, sliced_wasserstein


@dataclass(frozen=True)
class Score:
    """A row of `SCORES`: called with (a, b) it returns one number, as `error_of` needs it.

    Attributes:
        title: for people.
        function: of a and b; `of` picks this score's number from what it returns.
        part: the name of that number there, or "" where it is all that is returned.
        better: "lower" or "higher".
        least: samples, and data, below which it can't mean much.
        says: what it tells, for a person.
    """

    title: str
    function: Callable[..., Any]
    part: str
    better: str
    least: int
    says: str

    def of(self, found: Any) -> float:
        return float(getattr(found, self.part) if self.part else found)

    def __call__(self, a: ArrayLike, b: ArrayLike) -> float:
        return self.of(self.function(a, b))


SCORES = {
    "frechet": Score(
        "Fréchet distance",
        frechet_distance,
        "",
        "lower",
        2000,
        "How far average and variety are from the data's; falls with n.",
    ),
    "kid": Score(
        "KID",
        kid,
        "value",
        "lower",
        200,
        "How differently the two are distributed; 0, or just below, is alike.",
    ),
    "precision": Score(
        "precision",
        prdc,
        "precision",
        "higher",
        1000,
        "The share of samples that lie among the data: are they real?",
    ),
    "recall": Score(
        "recall",
        prdc,
        "recall",
        "higher",
        1000,
        "The share of data that lies among the samples: is a kind missing?",
    ),
    "density": Score(
        "density",
        prdc,
        "density",
        "higher",
        1000,
        "How much data lies where the samples do; about 1 is as for data.",
    ),
    "coverage": Score(
        "coverage", prdc, "coverage", "higher", 1000, "The share of data with a sample near; falls with n."
    ),
    "sliced_wasserstein": Score(
        "sliced Wasserstein",
        sliced_wasserstein,
        "",
        "lower",
        500,
        "How far samples must move along a line to lie as data.",
    ),
    "classifier": Score(
        "classifier",
        classifier_two_sample,
        "value",
        "lower",
        200,
        "How often a classifier knows which; 0.5 is guessing.",
    ),
}
"""The scores by name. A card computes each `function` once and lets its rows pick their numbers by `of`."""


def measured(value: float, error: float) -> str:
    """The error with one or two digits, and the value as far.

    >>> measured(0.55123, 0.0341)
    '0.551 ± 0.034'
    """
    digits = 3
    if math.isfinite(error) and error > 0:
        digits = min(max(-math.floor(math.log10(error / 3.5)), 0), 6)
    shown = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0"
    return shown + (f" ± {error:.{digits}f}" if math.isfinite(error) and error > 0 else "")
