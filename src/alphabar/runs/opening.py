"""A run from what a program asks for: data read, settings completed, what its minutes afford measured."""

from __future__ import annotations

import logging
import os
from typing import Any

from torch import nn

from ..data import Dataset, prepare
from ..model import pick_device
from ..nn import UNKNOWN, network_config
from ..world import World
from .afford import afford
from .folder import RunFolder
from .run import Run
from .start import resumed_config


def opened(
    data: Any,
    out: str | os.PathLike[str],
    preset: str | None,
    device: str,
    net: nn.Module | None,
    settings: dict[str, Any],
    world: World,
    at: float,
) -> Run:
    """The run in a folder, new or to be resumed; arguments as of `train`, and when that was called."""
    dataset = data if isinstance(data, Dataset) else prepare(data)
    asked = settings if net is None else {"network": network_config(net)} | settings
    if UNKNOWN in asked.get("network", {}):
        logging.getLogger("alphabar").warning(
            "the network's settings aren't known, so its model can be loaded with net= alone: to change "
            "that, let the module keep its constructor's arguments as a dictionary `config`"
        )
    folder, device = RunFolder(out), pick_device(device)
    config = resumed_config(folder, dataset, preset, asked, world.size)
    given = {**asked, "preset": preset}
    afforded = afford(folder, config, dataset, device, given, net, begun=at, processes=world.size)
    source = str(data) if isinstance(data, str | os.PathLike) else ""
    run = Run(out, dataset, afforded.config, source=source, device=device, net=net, world=world)
    run.entry["measured"] |= afforded.measured
    return run
