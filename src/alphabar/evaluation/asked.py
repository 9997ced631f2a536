"""How well samples show what they were told: it is predicted back from their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Condition, Dataset, spread
from ..data.conditions.base import is_told
from .comparison import Embedded

MOST = 4000  # training samples that the prediction is fitted to
FEWEST = 32
BLOCK = 256
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridges that are tried, as shares of the number of samples."""


@dataclass(frozen=True)
class Met:
    """How well what was asked under one condition is met.

    Attributes:
        name, kind: of the condition.
        measure: what the numbers are, in words.
        samples: of samples, against what they were told.
        real: of real samples that the prediction was not fitted to, against what is true of them.
        n: how many samples were told something.
    """

    name: str
    kind: str
    measure: str
    samples: float
    real: float
    n: int


def how_well_met(
    embedded: Embedded, told: Mapping[str, Sequence[Any]], conditions: Mapping[str, Condition]
) -> list[Met]:
    """For each condition that samples were told: its value, predicted from their features.

    A ridge regression from features (standardized) to encoded values is fitted to training samples, with
    the ridge that predicts best for a fifth of them that it leaves out. What it says of samples is compared
    with what they were told; beside it, the same of held-out samples (of left-out training samples, where
    few are held out), which says how well it can be told at all from these features.

    Args:
        embedded: the samples, and data with values of these conditions.
        told: name → the value of each sample, None where it is not told.
        conditions: the model's, by name.
    """
    data, found = embedded.dataset, []
    for name, condition in conditions.items():
        if name not in data.values or name not in told:
            continue
        asked = np.flatnonzero(is_told(told[name]))
        training, encoded = _values(data, name, condition, data.training)
        held_out, real_encoded = _values(data, name, condition, data.held_out)
        if not len(asked) or len(training) < FEWEST:
            continue
        left_out, features = np.arange(len(training)) % 5 == 0, embedded.data[training]
        fit, test = (features[~left_out], encoded[~left_out]), (features[left_out], encoded[left_out])
        predict = _fitted(*fit, *test, condition)
        real = (embedded.data[held_out], real_encoded) if len(held_out) >= FEWEST else test
        values = condition.summary(condition.encode([told[name][i] for i in asked.tolist()]))
        found.append(
            Met(
                name, condition.kind, condition.measure,
                condition.agreement(predict(embedded.samples[asked]), values),
                condition.agreement(predict(real[0]), real[1]), len(asked),
            )
        )  # fmt: skip
    return found


def _values(
    data: Dataset, name: str, condition: Condition, among: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(the numbers of at most `MOST` of these samples that have a value, summaries of these)."""
    numbers, found = spread(among, MOST), []
    for start in range(0, len(numbers), BLOCK):
        encoded = condition.encode(data.values[name][numbers[start : start + BLOCK]])
        found.append(condition.summary(encoded).astype(np.float32))
    known = is_told(data.values[name][numbers])
    return numbers[known], np.concatenate(found)[known] if found else np.zeros(0)


def _fitted(
    features: np.ndarray,
    encoded: np.ndarray,
    test_features: np.ndarray,
    test_encoded: np.ndarray,
    condition: Condition,
) -> Any:
    """features (n, d) → encoded values (n, K), by the ridge of `RIDGES` that agrees best on the test."""
    x, y = features.astype(np.float64), encoded.reshape(len(encoded), -1).astype(np.float64)
    mean, scale, level = x.mean(0), x.std(0) + 1e-8, y.mean(0)

    def standardized(z: np.ndarray) -> np.ndarray:
        return (z.astype(np.float64) - mean) / scale

    left, size, right = np.linalg.svd(standardized(features), full_matrices=False)
    best: tuple[float, Any] | None = None
    for ridge in RIDGES:
        gain = size / (size**2 + ridge * len(x))
        weights = right.T @ (gain[:, None] * (left.T @ (y - level)))

        def predict(z: np.ndarray, weights: np.ndarray = weights) -> np.ndarray:
            return standardized(z) @ weights + level

        score = condition.agreement(predict(test_features), test_encoded)
        if best is None or score > best[0]:
            best = score, predict
    assert best is not None
    return best[1]
