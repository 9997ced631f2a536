"""A Gaussian copula for tables, by the package copulas: no diffusion and no network, the least to be beaten.

A value becomes the normal quantile of its rank, (rank + 1/2) / n, equal ones in random order, and comes back
as the training value at the rank that is drawn. Categories are numbered, the most frequent first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.pop(0)  # so that all entries begin alike
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from contract import arguments, write
from data import DATASETS


def normal_scores(column: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The normal quantiles of ranks, equal values in random order."""
    from scipy.stats import norm

    ranks = np.empty(len(column))
    ranks[np.lexsort((rng.random(len(column)), column))] = np.arange(len(column)) + 0.5
    return norm.ppf(ranks / len(column))


def main() -> None:
    args, clock = arguments(__doc__, ("diamonds",))
    import pandas as pd
    from copulas.multivariate import GaussianMultivariate
    from copulas.univariate import GaussianUnivariate
    from scipy.stats import norm

    dataset, rng = DATASETS[args.dataset], np.random.default_rng(args.seed)
    rows, codes = dataset.table(args.data), {}
    for name in [name for name, categories in dataset.columns.items() if categories]:
        values, inverse, counts = np.unique(rows[name], return_inverse=True, return_counts=True)
        order = np.argsort(-counts)
        codes[name], rows[name] = values[order], np.argsort(order)[inverse]
    copula = GaussianMultivariate(distribution=GaussianUnivariate, random_state=args.seed)
    copula.fit(pd.DataFrame({name: normal_scores(column, rng) for name, column in rows.items()}))
    seconds, drawn = clock.seconds(), copula.sample(args.n)
    columns = {}
    for name, column in rows.items():
        found = np.quantile(column, norm.cdf(drawn[name]), method="inverted_cdf")
        columns[name] = codes[name][found] if name in codes else found
    packages = ("copulas", "pandas")
    write(
        args.out, columns, evaluations=0, images=len(rows[dataset.target]), seconds=seconds, packages=packages
    )


if __name__ == "__main__":
    main()
