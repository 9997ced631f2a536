"""A run of several processes: the first one leads it as if it were alone, and the others follow."""

from __future__ import annotations

import contextlib
import copy
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data import Dataset, prepare
from ..torchrun import STOPS
from ..training.config import TrainConfig
from ..training.distributed import is_exact
from ..training.pending import Diverged
from ..training.trainer import COLLECT, LOAD, SAVE, Trainer
from ..world import World
from .checkpoints import Part
from .saving import Saving

if TYPE_CHECKING:
    from .run import Run

LAG = 2
"""So many updates a device may be ahead of what is known of them."""


def led_trainer(run: Run) -> Trainer:
    """A run's trainer, as the others make it in the same moment: they follow each update that it makes."""
    config, world = run.config, run.world
    if world:
        if not is_exact(config):
            run.say(f"the last bits of this run depend on the number of processes, {world.size} now")
        world.tell({
            "config": config.model_dump(),
            "data": {
                "source": run.source, "prepared": run.data.prepared, "fingerprint": run.data.fingerprint,
            },
            "device": torch.device(run.device).type,
            "threads": torch.get_num_threads(),
        })  # fmt: skip
    return Trainer(config, run.data, run.device, copy.deepcopy(run.net), world)


def follow(world: World, data: Any = None, net: nn.Module | None = None) -> None:
    """Train what the first process trains, until it says that this is over.

    Signals to stop are for that one: it ends the others.

    Args:
        world: the processes, of which this isn't the first.
        data: what is trained on, or what `prepare` accepts, if it isn't to be prepared from where the first
            one has it.
        net: the network itself, if it is given.
    """
    with _deaf(), contextlib.closing(Saving()) as saving:
        trainer = None
        while (told := world.hear()) is not None:
            if isinstance(told, dict):
                torch.set_num_threads(told["threads"])
                trainer = _trainer(world, told, data, net)
            else:
                assert trainer is not None
                _do(trainer, saving, *told)


def _do(trainer: Trainer, saving: Saving, what: str, step: int, *rest: Any) -> None:
    """What the first one's trainer does as well."""
    trainer.step = step
    if what == LOAD:
        trainer.load_state({}, step)
    elif what == SAVE:
        for _ in saving.done(wait=True):
            pass
        saving.begin(Part.of(trainer, Path(*rest)).write)
    elif what == COLLECT:
        trainer.collect()
    else:
        with contextlib.suppress(Diverged):  # which the first one says
            trainer.launch(*rest)
            for _ in trainer.rows(LAG):
                pass


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Signals to stop do nothing."""
    before = {}
    with contextlib.suppress(ValueError):  # another thread
        for number in STOPS:
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _trainer(world: World, begun: dict[str, Any], data: Any, net: nn.Module | None) -> Trainer:
    """The same as the first one's; ValueError where the data here are others."""
    told = begun["data"]
    if data is None:
        data = prepare(told["source"], **told["prepared"])
    data = data if isinstance(data, Dataset) else prepare(data)
    if data.fingerprint != told["fingerprint"]:
        raise ValueError(
            f"process {world.rank} finds other data in {told['source'] or 'what it was given'} than the "
            f"first one ({data.fingerprint:.12}, {told['fingerprint']:.12}): all must see the same"
        )
    return Trainer(TrainConfig(**begun["config"]), data, begun["device"], copy.deepcopy(net), world)
