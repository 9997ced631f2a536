"""Run entries of the speedrun, judge them, and keep a line for each in results/DATASET.jsonl.

    python benchmarks/speedrun/run.py --dataset mnist --data mnist.npz --minutes 5
    python benchmarks/speedrun/run.py --dataset mnist --data mnist.npz --minutes 5 --entries alphabar
    python benchmarks/speedrun/run.py --table                  # the tables of README.md, from all lines

Every entry is a process of its own, one after the other, and gets the training part alone. Its time counts
from the start of the process; drawing the samples and judging them doesn't. README.md has the rules.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from board import with_tables
from contract import STARTED, check
from data import DATASETS, BadInputError
from judge import CACHE, Judge

HERE = Path(__file__).resolve().parent
PICTURES = ("mnist", "fashion", "cifar10")
ENTRIES = {
    "alphabar": tuple(DATASETS),
    "diffusers_lean": PICTURES,
    "denoising_diffusion_pytorch": PICTURES,
    "smalldiffusion": PICTURES,
    "gaussian_copula": ("diamonds",),
}
"""The files in entries/, and the data sets that each can learn."""

GRID = 10


def machine() -> dict[str, Any]:
    """The processor's name, PyTorch's threads, and what networks run on."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        found = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = found[0].partition(":")[2].strip() if found else name
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"cpu": name, "threads": torch.get_num_threads(), "device": device}


def commit() -> str | None:
    """The state of this repository, if it is one."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or None


def command_of(args: argparse.Namespace, entry: str, seed: int) -> str:
    """What makes this very row again; of paths the name alone."""
    return (
        f"python benchmarks/speedrun/run.py --dataset {args.dataset} --data {args.data.name} "
        f"--minutes {args.minutes:g} --entries {entry} --seeds {seed} -n {args.n}"
    )


def attempt(args: argparse.Namespace, entry: str, seed: int, judge: Judge, given: Path) -> dict[str, Any]:
    """Run one entry with one seed, and judge what it wrote.

    Raises:
        BadInputError: the entry failed, or broke a rule.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.npz"
        asked = {"data": given, "dataset": args.dataset, "minutes": args.minutes, "seed": seed, "out": out}
        words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
        start = time.time()
        done = subprocess.run(
            [sys.executable, HERE / "entries" / f"{entry}.py", *words, "-n", str(args.n)],
            env={**os.environ, STARTED: str(start)},
        )
        elapsed_s = time.time() - start
        if done.returncode:
            raise BadInputError(f"ended with {done.returncode}; see what it said above")
        part, about = check(args.dataset, out, args.n, args.minutes)
        keep_grid(part.samples, args.keep / f"{args.dataset}_{entry}_{args.minutes:g}min_{seed}.png")
    floor = judge.floor(args.n)
    return {
        "entry": entry,
        "dataset": args.dataset,
        "minutes": args.minutes,
        "seed": seed,
        **about,
        "elapsed_s": elapsed_s,
        **judge.score(part),
        "floor": floor["mean"],
        "floor_std": floor["std"],
        "judge": judge.sha256,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "command": command_of(args, entry, seed),
    }


def keep_grid(pictures: np.ndarray, path: Path) -> None:
    """The first 100 of (n, C, H, W) uint8 as one picture; rows of a table have none."""
    if pictures.ndim != 4:
        return
    from PIL import Image

    first = pictures[: GRID**2]
    first = np.concatenate([first, np.zeros((GRID**2 - len(first), *first.shape[1:]), np.uint8)])
    _, c, h, w = first.shape
    grid = first.reshape(GRID, GRID, c, h, w).transpose(0, 3, 1, 4, 2).reshape(GRID * h, GRID * w, c)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.squeeze(-1) if c == 1 else grid).save(path)


def write_tables(results: Path, page: Path) -> None:
    """The tables of the page, from all lines of the results."""
    files = sorted(results.glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    page.write_text(with_tables(page.read_text(), rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run entries of the speedrun, and judge them.")
    add = parser.add_argument
    add("--dataset", choices=DATASETS)
    add("--data", type=Path, help="the whole data set, in the form that README.md says")
    add("--minutes", type=float, help="of training")
    add("--entries", nargs="+", choices=ENTRIES, help="default: all that can learn the data set")
    add("--seeds", type=int, nargs="+", default=[0])
    add("-n", type=int, default=10_000, help="samples (default: %(default)s, as the rules want)")
    add("--cache", type=Path, default=CACHE, help="keeps the judges (default: %(default)s)")
    add("--keep", type=Path, default=CACHE / "samples", help="for grids of samples (default: %(default)s)")
    add("--results", type=Path, default=HERE / "results", help="for the lines (default: %(default)s)")
    add("--table", action="store_true", help="write the tables of README.md again from all lines")
    args = parser.parse_args()
    missing = [f"--{name}" for name in ("dataset", "data", "minutes") if getattr(args, name) is None]
    if missing and not args.table:
        parser.error(f"say {', '.join(missing)} as well, or --table alone")
    args.entries = args.entries or [name for name, known in ENTRIES.items() if args.dataset in known]
    return args


def main() -> int:
    args, failed = arguments(), 0
    if args.dataset is not None:
        try:
            judge = Judge(args.dataset, args.data, args.cache)
            given = DATASETS[args.dataset].for_entries(args.data, args.cache)
            judge.floor(args.n)
        except BadInputError as error:
            print(f"run: {error}", file=sys.stderr)
            return 2
        args.results.mkdir(parents=True, exist_ok=True)
        for seed in args.seeds:
            for entry in args.entries:
                try:
                    row = attempt(args, entry, seed, judge, given)
                except BadInputError as error:
                    print(f"run: {entry}, seed {seed}: {error}", file=sys.stderr, flush=True)
                    failed = 1
                    continue
                line = json.dumps(row, ensure_ascii=False)
                print(line, flush=True)
                with (args.results / f"{args.dataset}.jsonl").open("a") as file:
                    file.write(line + "\n")
    if args.table:
        write_tables(args.results, HERE / "README.md")
    return failed


if __name__ == "__main__":
    sys.exit(main())
