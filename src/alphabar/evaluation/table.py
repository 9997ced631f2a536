"""The scores by name, and what each tells a person."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from .columns import column_pairs, column_shapes, trees
from .scores import classifier_two_sample, frechet_distance, kid, prdc, sliced_wasserstein


@dataclass(frozen=True)
class Score:
    """A row of `SCORES`: called with (a, b) it returns one number, as `error_of` needs it.

    Attributes:
        title: its name for people.
        function: of a and b; `of` picks this score's number from what it returns.
        part: the attribute that holds this number, or "" if the number itself is returned.
        better: "lower" or "higher".
        least: the number of samples, and of data, below which it means little.
        says: what it tells, for people.
        of_columns: whether it is of the rows of tables themselves, called with (a, b, columns).
    """

    title: str
    function: Callable[..., Any]
    part: str
    better: str
    least: int
    says: str
    of_columns: bool = False

    @property
    def of_pairs(self) -> bool:
        """Whether it takes time as pairs of rows do, and so is not of all of much data."""
        return self.function in (kid, prdc)

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
        "How far mean and variety are from the data's; falls with n.",
    ),
    "kid": Score(
        "KID",
        kid,
        "value",
        "lower",
        200,
        "How different the two distributions are; 0 or slightly below: alike.",
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
        "The share of data that lies among the samples: is any kind missing?",
    ),
    "density": Score(
        "density",
        prdc,
        "density",
        "higher",
        1000,
        "How densely the data lie where the samples do; about 1 for real ones.",
    ),
    "coverage": Score(
        "coverage",
        prdc,
        "coverage",
        "higher",
        1000,
        "The share of data with a sample near; falls with n.",
    ),
    "sliced_wasserstein": Score(
        "sliced Wasserstein",
        sliced_wasserstein,
        "",
        "lower",
        500,
        "How far samples must move, along random lines, to lie as the data do.",
    ),
    "classifier": Score(
        "classifier",
        classifier_two_sample,
        "value",
        "lower",
        200,
        "How often a classifier tells samples from data; 0.5 is chance.",
    ),
    "column_shapes": Score(
        "column shapes",
        column_shapes,
        "",
        "higher",
        200,
        "How alike the columns are, one by one; 1 is the same.",
        of_columns=True,
    ),
    "column_pairs": Score(
        "column pairs",
        column_pairs,
        "",
        "higher",
        200,
        "How alike the columns go together, two by two; 1 is the same.",
        of_columns=True,
    ),
    "trees": Score(
        "boosted trees",
        trees,
        "value",
        "lower",
        500,
        "How often boosted trees tell samples from data; 0.5 is chance.",
        of_columns=True,
    ),
}
"""The scores by name. A scorecard calls each `function` once; its rows pick their numbers by `of`."""


def with_error(value: float, error: float) -> str:
    """A value with its standard error: the error to one or two digits, and the value to as many decimals.

    >>> with_error(0.55123, 0.0341)
    '0.551 ± 0.034'
    """
    digits = 3
    if math.isfinite(error) and error > 0:
        digits = min(max(-math.floor(math.log10(error / 3.5)), 0), 6)
    shown = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0"
    return shown + (f" ± {error:.{digits}f}" if math.isfinite(error) and error > 0 else "")
