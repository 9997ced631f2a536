"""Runs: a folder, the loop that trains in it, and what there is to know of it afterwards."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

# name → module; imported when first asked for, so that the names of sinks don't wait for torch
_HOMES = {
    "CHECKS": "checks",
    "MEASURES": "monitor",
    "SINKS": "sinks",
    "Results": "results",
    "Run": "run",
    "RunFolder": "folder",
    "Steps": "steps",
    "diagnose": "diagnosis",
}

__all__ = [
    "CHECKS", "MEASURES", "SINKS", "Results", "Run", "RunFolder", "Steps", "diagnose", "fork", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def train(
    data: Any,
    out: str | os.PathLike[str],
    *,
    preset: str | None = None,
    device: str = "auto",
    net: Any = None,
    **settings: Any,
) -> Steps:
    """Train on `data` in the folder `out`, yielding metrics after every update; the same call resumes.

    Args:
        data: a prepared `Dataset`, or anything that `prepare` accepts.
        out: a new folder, or that of the same run: to resume it, with a larger budget to make it longer.
        preset: a row of `alphabar.training.PRESETS`.
        device: where to train; `auto`: a GPU if there is one.
        net: a network of your own, a module called net(x, c_noise, cond).
        settings: fields of `TrainConfig`, such as `images=200_000` or `minutes=5`.

    Nothing happens until the result is iterated over: `for metrics in train(…): print(metrics)`. Leaving the
    loop in any way saves what was done.

    Begun by torchrun, the processes train together: the loop's body runs in the first one alone, and the
    others go on after the loop when that one does.
    """
    from ..files import expanded
    from .steps import Steps

    def rows() -> Generator[dict[str, Any]]:
        from ..world import join
        from .following import follow
        from .opening import opened
        from .pace import seconds

        at, world = seconds(), join()
        if world.rank:
            follow(world, None if isinstance(data, str | os.PathLike) else data, net)
            return
        with world.leading():
            begun.append(opened(data, out, preset, device, net, settings, world, at))
            yield from begun[0].rows()

    begun: list[Run] = []
    return Steps(expanded(out), rows, lambda: begun[0].total if begun else None)


def fork(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: Any = None,
    *,
    device: str = "auto",
    net: Any = None,
    **changes: Any,
) -> Run:
    """A new run that goes on from another one with some settings changed; `differences` says which.

    Args:
        source: a run's folder (its newest checkpoint), or one of its checkpoints. It stays as it is.
        out: a new folder, or that of the same fork to resume it.
        data: a prepared `Dataset`, or anything that `prepare` accepts, unless that of the run.
        device: where to train.
        net: the run's network, if it is one of your own that can't be made by its name.
        changes: fields of `TrainConfig`. The images seen count on, so that a budget is one in all.
    """
    from .run import Run
    from .start import forked_config

    config, dataset, where = forked_config(source, data, changes)
    return Run(out, dataset, config, source=where, device=device, net=net, fork_of=source)


if TYPE_CHECKING:
    from .checks import CHECKS
    from .diagnosis import diagnose
    from .folder import RunFolder
    from .monitor import MEASURES
    from .results import Results
    from .run import Run
    from .sinks import SINKS
    from .steps import Steps
