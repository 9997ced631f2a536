"""Training: one step, the loop (a generator of metrics), averages, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..data import Dataset, prepare
from .config import PRESETS, TrainConfig, resolve
from .run import Run
from .trainer import Diverged, Trainer

__all__ = ["PRESETS", "Diverged", "Run", "TrainConfig", "Trainer", "resolve", "train"]


def train(
    data: Dataset | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    preset: str | None = None,
    device: str = "cpu",
    **settings: Any,
) -> Iterator[dict[str, Any]]:
    """Train on `data` in the folder `out`, yielding metrics after every step; the same call resumes.

    Args:
        data: a prepared `Dataset`, or anything that `prepare` accepts.
        out: a new folder, or that of the same run to resume it.
        preset: `ddpm`, `digits` or `cifar10`.
        device: where to train.
        settings: fields of `TrainConfig`, such as `images=200_000` or `minutes=5`.

    Nothing happens until the result is iterated over: `for metrics in train(…): print(metrics)`.
    """
    dataset = data if isinstance(data, Dataset) else prepare(data)
    config = resolve(dataset.spec, len(dataset), preset, settings)
    source = "" if isinstance(data, Dataset) else str(data)
    yield from Run(out, dataset, config, source=source, device=device).train()
