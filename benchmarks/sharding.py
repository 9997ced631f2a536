"""What memory each process takes between updates, or at most with saves, with the whole of a network and
with a shard of it.

    python -m torch.distributed.run --nproc-per-node 2 benchmarks/sharding.py            # exact
    python -m torch.distributed.run --nproc-per-node 2 benchmarks/sharding.py off        # PyTorch's own, DDP
    python -m torch.distributed.run --nproc-per-node 2 benchmarks/sharding.py sharded    # FSDP2
    … --saving                                                                           # at most, with saves

A transformer of --channels and --blocks is trained for ten updates of four small pictures, so that what is
counted is weights and what belongs to them, beside 300 MiB or so of Python and PyTorch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import alphabar as ab

WAYS = {"exact": {}, "off": {"exact_processes": "off"}, "sharded": {"sharded": True}}


def memory_mib(at_most: bool) -> list[float]:
    """What each of the processes that torchrun began has now, or had at most, by their numbers."""
    words = ["ps", "-o", "pid=", "--ppid", str(os.getppid()), "--sort", "pid"]
    found = subprocess.run(words, capture_output=True, text=True).stdout.split()
    entry = "VmHWM" if at_most else "VmRSS"
    texts = [Path(f"/proc/{process}/status").read_text() for process in found]
    return [int(text.partition(f"{entry}:")[2].split()[0]) / 1024 for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("way", nargs="?", choices=WAYS, default="exact")
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--saving", action="store_true")
    args = parser.parse_args()
    pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    data = ab.prepare(pictures)
    network = {
        "name": "vit",
        "channels": args.channels,
        "head_channels": 64,
        "blocks": args.blocks,
        "patch": 4,
    }
    with tempfile.TemporaryDirectory() as folder:
        for row in ab.train(
            data, f"{folder}/run", network=network, optimizer=args.optimizer, images=400, batch_size=4,
            precision="float32", channels_last=False, previews=False,
            save_minutes=0.0 if args.saving else 60.0, **WAYS[args.way],
        ):  # fmt: skip
            if row["step"] == 10:
                shown = ", ".join(f"{mib:,.0f}" for mib in memory_mib(args.saving))
                print(f"{args.way}: {shown} MiB")
                break


if __name__ == "__main__":
    main()
