"""Each command that writes, small, in a folder that has what it needs; and what it leaves, to compare."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np

import breaking
from alphabar.files import json_lines
from program import TINY, pictures

SMALL = [word.replace("channels=16", "channels=8").replace("mult=[1,2]", "mult=[1]") for word in TINY]
SMALL += ["--set", "network.attention_levels=[]"]
ONE = ["-n", 2, "--steps", 1]
DRAWN = ["--out", "drawn"]

COMMANDS = {
    "data": ["data", "fresh"],
    "data of an array": ["data", "array.npz"],
    "data --out": ["data", "pets", "--out", "sheet.png"],
    "data --clear": ["data", "--clear"],
    "train": ["train", "fresh", "--out", "new", *SMALL, "--images", 16],
    "train resumed": ["train", "pets", "--out", "part", *SMALL, "--images", 24],
    "train longer": ["train", "pets", "--out", "run", *SMALL, "--images", 24],
    "train --from": ["train", "pets", "--out", "new", "--from", "run", *SMALL, "--images", 8],
    "train --fork": ["train", "pets", "--out", "run", "--fork", "new", "--images", 24],
    "sample": ["sample", "run", *ONE],
    "sample --out": ["sample", "run", *ONE, "--out", "drawn"],
    "sample --trajectory": ["sample", "run", *ONE, "--trajectory", "--out", "drawn"],
    "sample continued": ["sample", "run", "-n", 18, "--steps", 1, "--out", "unfinished"],
    "edit vary": ["edit", "vary", "run", "pets/00.png", "--t", 50, *ONE],
    "edit vary --out": ["edit", "vary", "run", "pets/00.png", "pets/01.png", "--t", 50, *ONE, *DRAWN],
    "edit interpolate": ["edit", "interpolate", "run", "pets/00.png", "pets/01.png", *ONE, "--by", "noise"],
    "edit inpaint": ["edit", "inpaint", "run", "pets/00.png", "left", *ONE],
    "edit upscale": ["edit", "upscale", "run", "pets/00.png", "--factor", 2, "--whole", *ONE, *DRAWN],
    "edit colorize": ["edit", "colorize", "run", "pets/00.png", "--whole", *ONE],
    "edit deblur": ["edit", "deblur", "run", "pets/00.png", *ONE],
    "eval": ["eval", "run", "-n", 12, "--steps", 1],
    "eval --out": ["eval", "run", "-n", 12, "--steps", 1, "--features", "untrained", "--out", "card.json"],
    "report": ["report", "run", "-n", 12, "--features", "untrained"],
    "report --out": ["report", "run", "-n", 12, "--features", "untrained", "--out", "page.html"],
    "diagnose": ["diagnose", "run", "-n", 12],
    "show schedule": ["show", "schedule", "--out", "schedule.png", "--picture", "pets/00.png", "--size", 8],
    "show plan": ["show", "plan", "run", "--out", "plan.json"],
    "fit-sampler": ["fit-sampler", "run", "--steps", 2, "--noises", 8],
    "fit-sampler --variance": ["fit-sampler", "run", "--variance", "--noises", 4, "--out", "fit.safetensors"],
}  # fmt: skip
REFUSED_AGAIN = re.compile(r"exists already; choose another name|is not empty; choose a new folder")
"""What a command says that was broken when all was written."""
CLOCK = {"time", "seconds", "took_s", "spent_s", "elapsed_s", "images_per_s", "id", "mtime_ns"}


def original(place):
    """Pictures, an array, and a finished run."""
    here = place / "here"
    pictures(here / "pets", 26, channels=3)
    pictures(here / "fresh", 12, seed=1, channels=3)
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8))
    np.savez(here / "array.npz", images=images, labels=[0, 1] * 20)
    code, printed, _ = breaking.run(["train", "pets", "--out", "run", *SMALL, "--images", 16], place)
    assert code == 0, printed
    return place


BEGUN = {"train resumed": "part", "sample continued": "unfinished"}
"""What a command goes on with, in `here`."""


def begin(name, place):
    """Half of what a command does, on its way in its folder and then killed."""
    folder, calls = place / "here" / BEGUN[name], []
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        if name == "train resumed":
            shutil.copytree(place / "here/run", folder)
        _, _, calls = breaking.run(COMMANDS[name], place, at=len(calls) // 2)  # 0 at first: to its end


def contents(place):
    """What is there, by name, without the clock's part in it."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_file():
            found[name] = _timeless(path)
        elif not any(path.iterdir()):
            found[name] = "an empty folder"
    return found


def _timeless(path):
    content = path.read_bytes()
    if path.suffix == ".json":
        return _without(json.loads(content))
    if path.name == "times.jsonl":
        return [row["step"] for row in json_lines(path)][-1:]
    if path.suffix == ".html":
        assert content.rstrip().endswith(b"</html>")
        return "a whole page"
    return content


def _without(value):
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in CLOCK}
    return [_without(inner) for inner in value] if isinstance(value, list) else value
