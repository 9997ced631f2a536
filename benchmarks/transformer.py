"""The transformer beside the U-Net: what each learns in equal seconds of the processor.

    OMP_NUM_THREADS=1 python benchmarks/transformer.py DATA [--seconds 120] [--patches 4 8] [--set crop=32]
    OMP_NUM_THREADS=1 python benchmarks/transformer.py DATA --images 1024

Each row trains once, its rate falling to the end: for so many images, or for as many as fit into the seconds,
of which a few updates are timed first. Printed are weights, images, seconds, the held-out loss at the end,
with v's weight whatever is predicted, and the Fréchet distance of 500 samples with 12 evaluations in features
learned on the data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import numpy as np

import alphabar as ab
from alphabar.evaluation.features import Features, learned_features
from alphabar.evaluation.scores import frechet_distance
from alphabar.model.whole import of_crops
from alphabar.runs.monitor import held_out_loss
from alphabar.training.fitted import config_for
from alphabar.training.trainer import Trainer

QUICK = {"num_res_blocks": 1, "attention_levels": []}
FAST = {"network": {**QUICK, "channels": 32}, "lr": 4e-3}
CLEAN = {"prediction": "x0", "loss": "clipped"}
V = {"prediction": "v", "loss": "v"}
ADAMW = {"optimizer": "adamw", "lr": 1e-3}


def rows(patches: list[int], channels: int, blocks: int) -> dict[str, dict[str, Any]]:
    """Settings by name."""
    found: dict[str, dict[str, Any]] = {
        "unet": {},
        "unet, 1 block": {"network": QUICK},
        "unet, 1 block, 32 channels": FAST,
        "unet, 1 block, 32 channels, x0": {**FAST, **CLEAN},
    }
    for patch in patches:
        coarse = {**FAST["network"], "patch": patch}
        found[f"unet, 1 block, 32 channels, patch {patch}, x0"] = {**FAST, "network": coarse, **CLEAN}
        net = {"network": {"name": "vit", "channels": channels, "blocks": blocks, "patch": patch}}
        found |= {
            f"vit, patch {patch}, v": {**net, **V},
            f"vit, patch {patch}, x0": {**net, **CLEAN},
            f"vit, patch {patch}, x0, AdamW": {**net, **CLEAN, **ADAMW},
        }
    return found


def train(
    data: ab.Dataset, settings: dict[str, Any], images: int | None, seconds: float, features: Features
) -> str:
    """A row: what it saw, how long it took, its loss and its distance."""
    settings = {"batch_size": 32, "precision": "float32", "channels_last": False, "images": 10**6, **settings}
    config = config_for(data, None, settings)
    trainer = Trainer(config, data)
    if images is None:
        trainer.update()
        start = time.process_time()
        for _ in range(2):
            trainer.update()
        images = 32 * max(4, round(2 * seconds / (time.process_time() - start)))
        trainer = Trainer(config, data)
    start = time.process_time()
    while trainer.images < images:
        trainer.update(config.learning_rate(trainer.images, images))
    took = time.process_time() - start
    size = sum(parameter.numel() for parameter in trainer.parameters.values())
    loss = held_out_loss(trainer).get("held_out_loss", math.nan)  # of one volume, nothing is held out
    drawn = ab.sample(of_crops(trainer.ema), 500, evaluations=12).images
    distance = frechet_distance(features(drawn), features.of_dataset(data))
    return f"{size:,} | {trainer.images:,} | {took:.0f} | {loss:.4f} | {distance:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("data")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of reading DATA")
    parser.add_argument("--images", type=int)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--patches", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only those whose names have one of these")
    given = parser.parse_args()
    data = ab.prepare(given.data, **{k: json.loads(v) for k, _, v in (s.partition("=") for s in given.set)})
    features = learned_features(data)
    held = np.asarray(data.images[data.held_out] if len(data.held_out) else data.images[::2])
    print(f"{given.data}: floor {frechet_distance(features(held), features.of_dataset(data)):.3f}")
    print("| | weights | images | seconds | held-out loss | Fréchet distance |\n|---|---|---|---|---|---|")
    for name, settings in rows(given.patches, given.channels, given.blocks).items():
        if not given.rows or any(part in name for part in given.rows):
            found = train(data, settings, given.images, given.seconds, features)
            print(f"| {name} | {found} |", flush=True)


if __name__ == "__main__":
    main()
