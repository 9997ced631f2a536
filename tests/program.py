"""The program as a person calls it, small pictures to call it on, and what it leaves behind."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from alphabar.cli import main
from tiny import SET_EXECUTION

TINY = [
    "--batch", "8", "--T", "100", "--schedule", "linear", "--set", "network.channels=16",
    "--set", "network.groups=8", "--set", "network.num_res_blocks=1", "--set", "network.channel_mult=[1,2]",
    *SET_EXECUTION,
    "--set", "warmup_images=0", "--set", "save_minutes=0",
]  # fmt: skip
"""A small network that saves after every update."""


def call(*arguments):
    """The exit code of the program."""
    before = sys.argv
    sys.argv = ["alphabar", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    return 0


def contents(folder):
    """Name and bytes of every file, but for locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def pictures(folder, n=12, side=8, seed=0, channels=1):
    """A folder of pictures of noise."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        array = generator.integers(0, 256, (side, side, channels), dtype=np.uint8)
        Image.fromarray(array[..., 0] if channels == 1 else array).save(folder / f"{i:02d}.png")
    return folder
