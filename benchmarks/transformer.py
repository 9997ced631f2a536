"""The transformer beside the U-Net, by held-out loss, at equal images or equal seconds of the processor.

    OMP_NUM_THREADS=1 python benchmarks/transformer.py DATA --images 1024
    OMP_NUM_THREADS=1 python benchmarks/transformer.py DATA --seconds 40

Each row trains once: for so many images, or for as many updates as fit into the seconds, of which a few are
timed first. Printed are weights, images, seconds, and the held-out loss at the end, with v's weight whatever
is predicted.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import alphabar as ab
from alphabar.runs.monitor import held_out_loss
from alphabar.training.presets import resolve
from alphabar.training.trainer import Trainer

VIT: dict[str, Any] = {"name": "vit", "channels": 128, "blocks": 6}
QUICK = {"num_res_blocks": 1, "attention_levels": [], "channels": 32}
ROWS: dict[str, dict[str, Any]] = {
    "unet": {},
    "unet, 32 channels, 1 block": {"network": QUICK},
    "vit, patch 2": {"network": {**VIT, "patch": 2}},
    "vit, patch 4": {"network": {**VIT, "patch": 4}},
    "vit, patch 4, x0": {"network": {**VIT, "patch": 4}, "prediction": "x0"},
    "vit, patch 7": {"network": {**VIT, "patch": 7}},
    "vit, patch 7, x0": {"network": {**VIT, "patch": 7}, "prediction": "x0"},
    "vit, patch 14, v": {"network": {**VIT, "patch": 14}, "prediction": "v"},
    "vit, patch 14, x0": {"network": {**VIT, "patch": 14}, "prediction": "x0"},
    "vit, patch 4, adamw": {"network": {**VIT, "patch": 4}, "optimizer": "adamw", "lr": 1e-3},
    "vit, patch 4, 4 condition tokens": {"network": {**VIT, "patch": 4, "condition_tokens": 4}},
}


def train(data: ab.Dataset, settings: dict[str, Any], images: int | None, seconds: float) -> str:
    """A row: what it saw, how long it took, and its loss."""
    settings = {"batch_size": 32, "precision": "float32", "channels_last": False, "images": 10**6, **settings}
    config = resolve(data.space, data.conditions, len(data), None, settings)
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
    loss = held_out_loss(trainer)["held_out_loss"]
    return f"{size:,} | {trainer.images:,} | {took:.0f} | {loss:.4f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images", type=int)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    given = parser.parse_args()
    data = ab.prepare(given.data)
    for name in given.rows:
        print(f"| {name} | {train(data, ROWS[name], given.images, given.seconds)} |", flush=True)


if __name__ == "__main__":
    main()
