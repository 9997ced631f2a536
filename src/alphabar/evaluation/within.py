"""Scores within each class: samples that were told one, beside real ones of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Condition, spread
from ..errors import some
from .comparison import Embedded, number_compared, split
from .scores import kid

LEAST, MOST = 50, 2000
"""The fewest samples, real ones in their place and others of a class that make a score, and the most used."""


@dataclass(frozen=True)
class Within:
    """KID within one class, of samples and of real ones in their place (the floor), with standard errors.

    It is unbiased for any numbers, so that classes of unequal size can be compared.

    Attributes:
        condition: the class is a value of.
        name: of the class.
        value, error: of samples.
        floor, floor_error: of real ones.
        n, real, reference: how many samples, real ones, and others that both are compared with.
    """

    condition: str
    name: str
    value: float
    error: float
    floor: float
    floor_error: float
    n: int
    real: int
    reference: int


def within_classes(
    embedded: Embedded, told: Mapping[str, Sequence[Any]], conditions: Mapping[str, Condition]
) -> tuple[list[Within], list[str]]:
    """(the score of each class that is large enough, the worst first; a note on those that are not).

    Args:
        embedded: the samples, and data with values of these conditions.
        told: name → the value of each sample, None where it is not told.
        conditions: the model's, by name; those that are classes count.
    """
    data, found, notes = embedded.dataset, list[Within](), list[str]()
    halves = split(data, number_compared(len(embedded.samples), data))
    for name, condition in conditions.items():
        if condition.kind != "class" or name not in data.values or name not in told:
            continue
        true, asked = np.asarray(data.values[name]), list(told[name])
        few = []
        for k in sorted({value for value in asked if value is not None}):
            own = np.flatnonzero([value == k for value in asked])
            real, reference = (half[true[half] == k] for half in halves)
            counts = len(own), len(real), len(reference)
            if min(counts) < LEAST:
                few.append(f"{condition.title(k)} ({counts[0]}, {counts[1]} and {counts[2]})")
                continue
            others = embedded.data[spread(reference, MOST)]
            score = kid(embedded.samples[spread(own, MOST)], others)
            floor = kid(embedded.data[spread(real, MOST)], others)
            found.append(
                Within(name, condition.title(k), score.value, score.error, floor.value, floor.error, *counts)
            )
        if few:
            notes.append(
                f"no score within these values of {name}, which takes {LEAST} samples, real ones in their "
                f"place and others: {some(few)}"
            )
    return sorted(found, key=lambda one: -one.value), notes
