"""Precision and memory layout, by measurement: what trains fastest on this device."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..data.dataset import Dataset
from ..model.devices import LAYOUTS, has_bfloat16
from ..model.memory import check_memory
from .config import TrainConfig
from .trainer import Trainer

TRIAL_IMAGES, TRIAL_PLACES = 32, 2**17
TRIAL_S = 1.0
ROUNDS = 3

Clock = Callable[[], float]


def fastest_execution(
    config: TrainConfig,
    data: Dataset,
    device: str,
    net: nn.Module | None = None,
    budget_s: float | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """The precision and memory layout, of those left open, that train the most images a second.

    Each pair is timed on a few updates of this very network, without compiling, on a CPU with small batches
    of all but vectors. They take turns, and the fastest update of each counts, so that a busy moment of the
    machine decides nothing. What the network can't run is left out, and so is bfloat16 where the device has
    to emulate it, a hundred times slower. The run records the choice, so that resuming repeats it.

    Args:
        config, data, device, net: of the run.
        budget_s: stop after so many seconds, and choose among the pairs that have been timed, at least one.
        clock: gives the time in seconds.
    """
    precisions = [config.precision]
    if config.precision == "auto":
        precisions = ["float32", "bfloat16"] if has_bfloat16(torch.device(device)) else ["float32"]
    layouts = [False, True] if config.channels_last is None else [config.channels_last]
    if config.channels_last is None and len(data.space.shape) + 1 not in LAYOUTS:
        layouts = [False]
    size = whole = config.micro_batch or config.batch_size
    if torch.device(device).type == "cpu" and data.space.shape[1:]:  # else the choice depends on the size
        whole = min(size, TRIAL_IMAGES)
        size = max(1, min(whole, TRIAL_PLACES // math.prod(data.space.shape[1:])))
    start, trials, failed = clock(), {}, None

    def is_over() -> bool:
        return budget_s is not None and clock() - start > budget_s

    seconds: dict[tuple[str, bool], float] = {}
    for pair in itertools.product(precisions, layouts):
        if seconds and is_over():
            break
        update = {"precision": pair[0], "channels_last": pair[1], "batch_size": size, "compile": None}
        trainer = Trainer(config.model_copy(update=update), data, device, copy.deepcopy(net))
        if size < whole and not seconds:  # what is timed would fit where what is trained does not
            check_memory(trainer.model, whole, training=True)
        try:
            trainer.update()  # the first warms up
        except RuntimeError as error:  # such as a network of the user's that mixes types in bfloat16
            failed = error
            continue
        trials[pair], seconds[pair] = trainer, _seconds(trainer, clock)
    if not trials:
        assert failed is not None
        raise failed
    for _ in range(ROUNDS):
        for pair, trainer in trials.items():
            until = clock() + TRIAL_S / ROUNDS
            while clock() < until and not is_over():
                seconds[pair] = min(seconds[pair], _seconds(trainer, clock))
    precision, layout = min(seconds, key=lambda pair: seconds[pair])
    rates = {
        f"{p}, {'channels_last' if c else 'contiguous'}": round(size / s, 2) for (p, c), s in seconds.items()
    }
    return {"precision": precision, "channels_last": layout, "images_per_s": rates}


def seconds_per_update(trainer: Trainer, budget_s: float) -> float:
    """The median of the updates that fit into `budget_s` (at least two), after one to warm up."""
    times: list[float] = []
    trainer.update()
    while len(times) < 2 or sum(times) < budget_s:
        times.append(_seconds(trainer, time.perf_counter))
    return statistics.median(times)


def _seconds(trainer: Trainer, clock: Clock) -> float:
    start = clock()
    trainer.update()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return clock() - start
