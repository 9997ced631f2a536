"""How far the rows of a table are from real ones, column by column and pair by pair."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from .. import rng
from ..data.columns import Column
from ..errors import needs
from .keys import FOLDS, TRIVIAL
from .scores import TwoSample, two_sample

BINS = 10
MOST_PAIRS = 2000


def column_shapes(a: np.ndarray, b: np.ndarray, columns: Sequence[Column]) -> float:
    """The mean over columns of how alike their values are distributed, 0 to 1.

    For numbers and dates 1 - sup |F_a - F_b| (Kolmogorov and Smirnov), for categories
    1 - sum |p_a - p_b| / 2, of the values that are there: KSComplement and TVComplement of sdmetrics. How
    often values are missing counts in `column_pairs`.

    Args:
        a, b: rows (n, D) of samples and (m, D) of real data, NaN where a value is missing.
        columns: what they hold.
    """
    found = []
    for x, y, column in zip(a.T, b.T, columns, strict=True):
        x, y = (z[~np.isnan(z)] for z in (x, y))
        if not len(x) or not len(y):
            found.append(float(len(x) == len(y)))
        elif column.kind == "category":
            found.append(1 - _variation(x, y))
        else:
            found.append(1 - _smirnov(x, y))
    return float(np.mean(found))


def column_pairs(a: np.ndarray, b: np.ndarray, columns: Sequence[Column]) -> float:
    """The mean over pairs of columns of how alike they go together, 0 to 1; of many pairs, `MOST_PAIRS`.

    For two of numbers 1 - |r_a - r_b| / 2 with Pearson's r; else 1 - sum |p_a - p_b| / 2 over the cells of
    their table, a missing value among them, numbers in ten bins of one width over the real data's range (a
    value on an edge is in the upper one): CorrelationSimilarity and ContingencySimilarity of sdmetrics. Pairs
    with a number that is constant don't count. 1 for a single column.
    """
    pairs = list(itertools.combinations(range(len(columns)), 2))
    if len(pairs) > MOST_PAIRS:
        chosen = np.linspace(0, len(pairs) - 1, MOST_PAIRS).round().astype(int)
        pairs = [pairs[i] for i in chosen]
    binned: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    found = []
    for i, j in pairs:
        if columns[i].kind != "category" and columns[j].kind != "category":
            r = [_correlation(z[:, i], z[:, j]) for z in (a, b)]
            if all(map(math.isfinite, r)):
                found.append(1 - abs(r[0] - r[1]) / 2)
            continue
        for k in (i, j):
            if k not in binned:
                binned[k] = _binned(a[:, k], b[:, k], columns[k])
        several = 1 + max(codes.max() for codes in binned[j])
        found.append(1 - _variation(*(x * several + y for x, y in zip(binned[i], binned[j], strict=True))))
    return float(np.mean(found)) if found else 1.0


def trees(
    a: np.ndarray, b: np.ndarray, columns: Sequence[Column], seed: int = 0, folds: int = 5
) -> TwoSample:
    """How often boosted trees tell samples from data that they haven't seen (arXiv 1610.06545).

    0.5 is chance. The larger set is cut at random to the size of the smaller; each fold is judged by trees
    that were grown on the others (scikit-learn's HistGradientBoostingClassifier, as it is). Error and p-value
    count as those of `classifier_two_sample`.
    """
    with needs("boosted trees", "scikit-learn", "tables"):
        from sklearn.ensemble import HistGradientBoostingClassifier
    draws, size = rng.stream(seed, "evaluation", FOLDS), min(len(a), len(b))
    rows = np.concatenate([z[draws.permutation(len(z))[:size]] for z in (a, b)])
    is_a, fold = np.arange(2 * size) < size, np.tile(np.arange(size) % folds, 2)
    right = 0
    for held in (fold == i for i in range(folds)):
        grown = HistGradientBoostingClassifier(random_state=seed)
        right += int((grown.fit(rows[~held], is_a[~held]).predict(rows[held]) == is_a[held]).sum())
    return two_sample(right, size)


def gaussian_copula(rows: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """n rows with each column's own distribution, and dependence as of a Gaussian: what needs no network.

    Each column becomes normal by its ranks, those of equal values in random order; the correlations of each
    two are those of the rows that have both, and normal draws become values by the columns' quantiles. Values
    are missing as often as in the data, independently.
    """
    count, width = rows.shape
    draws, there = rng.stream(seed, "evaluation", TRIVIAL), ~np.isnan(rows)
    z, known = np.zeros(rows.shape), there.sum(0)
    for j, column in enumerate(rows.T):
        order = np.lexsort((draws.random(count), column))[: known[j]]  # a missing one is last
        p = (np.arange(known[j]) + 0.5) / max(known[j], 1)
        z[order, j] = torch.special.ndtri(torch.from_numpy(p)).numpy()
    both = there.T.astype(np.float64) @ there
    values, vectors = np.linalg.eigh(z.T @ z / np.maximum(both, 1))
    drawn = draws.standard_normal((n, width)) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    p = torch.special.ndtr(torch.from_numpy(drawn)).numpy()
    places = np.clip((p * known).astype(np.int64), 0, np.maximum(known - 1, 0))
    missing = draws.random((n, width)) >= known / count
    return np.where(missing, math.nan, np.take_along_axis(np.sort(rows, 0), places, 0))


def _smirnov(x: np.ndarray, y: np.ndarray) -> float:
    """sup |F_x - F_y|."""
    every = np.concatenate([x, y])
    below = (np.searchsorted(np.sort(z), every, "right") / len(z) for z in (x, y))
    return float(np.abs(np.subtract(*below)).max())


def _variation(x: np.ndarray, y: np.ndarray) -> float:
    """sum |p_x - p_y| / 2 over the values that occur."""
    known, places = np.unique(np.concatenate([x, y]), return_inverse=True)
    p, q = (
        np.bincount(part, minlength=len(known)) / len(part) for part in (places[: len(x)], places[len(x) :])
    )
    return float(np.abs(p - q).sum() / 2)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, of the rows in which both are there; NaN if there are none, or one is constant."""
    both = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[both], y[both]
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _binned(x: np.ndarray, y: np.ndarray, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Codes of both, 0 for a missing value: of categories their number, of numbers their bin, and 1."""
    if column.kind != "category":
        known = y[~np.isnan(y)]
        if not len(known):
            return np.zeros(len(x)), np.zeros(len(y))
        inner = np.histogram_bin_edges(known, BINS)[1:-1]
        x, y = (np.where(np.isnan(z), math.nan, np.searchsorted(inner, z, "right")) for z in (x, y))
    return np.nan_to_num(x + 1), np.nan_to_num(y + 1)
