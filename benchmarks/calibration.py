"""Whether the verdicts and error bars of `alphabar eval` are what they say, by simulation.

    python benchmarks/calibration.py

Data are Gaussian rows of 24 numbers, 4,750 of them to train on and 250 held out, and 400 samples. Printed:
how often memorization is called for models that draw as the data do, and for samples of which a share are
copies, equal to the number or with a little noise; how often the two-sample test has small p-values for one
law; and for each score how wide its error bars are against its true spread, and how often value +- 1.96
errors holds the mean over all draws, for good samples and for some a little off. Some minutes on a core.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alphabar.evaluation.memorization import check_memorization
from alphabar.evaluation.scores import Estimate, classifier_two_sample, error_of
from alphabar.evaluation.table import SCORES

SHARES = 0, 0.01, 0.05, 0.1, 0.25, 0.4
MODELS, NULL = 60, 300
DRAWS, HALVES = 200, 10


def grains(rng: np.random.Generator, n: int) -> np.ndarray:
    """n rows."""
    return rng.standard_normal((n, 24))


def memorization() -> None:
    """How often copies are called."""
    print("memorization: share of 400 samples that are copies, called for exact ones, for near ones")
    for share in SHARES:
        called = []
        for noise in (0.0, 0.002):
            found = []
            for seed in range(MODELS if share else NULL):
                rng = np.random.default_rng((seed, int(1000 * share)))
                training, held_out, samples = (grains(rng, n) for n in (4750, 250, 400))
                chosen = rng.choice(400, round(400 * share), replace=False)
                copies = training[rng.integers(0, 4750, len(chosen))]
                samples[chosen] = copies + noise * rng.standard_normal(copies.shape)
                found.append(check_memorization(samples, training, held_out, "toy").memorizes)
            called.append(f"{sum(found)} of {len(found)}")
        print(f"  {share:4.0%}  " + "  ".join(called), flush=True)


def two_samples() -> None:
    """The p-values of the classifier's test for one law."""
    for n, d in ((100, 4), (400, 24), (100, 60)):
        ps = []
        for seed in range(NULL):
            rng = np.random.default_rng(seed)
            p = classifier_two_sample(rng.standard_normal((n, d)), rng.standard_normal((n, d)), seed).p_value
            ps.append(p)
        below = [f"p < {level}: {np.mean(np.array(ps) < level):.3f}" for level in (0.05, 0.01)]
        print(f"two-sample test of one law, {n} rows of {d}: " + ", ".join(below), flush=True)


def scored(function: Callable, names: list[str], shift: float) -> None:
    """Error bars of the scores that a function gives."""
    values, errors = [], []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((200, 8)) + shift, rng.standard_normal((600, 8))
        found = function(a, b)
        values.append([SCORES[name].of(found) for name in names])
        if isinstance(found, Estimate):
            errors.append([found.error] * len(names))
        else:
            errors.append(
                error_of(lambda x, y: [SCORES[n].of(function(x, y)) for n in names], a, b, HALVES, seed)
            )
    values, errors = np.array(values, np.float64), np.array(errors, np.float64)
    true, mean = values.std(0, ddof=1), values.mean(0)
    width = np.sqrt(np.square(errors).mean(0)) / np.where(true > 0, true, np.nan)
    holds = (np.abs(values - mean) <= 1.96 * errors).mean(0)
    for i, name in enumerate(names):
        print(
            f"  {name:28} shift {shift}: error / spread {width[i]:5.2f}, holds the mean {holds[i]:5.1%}",
            flush=True,
        )


def main() -> None:
    """Print all of it."""
    memorization()
    two_samples()
    print("error bars: 200 samples against 600, 8 features")
    for function in dict.fromkeys(score.function for score in SCORES.values() if not score.of_columns):
        names = [name for name, score in SCORES.items() if score.function is function]
        for shift in (0.0, 0.3):
            scored(function, names, shift)


if __name__ == "__main__":
    main()
