"""Runs with one fault each, made on purpose, and what `diagnose` names first.

    python benchmarks/faults.py --out faults.md

Small runs of a small network on the digits that a package ships: a healthy one, and one for each fault,
by a setting, in the data or in the file. Some fifteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import alphabar as ab
from alphabar.files import load_tensors, save_tensors

IMAGES = 8_000


class Fault(NamedTuple):
    """What is done to a run, and the cause that should be named for it."""

    cause: str
    settings: dict[str, Any] = {}  # noqa: RUF012
    data: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    range: tuple[float, float] | None = None
    spoil: Callable[[Path], None] | None = None


def half_black(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = images.copy()
    images[::2] = 0
    return images, labels


def shuffled(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images, np.random.default_rng(0).permutation(labels)


def hundred(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(images))[:105]
    return images[chosen], labels[chosen]


def unit(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (images / 255).astype(np.float32), labels


def not_finite(run: Path) -> None:
    tensors, facts, _ = load_tensors(run / "model.safetensors")
    tensors["middle.blocks.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_tensors(run / "model.safetensors", tensors, facts)


FAULTS = {
    "a NaN among the weights": Fault("the weights are not finite", spoil=not_finite),
    "half of the pictures black": Fault("the data are not what they should be", data=half_black),
    "values of 0..1 declared as 0..255": Fault("value range mismatch", data=unit, range=(0, 255)),
    "the paper's beta with T = 100": Fault(
        "the schedule stops before the sample is gone",
        {"schedule": {"name": "linear", "T": 100, "beta_min": 1e-4, "beta_max": 0.02}},
    ),
    "T = 3": Fault("the schedule is too short", {"schedule": {"name": "sigmoid", "T": 3}}),
    "rate 0.3": Fault("the learning rate is too high", {"lr": 0.3}),
    "rate 1e-6": Fault("the learning rate is too low", {"lr": 1e-6}),
    "an average over 5 million images": Fault(
        "the average of the weights is too long for the run", {"ema_halflife": 5e6, "ema_ramp": 100.0}
    ),
    "labels shuffled": Fault("the class is ignored", data=shuffled),
    "eps and the simple loss, stopped early": Fault(
        "under-trained at high noise", {"prediction": "eps", "loss": "simple", "images": 3200}
    ),
    "x_0 and its plain loss": Fault("under-trained at low noise", {"prediction": "x0", "loss": "x0"}),
    "100 pictures, 400 times each": Fault("it repeats its training pictures", {"images": 40_000}, hundred),
}
LEARNING = {"network": {"num_res_blocks": 1, "attention_levels": []}, "batch_size": 32, "warmup_images": 3000}
HEALTHY = {"nothing": Fault("")}


def made(fault: Fault, folder: Path) -> tuple[Path, ab.Dataset]:
    """Train the run and put the fault in."""
    data = ab.prepare("digits")
    if fault.data is not None:
        images, labels = fault.data(np.asarray(data.images)[:, 0], data.values["class"])
        np.savez(folder / "data.npz", images=images, labels=labels)
        data = ab.prepare(folder / "data.npz", range=fault.range)
    run = folder / "run"
    settings = {
        **LEARNING,
        "images": IMAGES,
        "precision": "bfloat16",
        "channels_last": False,
        **fault.settings,
    }
    for _ in ab.train(data, run, **settings):
        pass
    if fault.spoil is not None:
        fault.spoil(run)
    return run, data


def main() -> int:
    parser = argparse.ArgumentParser(description="What diagnose says of runs with known faults.")
    parser.add_argument("--only", nargs="*", help="faults whose name has one of these in it")
    parser.add_argument("--out", type=Path, help="write the table here")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["| fault | named first | evidence | also |", "|---|---|---|---|"]
    right = total = 0
    for name, fault in (HEALTHY | FAULTS).items():
        if args.only and not any(part in name for part in args.only):
            continue
        folder = Path(tempfile.mkdtemp())
        start = time.perf_counter()
        try:
            run, data = made(fault, folder)
            trained = time.perf_counter()
            found = ab.diagnose(run, data).findings
        finally:
            shutil.rmtree(folder)
        first = found[0].cause if found else ""
        right, total = right + (first == fault.cause), total + 1
        evidence = found[0].evidence if found else ""
        also = "; ".join(finding.cause for finding in found[1:])
        lines.append(f"| {name} | {first or 'nothing'} | {evidence} | {also} |")
        took = f"{trained - start:.0f} s to train, {time.perf_counter() - trained:.0f} s to diagnose"
        print(f"{'right' if first == fault.cause else 'WRONG'}: {lines[-1]} {took}", flush=True)
    lines.append(f"\n{right} of {total} as they should be.")
    print(lines[-1])
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if right == total else 1


if __name__ == "__main__":
    sys.exit(main())
