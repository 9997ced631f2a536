"""What a few samples tell of a model: cheap scores of 64 samples, for every checkpoint of runs.

    python benchmarks/glance.py digits runs/digits [RUNS ...]

Prints, for the averaged model in each checkpoint and each seed, the distances of 64 samples of 6 evaluations
to 2,000 training pictures. A score is worth having in training if it falls from line to line whatever the
seed, and by more than its spread over seeds.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np

from alphabar import load, make_plan, prepare, sample
from alphabar.evaluation import frechet_distance, kid, sliced_wasserstein
from alphabar.evaluation.features import pixels, untrained
from alphabar.evaluation.levels import spread
from alphabar.files import load_tensors
from alphabar.training.watch import EVALUATIONS, PICTURES, REFERENCE

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
    ways = {"pixels": pixels(data.spec), "untrained": untrained(data)}
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
    for i in range(min(3, len(fresh) // PICTURES)):
        tell("held-out pictures", np.asarray(data.images[fresh[PICTURES * i : PICTURES * (i + 1)]]))
    for run in args.runs:
        model = load(run)
        for path in sorted((run / "checkpoints").glob("step-*.safetensors")):
            tensors, facts, _ = load_tensors(path)
            average = copy.deepcopy(model)
            average.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("ema.")})
            plan = make_plan(average.schedule, steps=EVALUATIONS)
            for seed in args.seeds:
                drawn = sample(average, PICTURES, seed=seed, plan=plan)
                tell(f"{run.name}, {facts['images']:,} images, seed {seed}", drawn.images)


if __name__ == "__main__":
    main()
