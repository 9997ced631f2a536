"""What hostile files and hostile options are tried on: made once, with next to no training, and copied."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import alphabar
from alphabar.model import load, save
from alphabar.sampling import Guidance, store_plan
from alphabar.theory.plans import make_plan
from commands import SMALL
from program import call, pictures

TRAIN = ["train", "pets", "--out", "run", "--images", 16, *SMALL]


def make(place):
    """Pictures of two classes, others, a run with a fitted plan, another model, a plan's file, samples,
    labels, a table of series, an array, archives.
    """
    before = Path.cwd()
    place.mkdir()
    os.chdir(place)
    try:
        for seed, name in enumerate(("cats", "dogs")):
            pictures(place / "pets" / name, 20, seed=seed, channels=3)
        shutil.copytree("pets", "others")
        pictures(place / "others/cats", 20, seed=7, channels=3)
        pictures(place, 1, side=4, channels=3)
        pictures(place / "faint", 4, channels=4)
        pictures(place / "torn", 4)
        Path("moving").mkdir()
        first, second = (Image.open(f"pets/cats/0{i}.png") for i in range(2))
        first.save("moving/00.gif", save_all=True, append_images=[second])
        Path("torn/00.png").write_bytes(b"a picture that was cut")
        names = sorted(path.relative_to("pets").as_posix() for path in Path("pets").rglob("*.png"))
        rows = [f"{name},{i % 3}" for i, name in enumerate(names)]
        Path("ages.csv").write_text("\n".join(["file_name,age", *rows]) + "\n")
        rows = [f"{i // 8},{i % 8},{i % 5}" for i in range(160)]
        Path("rows.csv").write_text("\n".join(["id,at,value", *rows]) + "\n")
        np.save("waves.npy", np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32))
        for name in ("cats", "dogs"):
            shutil.make_archive(f"shards/{name}", "zip", f"pets/{name}")
        assert call(*TRAIN) == 0
        model = load("run/model.safetensors", "cpu")
        plan = make_plan(model.schedule, "ddim", 2)
        plan.made_by["guidance"] = Guidance().facts()
        store_plan(model, plan)
        model.x0_mse = ([1.0, 50.0, 100.0], [0.01, 0.4, 0.5])
        torch.manual_seed(0)
        for parameter in model.net.parameters():  # so that it says more than what weights of 0 say
            parameter.add_(0.2 * torch.randn_like(parameter))
        save(model, "run/model.safetensors")
        other = load("run", "cpu")
        for parameter in other.net.parameters():
            parameter.mul_(1.1)
        save(other, "other.safetensors")
        assert call("show", "plan", "run", "--steps", 3, "--out", "plan.json") == 0
        assert call("sample", "run", "-n", 20, "--steps", 1, "--out", "samples") == 0
    finally:
        os.chdir(before)
    return place


def copy(world, place):
    """A copy of the world, in place of what is there; become its visitor."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world, place)
    os.chdir(place)
    return place


def read_in():
    """Import all that commands import when they need it, so that forks of this process have it."""
    for module in pkgutil.walk_packages(alphabar.__path__, "alphabar."):
        if not module.name.startswith("alphabar.kernels."):  # which need Triton
            importlib.import_module(module.name)
