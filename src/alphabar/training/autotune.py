"""Precision, memory layout and threads, by measurement: what trains fastest on this device, now."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ..data.dataset import Dataset
from ..model.devices import LAYOUTS, has_bfloat16, threads
from ..model.memory import TooLarge, check_memory
from ..torchrun import cores
from .config import TrainConfig
from .distributed import at_once
from .trainer import Trainer

TRIAL_IMAGES, TRIAL_PLACES = 64, 2**17
TRIAL_S = 1.0
ROUNDS = 3
BUSY = 1.4  # times as long as the fastest update takes one on average, where other programs take turns
LEAST_SHARE = 0.2  # of an update's time that its samples take at least: of few, times are uncertain
WORTH = 1.2  # times as fast must one thread be

PLAIN = {"compile": None, "micro_batch": None, "virtual_processes": 1, "exact_processes": "on"}
"""How trials run."""

Clock = Callable[[], float]


def fastest_execution(
    config: TrainConfig,
    data: Dataset,
    device: str,
    net: nn.Module | None = None,
    budget_s: float | None = None,
    clock: Clock = time.perf_counter,
    processes: int = 1,
) -> dict[str, Any]:
    """The precision and memory layout, of those left open, that train the most images a second.

    Each pair is timed on a few updates of this very network, without compiling, on a CPU with small batches
    of all but vectors; what such an update takes beside its samples is found by halving the batch. They take
    turns, and the fastest update of each counts, so that a busy moment of the machine decides nothing. What
    the network can't run is left out, and so is bfloat16 where the device has to emulate it, a hundred times
    slower. Where the machine is busy, one thread is timed as well: threads that share cores with other
    programs wait for one another, and are then half as fast as one of them alone. The run records the choice,
    so that resuming repeats it. The images a second are those of the mean update of the best, the others' in
    proportion.

    Args:
        config, data, device, net: of the run.
        budget_s: stop after so many seconds, and choose among the pairs that have been timed, at least one.
        clock: gives the time in seconds.
        processes: of the run, each of which is taken to be as fast as this one, where it has a core.
    """
    size = whole = at_once(config, processes)
    if torch.device(device).type == "cpu" and data.space.shape[1:]:  # else the choice depends on the size
        whole = min(size, TRIAL_IMAGES)
        size = max(1, min(whole, TRIAL_PLACES // math.prod(data.space.shape[1:])))
    end = math.inf if budget_s is None else clock() + budget_s
    trials: dict[tuple[str, bool], Trial] = {}
    failed = None
    for pair in _open_pairs(config, data, device):
        if trials and clock() > end:
            break
        update = {"precision": pair[0], "channels_last": pair[1], "batch_size": size, **PLAIN}
        try:
            trainer = Trainer(config.model_copy(update=update), data, device, copy.deepcopy(net))
            if size < whole and not trials:  # what is timed would fit where what is trained does not
                check_memory(trainer.model, whole, training=True)
            trainer.update()  # the first warms up
        except (RuntimeError, TooLarge) as error:  # such as of a user's network that mixes types in bfloat16
            failed = error
            continue
        trials[pair] = Trial(trainer, clock, end)
    if not trials:
        raise failed or AssertionError("there is a pair")
    for _ in range(ROUNDS):
        for trial in trials.values():
            trial.go_on()
    best = min(trials, key=lambda pair: min(trials[pair].times))
    found = {"precision": best[0], "channels_last": best[1]}
    alone = None if config.threads is not None else _alone(trials[best])
    busy = trials[best].mean / min(trials[best].times)  # so many times as long takes an update on average
    gain = 1.0 if size in (1, whole) else _gain(trials[best], data, size, config.batch_size // processes)
    gain *= processes if device.startswith("cuda") else min(processes, cores())
    rates = {pair: gain * size / (busy * min(trial.times)) for pair, trial in trials.items()}
    if alone is not None:
        found["threads"], rates[best] = 1, gain * size / alone.mean
    return {
        **found,
        "images_per_s": {
            f"{p}, {'channels_last' if c else 'contiguous'}": round(rate, 2) for (p, c), rate in rates.items()
        },
    }


class Trial:
    """One way of running a network, and the seconds that its updates take: at first of one.

    Args:
        trainer: which runs it so.
        clock: gives the time.
        end: when measuring is over.
    """

    def __init__(self, trainer: Trainer, clock: Clock, end: float) -> None:
        self.trainer, self.clock, self.end = trainer, clock, end
        self.times = [_seconds(trainer, clock)]

    def go_on(self) -> None:
        """Time some more."""
        until = min(self.clock() + TRIAL_S / ROUNDS, self.end)
        while self.clock() < until:
            self.times.append(_seconds(self.trainer, self.clock))

    @property
    def mean(self) -> float:
        """Of all updates."""
        return statistics.mean(self.times)


def _gain(trial: Trial, data: Dataset, size: int, whole: int) -> float:
    """How many times as many samples a second updates of `whole` batches see as those of `size`.

    An update of n samples takes a + b n seconds, which its time and that of half as many tell.
    """
    own = trial.trainer
    half = own.config.model_copy(update={"batch_size": size // 2})
    trainer = Trainer(half, data, str(own.device), copy.deepcopy(own.model.net))
    trainer.update()
    halved = Trial(trainer, trial.clock, trial.end)
    halved.go_on()
    took = min(trial.times)
    share = size // 2 / size
    each = min(max((took - min(halved.times)) / (1 - share), LEAST_SHARE * took), took)
    return whole / size * took / (took - each + each * whole / size)


def _alone(trial: Trial) -> Trial | None:
    """The same by one thread of the CPU, where the machine is busy and that is faster."""
    on_cpu, is_busy = trial.trainer.device.type == "cpu", trial.mean > BUSY * min(trial.times)
    if not (on_cpu and is_busy and torch.get_num_threads() > 1 and trial.clock() < trial.end):
        return None
    with threads(1):
        alone = Trial(trial.trainer, trial.clock, trial.end)
        alone.go_on()
    return alone if WORTH * alone.mean < trial.mean else None


def _open_pairs(config: TrainConfig, data: Dataset, device: str) -> Iterable[tuple[str, bool]]:
    """The precisions and layouts to choose from."""
    precisions = [config.precision]
    if config.precision == "auto":
        precisions = ["float32", "bfloat16"] if has_bfloat16(torch.device(device)) else ["float32"]
    layouts = [False, True] if config.channels_last is None else [config.channels_last]
    if config.channels_last is None and len(data.space.shape) + 1 not in LAYOUTS:
        layouts = [False]
    if device.startswith("cuda"):  # there the last is the likeliest, and there may be no time for others
        precisions, layouts = precisions[::-1], layouts[::-1]
    return itertools.product(precisions, layouts)


def seconds_per_update(trainer: Trainer, budget_s: float) -> float:
    """The median of the updates that fit into `budget_s` (at least two), after one to warm up."""
    times: list[float] = []
    trainer.update()
    while len(times) < 2 or sum(times) < budget_s:
        times.append(_seconds(trainer, time.perf_counter))
    return statistics.median(times)


def product_rate(device: torch.device, n: int = 8192) -> float:
    """FLOP/s of a product of two matrices (n, n) in bfloat16: the most that a network can reach there."""
    a, start = torch.randn(n, n, device=device, dtype=torch.bfloat16), 0.0
    for _ in range(3):  # the first two warm up
        start = time.perf_counter()
        for _ in range(10):
            torch.matmul(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return 10 * 2 * n**3 / (time.perf_counter() - start)


def _seconds(trainer: Trainer, clock: Clock) -> float:
    start = clock()
    trainer.update()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return clock() - start
