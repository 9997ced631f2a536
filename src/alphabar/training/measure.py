"""Layout and precision by measurement: which way trains fastest here."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

from ..data.dataset import Dataset
from .config import TrainConfig
from .trainer import Trainer

TRIAL_IMAGES = 32
TRIAL_S = 1.0


def fastest_execution(config: TrainConfig, data: Dataset, device: str) -> dict[str, Any]:
    """The precision and memory layout (of those left open) that trains the most images a second.

    Each is timed on a few steps of a small batch of this very network, not compiled. The choice is
    recorded in the run, so that resuming repeats it.
    """
    precisions = ["float32", "bfloat16"] if config.precision == "auto" else [config.precision]
    layouts = [False, True] if config.channels_last is None else [config.channels_last]
    rates = {}
    for precision, layout in itertools.product(precisions, layouts):
        size = min(config.micro_batch or config.batch_size, TRIAL_IMAGES)
        trial = config.model_copy(
            update={"precision": precision, "channels_last": layout, "batch_size": size, "compile": None}
        )
        rates[precision, layout] = size / seconds_per_step(Trainer(trial, data, device), TRIAL_S)
    precision, layout = max(rates, key=lambda pair: rates[pair])
    return {
        "precision": precision,
        "channels_last": layout,
        "images_per_s": {
            f"{p}, {'channels_last' if c else 'contiguous'}": round(rate, 2) for (p, c), rate in rates.items()
        },
    }


def seconds_per_step(trainer: Trainer, budget_s: float) -> float:
    """The median of the steps that fit into `budget_s` (at least two), after one to warm up."""
    times: list[float] = []
    trainer.update()
    while len(times) < 2 or sum(times) < budget_s:
        start = time.perf_counter()
        trainer.update()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
