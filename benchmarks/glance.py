"""What a few samples tell of a model: cheap scores of 64 samples, for every checkpoint of runs.

    python benchmarks/glance.py digits runs/digits [RUNS ...]

Prints, for the averaged model in each checkpoint and each seed, the distances of 64 samples of 6 evaluations
to 2,000 training pictures. A score is worth having in training if it falls from line to line whatever the
seed, and by more than its spread over seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from alphabar import load, prepare, sample
from alphabar.data import spread
from alphabar.evaluation.features import open_features
from alphabar.evaluation.scores import frechet_distance, kid, sliced_wasserstein
from alphabar.runs import RunFolder
from alphabar.runs.monitor import EVALUATIONS, REFERENCE, SAMPLES

SCORES = {"Fréchet": frechet_distance, "KID": lambda a, b: kid(a, b).value, "sliced W.": sliced_wasserstein}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    data = prepare(args.data)
    ways = {name: open_features(name, data) for name in ("pixels", "untrained")}
    reference = np.asarray(data.images[spread(data.training, REFERENCE)])
    real = {name: features(reference) for name, features in ways.items()}

    def tell(what: str, images: np.ndarray) -> None:
        found = {
            f"{name} {score}": function(features(images), real[name])
            for name, features in ways.items()
            for score, function in SCORES.items()
        }
        print(f"{what:<44}" + "".join(f"{value:>22.3f}" for value in found.values()), flush=True)

    print(f"{'':<44}" + "".join(f"{f'{name}, {score}':>22}" for name in ways for score in SCORES))
    fresh = np.random.default_rng(0).permutation(data.held_out)
    for i in range(min(3, len(fresh) // SAMPLES)):
        tell("held-out pictures", np.asarray(data.images[fresh[SAMPLES * i : SAMPLES * (i + 1)]]))
    for run in args.runs:
        for path in RunFolder(run).checkpoints():
            average = load(path)
            for seed in args.seeds:
                drawn = sample(average, SAMPLES, seed=seed, evaluations=EVALUATIONS)
                tell(f"{run.name}, {average.about['images']:,} images, seed {seed}", drawn.images)


if __name__ == "__main__":
    main()
