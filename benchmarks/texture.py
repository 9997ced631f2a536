"""How much of each frequency of a data set sampling keeps, with the ideal denoiser of its spectrum.

    python benchmarks/texture.py DATA
    python benchmarks/texture.py DATA --run RUN

Samples are taken to be Gaussian with the spectrum that DATA has, channel by channel: then the law of what a
plan gives is exact, without drawing. Printed for each spacing and number of evaluations: the energy kept in
bands of frequency (1 is right), and the 2-Wasserstein distance a value, in levels of 255. With --run also
what a trained model really gives: the energy of the finest detail of 256 samples over that of the data.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np

import alphabar as ab
from alphabar.data.dataset import spread
from alphabar.model import fit_codec
from alphabar.samplers import Plan, make_plan
from alphabar.schedules import Schedule
from alphabar.theory.scales import scales_of

EVALUATIONS = 8, 10, 20, 50
SPACINGS = "scales", "flow", "log_snr"
BANDS = 0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.71


def energy_kept(plan: Plan, variance: np.ndarray) -> np.ndarray:
    """The variance that a plan gives each mode of N(0, variance), over its variance."""
    x, seen = np.zeros((len(variance), plan.num_evaluations + 1)), []
    x[:, 0] = 1
    for k, bar in enumerate(plan.alpha_bar[:-1]):
        seen.insert(0, (np.sqrt(bar) * variance / (bar * variance + 1 - bar))[:, None] * x)
        x = plan.A[k] * x + sum(b * h for b, h in zip(plan.B[k], seen, strict=False))
        x[:, k + 1] += plan.C[k]
    return np.square(x).sum(1) / variance


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--run")
    given = parser.parse_args()
    data = ab.prepare(given.data)
    some = data.images[spread(data.training, 2000)]
    x_0 = fit_codec(data.space, some).encode(some).astype(np.float64)
    scales = scales_of(x_0[:512])
    print(f"coarsest {scales.coarsest:.3f}, finest {scales.finest:.4f} in model space")
    power = np.square(np.abs(np.fft.fft2(x_0 - x_0.mean(0), norm="ortho"))).mean((0, 1)).ravel()
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, x_0.shape[:1:-1]))).ravel()
    bands = [(frequency >= a) & (frequency < b) for a, b in pairwise(BANDS)]
    print(f"{'cycles a pixel from':>22} " + " ".join(f"{a:5}" for a in BANDS[:-1]) + "   W2")
    print(f"{'standard deviation':>22} " + " ".join(f"{np.sqrt(power[band].mean()):5.3f}" for band in bands))
    for evaluations in EVALUATIONS:
        for spacing in SPACINGS:
            plan = make_plan(Schedule.sigmoid(1000), evaluations=evaluations, spacing=spacing, scales=scales)
            kept = energy_kept(plan, power)
            energy = [np.average(kept[band], weights=power[band]) for band in bands]
            w2 = 127.5 * np.sqrt(np.mean(np.square(np.sqrt(kept) - 1) * power))
            print(f"{evaluations:>13} {spacing:>8} " + " ".join(f"{e:5.2f}" for e in energy) + f" {w2:6.2f}")
    if given.run:
        model = ab.load(given.run)
        for evaluations in EVALUATIONS:
            for spacing in SPACINGS:
                images = ab.sample(model, 256, evaluations=evaluations, spacing=spacing).images
                finest = scales_of(model.codec.encode(images.reshape(-1, *data.space.shape))).finest
                energy = (finest / scales.finest) ** 2
                print(f"trained, {evaluations} {spacing}: energy of the finest detail {energy:.3f}")


if __name__ == "__main__":
    main()
