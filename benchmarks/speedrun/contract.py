"""What an entry is asked, what it answers, and whether the answer may count.

    python entries/NAME.py --data PATH --dataset NAME --minutes M --seed S --out samples.npz -n 10000

An entry trains until M minutes have passed since its process was started, draws n samples in at most
MOST_EVALUATIONS evaluations of its network each, and writes them as an .npz with a text `about`: JSON of
`evaluations` (a sample), `images` (seen in training), `seconds` (of training, from the start of the process)
and `versions` (of what it used). An entry needs nothing of this module but that form.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from data import DATASETS, BadInputError, Part, arrays_of

MOST_EVALUATIONS = 20
LATE_SHARE, LATE_S = 0.05, 5.0
"""An entry may be late by this share of its minutes and these seconds: an update, a check, a file."""

STARTED = "SPEEDRUN_STARTED"
ABOUT = {"evaluations": (int,), "images": (int,), "seconds": (int, float), "versions": (list,)}


class Clock:
    """The training time: since the driver started the process, or since this was made without a driver."""

    def __init__(self, minutes: float) -> None:
        self.budget_s = 60 * minutes
        self.started = float(os.environ.get(STARTED, time.time()))

    def seconds(self) -> float:
        return time.time() - self.started

    def left(self) -> bool:
        return self.seconds() < self.budget_s


def arguments(about: str | None, datasets: tuple[str, ...]) -> tuple[argparse.Namespace, Clock]:
    """What an entry is asked, of those data sets that it can learn, and its clock."""
    parser = argparse.ArgumentParser(description=(about or "").strip().split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the training part, as the driver made it")
    parser.add_argument("--dataset", choices=datasets, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training, imports and all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the .npz that is written")
    parser.add_argument("-n", type=int, default=10_000, help="samples (default: %(default)s)")
    args = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    return args, Clock(args.minutes)


def write(
    out: Path,
    arrays: dict[str, np.ndarray],
    *,
    evaluations: int,
    images: int,
    seconds: float,
    packages: tuple[str, ...],
) -> None:
    """The answer: `samples` and `classes` of pictures, or the columns of a table, and the facts."""
    versions = [f"{name} {version_of(name)}" for name in packages]
    about = {"evaluations": evaluations, "images": images, "seconds": seconds, "versions": versions}
    with out.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def version_of(package: str) -> str:
    """As the module says it, or as it was installed."""
    module = sys.modules.get(package.replace("-", "_"))
    return getattr(module, "__version__", None) or importlib.metadata.version(package)


def check(dataset: str, path: Path, n: int, minutes: float) -> tuple[Part, dict[str, Any]]:
    """The samples of an answer and what it states, if it may count.

    Raises:
        BadInputError: it may not; says what was received, what is accepted and what to do.
    """
    arrays = arrays_of(path, "an .npz that an entry wrote")
    about = _about(arrays, path)
    if not 0 <= about["evaluations"] <= MOST_EVALUATIONS:
        raise BadInputError(
            f"{path}: got {about['evaluations']} evaluations a sample; accepted are at most "
            f"{MOST_EVALUATIONS}: let the sampler take fewer steps"
        )
    longest_s = 60 * minutes * (1 + LATE_SHARE) + LATE_S
    if not 0 <= about["seconds"] <= longest_s:
        raise BadInputError(
            f"{path}: got {about['seconds']:.0f} seconds of training; accepted are at most {longest_s:.0f} "
            f"for {minutes:g} minutes: stop earlier, imports and reading count"
        )
    part = DATASETS[dataset].encoded(arrays, path)
    if len(part.samples) != n:
        raise BadInputError(
            f"{path}: got {len(part.samples)} samples; accepted are {n}: draw as many as -n says"
        )
    return part, about


def _about(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    accepted = f"JSON of {', '.join(ABOUT)} as the text `about`: see contract.write"
    try:
        about = json.loads(str(arrays["about"]))
        wrong = [name for name, kinds in ABOUT.items() if not isinstance(about[name], kinds)]
    except (LookupError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: got no such facts ({error}); accepted is {accepted}") from None
    if wrong:
        raise BadInputError(f"{path}: got {wrong[0]} = {about[wrong[0]]!r}; accepted is {accepted}")
    return about
