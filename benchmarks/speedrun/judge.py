"""Judge samples of a data set of the speedrun.

    python benchmarks/speedrun/judge.py mnist samples.npz --data mnist.npz
    python benchmarks/speedrun/judge.py mnist FOLDER --data mnist.npz --json     # as alphabar sample wrote it

A small classifier is trained on the training part from a fixed seed and kept in the folder --cache. It maps
a sample to probabilities p of the classes and to 64 features f, all divided by the one number that gives the
test part's features a mean variance of 1.

distance    Fréchet distance of the samples' features from those of the test part,
            |m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2) for means m and covariances S, where
            tr sqrt(S1 S2) = sum sqrt(eigenvalues of S1^1/2 S2 S1^1/2)
floor       the same distance of n samples of the training part, mean and standard deviation over 5 draws:
            what perfect samples would get; it falls with n, so compare distances only at one n
agreement   the share of samples whose argmax p is the class that was asked for (of rows of a table: the
            class that stands in the row); beside it the classifier's accuracy on the test part
sure        the share with max p > 0.9; beside it that of the test part

The distance is this classifier's, not the FID of Inception features: the two don't compare. Every seed is
fixed: one machine and one thread count give one classifier, whose weights' SHA-256 is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import classifier, digest, evaluate
from data import DATASETS, BadInputError, Part, Table, arrays_of

DRAWS = 5
CACHE = Path.home() / ".cache" / "alphabar" / "speedrun"


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2) of two sets of features, (n, d) and (m, d)."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross)


class Judge:
    """The classifier of a data set, and what it makes of the real samples, each computed once.

    Args:
        name: of the data set.
        path: the whole data set, as DATASETS says it.
        cache: a folder that keeps the classifier and the features of real samples.
    """

    def __init__(self, name: str, path: Path, cache: Path = CACHE) -> None:
        self.name, self.dataset, self.path = name, DATASETS[name], path
        train, test = (self.dataset.read(path, part) for part in ("train", "test"))
        self.net, file = classifier(name, train.samples, train.classes, cache)
        self.sha256 = digest(self.net)
        kept = file.with_suffix(".features.npz")
        if not kept.exists():
            real = [evaluate(self.net, part.samples) for part in (train, test)]
            np.savez(kept.with_suffix(".part.npz"), train=real[0][0], test=real[1][0], p=real[1][1])
            kept.with_suffix(".part.npz").replace(kept)
        real_of = arrays_of(kept, "what the judge wrote: delete it")
        self.unit = np.sqrt(real_of["test"].var(0).mean())
        self.train, self.test = real_of["train"] / self.unit, real_of["test"] / self.unit
        self.accuracy = float((real_of["p"].argmax(1) == test.classes).mean())
        self.real_sure = float((real_of["p"].max(1) > 0.9).mean())

    def floor(self, n: int) -> dict[str, float]:
        """Mean and standard deviation of the distance of n training samples, over 5 draws."""
        if not 2 <= n <= len(self.train):
            raise BadInputError(
                f"got {n} samples; accepted are 2 to {len(self.train)}, as many as there are real ones"
            )
        rng = np.random.default_rng(0)
        draws = [self.train[rng.choice(len(self.train), n, replace=False)] for _ in range(DRAWS)]
        found = [frechet_distance(draw, self.test) for draw in draws]
        return {"mean": float(np.mean(found)), "std": float(np.std(found, ddof=1))}

    def score(self, part: Part) -> dict[str, Any]:
        """The figures of samples, and of the classes that were asked for if they were."""
        features, p = evaluate(self.net, part.samples)
        told = len(part.classes) > 0
        return {
            "n": len(features),
            "distance": frechet_distance(features / self.unit, self.test),
            "agreement": float((p.argmax(1) == part.classes).mean()) if told else None,
            "sure": float((p.max(1) > 0.9).mean()),
        }

    def about(self) -> dict[str, Any]:
        """What the judge itself is."""
        return {"sha256": self.sha256, "accuracy": self.accuracy, "real_sure": self.real_sure}


def arrays_at(path: Path, dataset: Any) -> dict[str, np.ndarray]:
    """The arrays of a samples.npz, or those of a folder as alphabar sample writes it."""
    if not path.is_dir():
        return arrays_of(path, "an .npz by the contract, or a folder that alphabar sample wrote")
    try:
        if isinstance(dataset, Table):
            return dataset.table(path / "samples.csv")
        told = json.loads((path / "samples.json").read_text())["told"].get("class")
        arrays = {"samples": np.load(path / "samples.npy")}
        return arrays if told is None else {**arrays, "classes": dataset.numbers(told)}
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: got {error}; accepted is a folder that alphabar sample wrote") from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge samples of a data set of the speedrun.")
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument(
        "samples", type=Path, nargs="?", help=".npz or folder; none: the judge and its floors alone"
    )
    parser.add_argument("--data", type=Path, required=True, help="the whole data set")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="keeps the classifier (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        judge = Judge(args.dataset, args.data, args.cache)
        figures: dict[str, Any] = judge.about()
        if args.samples:
            arrays = arrays_at(args.samples, judge.dataset)
            part = judge.dataset.encoded(arrays, args.samples)
            figures |= {"floor": judge.floor(len(part.samples)), **judge.score(part)}
        else:
            figures["floors"] = {n: judge.floor(n) for n in (1000, 2000, 5000, 10_000)}
    except BadInputError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=2) if args.json else shown(figures))
    return 0


def shown(f: dict[str, Any]) -> str:
    """The figures as lines for people."""
    lines = [f"judge       {f['sha256']}", f"accuracy    {f['accuracy']:.4f} on the test part"]
    for n, floor in f.get("floors", {}).items():
        lines.append(f"floor       {floor['mean']:.4f} ± {floor['std']:.4f} for n = {n}")
    if "n" in f:
        lines += [
            f"samples     {f['n']}",
            f"distance    {f['distance']:.4f}",
            f"floor       {f['floor']['mean']:.4f} ± {f['floor']['std']:.4f} (real samples)",
            *(
                []
                if f["agreement"] is None
                else [f"agreement   {f['agreement']:.4f} (real {f['accuracy']:.4f})"]
            ),
            f"sure        {f['sure']:.4f} (real {f['real_sure']:.4f})",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
