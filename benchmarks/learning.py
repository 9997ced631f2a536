"""Time to a score: digits learned from MNIST by Alphabar and by other libraries, from a cold start.

    python benchmarks/learning.py --mnist mnist.npz
    python benchmarks/learning.py --mnist mnist.npz --minutes 1 2 5 --seeds 0 1 2 --peers 5 25

Every run is a process of its own, and its time counts from the start of that process: imports, reading
the data and choosing how to run are part of it. Drawing the -n samples that are scored (digits_score.py)
is not. Alphabar runs `alphabar train MNIST --preset digits --minutes M` for each M. Each way of each peer
(WAYS, below) trains for the first of --peers minutes, and the one with the best score goes on to the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import digits_score
import numpy as np
import peers
from digits_quality import Score
from speed import written

import alphabar as ab

WAYS: dict[str, dict[str, Any]] = {
    "diffusers: the course's MNIST network, ε": {"library": "diffusers", "objective": "epsilon"},
    "diffusers: a leaner network, v, batch 32": {
        "library": "diffusers",
        "objective": "v_prediction",
        "batch": 32,
        "lean": True,
    },
    "denoising-diffusion-pytorch: dim 32, v, batch 32": {"library": "lucidrains", "batch": 32},
}
"""Ways of training on MNIST, all in bfloat16 with an average of the weights; see peers.Digits."""


def own(mnist: Path, minutes: float, seed: int, score: Score, n: int) -> dict[str, Any]:
    """Train for `minutes` by the command line, and score the default sampler's samples."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "alphabar", "train", str(mnist), "--preset", "digits"]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--minutes", str(minutes), "--seed", str(seed), "--out", str(run)],
            check=True,
            capture_output=True,
        )
        elapsed = time.perf_counter() - start
        model = ab.load(run)
    samples = ab.sample(model, n, seed=seed)
    return {
        "name": f"Alphabar: --minutes {minutes:g}",
        "seed": seed,
        "minutes": minutes,
        "seconds": elapsed,
        "images": model.about["images"],
        **score.of(samples.images, samples.told["class"]),
    }


def peer(name: str, mnist: Path, minutes: float, folder: Path, score: Score, n: int) -> dict[str, Any]:
    """Train this way until `minutes` (from where it stood before, if it did), and score its samples."""
    subprocess.run(
        [sys.executable, __file__, "--mnist", str(mnist), "--alone", name, str(minutes), str(folder)],
        env={**os.environ, "STARTED": str(time.time())},
        check=True,
    )
    digits = peers.Digits(**WAYS[name])
    digits.load(folder / "state.pt")
    images, labels = digits.draw(n)
    return {
        "name": name,
        "seed": 0,
        "minutes": minutes,
        "seconds": digits.seconds,
        "images": digits.images,
        **score.of(images, labels),
    }


def train_peer(name: str, mnist: Path, minutes: float, folder: Path) -> None:
    """In a process of its own: train until `minutes` since the process began are used, and save."""
    digits = peers.Digits(**WAYS[name])
    before = 0.0
    with contextlib.suppress(FileNotFoundError):
        digits.load(folder / "state.pt")
        before = digits.seconds
    with np.load(mnist) as archive:
        digits.data(archive["x_train"], archive["y_train"])
    started = float(os.environ["STARTED"])
    while digits.seconds < 60 * minutes:
        digits.step()
        digits.seconds = before + time.time() - started
    folder.mkdir(parents=True, exist_ok=True)
    digits.save(folder / "state.pt")


def table(rows: list[dict[str, Any]], n: int) -> str:
    """Means over seeds."""
    lines = [
        f"Fréchet distance of {n:,} samples to MNIST's test digits (real digits: {rows[0]['floor']:.3f}).",
        "",
        "| | time, s | images | distance | agreement |",
        "|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["minutes"]), []).append(row)
    for (name, _), found in groups.items():
        scores = [row["frechet"] for row in found]
        spread = f" ({min(scores):.3f} to {max(scores):.3f}, {len(scores)} seeds)" if len(scores) > 1 else ""
        mean = {
            key: statistics.fmean(row[key] for row in found) for key in ("seconds", "images", "agreement")
        }
        agreement = "" if math.isnan(mean["agreement"]) else f"{mean['agreement']:.1%}"
        lines.append(
            f"| {name} | {mean['seconds']:.0f} | {mean['images']:,.0f} | "
            f"{statistics.fmean(scores):.3f}{spread} | {agreement} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Time to a score on MNIST, beside other libraries.")
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 2, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--peers", type=float, nargs="*", default=[5, 25], help="minutes")
    parser.add_argument("--ways", nargs="*", default=[""], help="peers whose name has one of these in it")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "alphabar")
    parser.add_argument("--keep", type=Path, help="a folder in which the peers' states stay")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    if args.alone:
        name, minutes, folder = args.alone
        train_peer(name, args.mnist, float(minutes), Path(folder))
        return 0
    score, rows = Score(digits_score.load_mnist(args.mnist), args.n, args.cache), []

    def add(row: dict[str, Any]) -> dict[str, Any]:
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return row

    for minutes in args.minutes:
        for seed in args.seeds:
            add(own(args.mnist, minutes, seed, score, args.n))
    with tempfile.TemporaryDirectory() as folder:
        wanted = [name for name in WAYS if args.peers and any(part in name for part in args.ways)]
        folders = {name: (args.keep or Path(folder)) / str(i) for i, name in enumerate(wanted)}
        first = {
            name: add(peer(name, args.mnist, args.peers[0], at, score, args.n))
            for name, at in folders.items()
        }
        for minutes in args.peers[1:]:
            best = min(first, key=lambda name: first[name]["frechet"])
            add(peer(best, args.mnist, minutes, folders[best], score, args.n))
    text = table(rows, args.n)
    print(text)
    written(args.out, "learning", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
