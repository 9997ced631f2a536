"""What exactness and saving cost in several processes, in one run against PyTorch's own way and against none.

    python benchmarks/processes.py DATA --processes 2 --seconds 15 --rounds 3

Each row trains the same network from nothing, one after another, a round of all at a time; the figures are
images a second while it trains, the mean and the extremes of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rows(processes: int) -> dict[str, list[str]]:
    """What is compared, and its options."""
    several, virtual = ["--processes", str(processes)], ["--virtual-processes", str(processes)]
    seldom, often = (["--set", f"save_minutes={minutes}"] for minutes in (60, 0.05))
    return {
        f"1 process, {CORES} threads": seldom,
        f"1 process of {processes} virtual ones": [*virtual, *seldom],
        f"{processes} processes, exact": [*several, *seldom],
        f"{processes} processes, PyTorch's own": [*several, "--exact-processes", "off", *seldom],
        f"1 process, {CORES} threads, saved each 3 s": often,
    }


def images_per_s(data: str, options: list[str], minutes: float) -> float:
    """Of one training; what comes before its first update and after its last is none of it."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "train",
            data,
            "--out",
            f"{folder}/run",
            "--minutes",
            str(minutes),
            "--no-previews",
            *options,
        ]
        subprocess.run([sys.executable, "-m", "alphabar", *words], check=True, stderr=subprocess.DEVNULL)
        times = Path(folder, "run", "times.jsonl").read_text().splitlines()
    return json.loads(times[-1])["images_per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=48)
    args = parser.parse_args()
    common = ["--batch", "64", "--precision", "bfloat16", "--set", "channels_last=false"]
    common += ["--set", f"network.channels={args.channels}", "--set", "network.num_res_blocks=1"]
    common += ["--set", "network.attention_levels=[]"]
    found: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for name, options in rows(args.processes).items():
            found.setdefault(name, []).append(images_per_s(args.data, [*common, *options], args.seconds / 60))
    for name, rates in found.items():
        print(f"{name:<45} {statistics.mean(rates):8.1f}  ({min(rates):.1f} … {max(rates):.1f})")


if __name__ == "__main__":
    main()
