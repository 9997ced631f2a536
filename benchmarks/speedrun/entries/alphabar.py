"""Alphabar, as a newcomer runs it: `alphabar train DATA --minutes M`, and its default sampler."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.pop(0)  # a file here has the name of a library
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from contract import arguments, write
from data import DATASETS, Pictures


def main() -> None:
    args, clock = arguments(__doc__, tuple(DATASETS))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPHABAR_CACHE"] = f"{folder}/cache"  # reading counts, whoever has read it before
        words = ["train", args.data, "--minutes", args.minutes, "--seed", args.seed, "--out", f"{folder}/run"]
        alphabar(*words)
        seconds = clock.seconds()

        import alphabar as ab

        model, dataset = ab.load(f"{folder}/run"), DATASETS[args.dataset]
        samples = ab.sample(model, args.n, seed=args.seed)
        if isinstance(dataset, Pictures):
            arrays = {"samples": samples.images, "classes": dataset.numbers(samples.told["class"])}
        else:
            arrays = columns(samples)
    write(
        args.out,
        arrays,
        evaluations=samples.facts["evaluations"],
        images=model.about["images"],
        seconds=seconds,
        packages=("alphabar", "torch"),
    )


def alphabar(*words: Any) -> None:
    """Run a command of Alphabar, and show what it says."""
    subprocess.run([sys.executable, "-m", "alphabar", *map(str, words)], check=True, stdout=sys.stderr)


def columns(samples: Any) -> dict[str, Any]:
    """The columns of rows, as they would stand in a .csv."""
    import numpy as np

    found = {}
    for name, column, values in zip(
        samples.space.names, samples.space.columns, samples.images.T, strict=True
    ):
        texts = np.array(list(column.texts(values)))
        found[name] = texts if column.kind == "category" else texts.astype(np.float64)
    return found


if __name__ == "__main__":
    main()
