"""How long a told vector should be: its held-out error with a mean square length of 1, and of K.

    PYTHONPATH=src python benchmarks/told_vectors.py --numbers 384

Samples are eight numbers, and each is told K numbers that a random layer makes of these, as encoders do.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from alphabar.data import Dataset, Space, VectorCondition
from alphabar.data.conditions.kinds import fitted
from alphabar.evaluation import error_by_noise_level
from alphabar.model import load
from alphabar.runs import train


def told(k: int, seed: int, long: bool, n: int = 3000) -> Dataset:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 8))
    rows = np.tanh(z @ np.random.default_rng(9).standard_normal((8, k)) / 3) + 0.3 * rng.standard_normal(
        (n, k)
    )
    images = (np.tanh(z) + 0.1 * rng.standard_normal((n, 8))).astype(np.float32)
    conditions = {"v": VectorCondition(size=k)}
    space = Space((8,), "float32", None, None)
    data = Dataset(images, space, conditions, {"v": rows}, f"{k} {seed} {long}", 0.2)
    data.conditions = fitted(conditions, data.values, data.training)
    if long:
        shorter = tuple(scale / k**0.5 for scale in data.conditions["v"].scale)
        data.conditions["v"] = replace(data.conditions["v"], scale=shorter)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--numbers", type=int, default=384, help="K")
    parser.add_argument("--images", type=int, default=100_000, help="trained on")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    for long in (False, True):
        for seed in range(given.seeds):
            data = told(given.numbers, seed, long)
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                settings = {"schedule": {"name": "cosine", "T": 100}, "batch_size": 128, "previews": False}
                network = {"name": "mlp", "width": 64, "blocks": 2}
                list(train(data, run, network=network, images=given.images, **settings))
                levels = error_by_noise_level(load(run, "cpu"), data, n=500)
            length = "K" if long else "1"
            print(
                f"K {given.numbers}, length^2 {length}, seed {seed}: {np.mean(levels.fresh):.4f}", flush=True
            )


if __name__ == "__main__":
    main()
