"""What a budget in minutes affords here: a network, how it learns, and a batch, by the speed measured."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..data.dataset import Dataset
from ..data.space import Space
from ..model.memory import TooLarge
from ..nn import build_network, suited
from ..nn.layers import held
from ..nn.unet import GROUPS
from ..training.autotune import Clock, fastest_execution
from ..training.config import TrainConfig
from ..training.presets import BATCH_ON_GPU, CLEAN, PRESETS, default_batch
from .folder import RunFolder
from .pace import MEASURED_SHARE, seconds

QUICK = {"num_res_blocks": 1, "attention_levels": []}
WIDTHS = (32, 48, 64, 96, 128, 192, 256)
"""Channels of the U-Nets to choose from, of `QUICK` ones."""

PLACES_A_PARAMETER, PLACES_IN_COLOR = 20.0, 12.0
"""A network is large enough for the minutes if it would see so many places for each of its parameters: a
larger one sees too little, a smaller one is full. Why, and how flat that is, is in docs/log.md."""

FEW_IMAGES = 1_000_000
"""Of fewer, a U-Net learns better what is clean than v, which an unready network passes noise on with. Found
below 200,000; beyond, it is how the difference falls (docs/log.md)."""

READING_SHARE = 0.5
"""Of the minutes, what reading the data may take; what it takes beyond is on top of them."""

TIMED = 3  # networks, about
HOPE, HOPE_ON_GPU = 2.0, 100.0
"""A larger network may do so many times as much work a second as a smaller one, which leaves a GPU idle."""

TRAINING_SHARE = 0.86
"""Of the minutes, what is left for updates beside saves, measurements and previews."""


class Way(NamedTuple):
    """A network to choose from.

    Attributes:
        network: what of the default one changes.
        wants: images that it should see.
        work: multiplications for an image, about.
    """

    network: dict[str, Any]
    wants: float
    work: float


AS_IT_IS = [Way({}, 0.0, 1.0)]
"""No network to choose from but the one there is."""


def ways(space: Space, network: Mapping[str, Any]) -> list[Way]:
    """Networks to choose from, the largest first."""
    if network["name"] != "unet":
        return AS_IT_IS
    found = [{**QUICK, "channels": width, "groups": math.gcd(width, GROUPS)} for width in reversed(WIDTHS)]
    patch = 2 * network["patch"]
    if len(space.shape) == 4 and held(space.shape, patch) <= 2 * WIDTHS[0]:
        coarse = suited({"name": "unet", **found[-1], "patch": patch}, space.shape)
        found.append(coarse)
    return [Way(changes, *measures(space, {**network, **changes})) for changes in found]


def places_of(space: Space, network: Mapping[str, Any]) -> float:
    """Places of the top level, or tokens, that a network with patches has for a sample."""
    return math.prod(space.shape) / held(space.shape, network["patch"])


def places_wanted(space: Space) -> float:
    """For each parameter of a U-Net."""
    return PLACES_IN_COLOR if space.is_color else PLACES_A_PARAMETER


def measures(space: Space, network: Mapping[str, Any]) -> tuple[float, float]:
    """(images that a U-Net wants to see, its multiplications for one), counted without running it."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net = build_network(network, space.shape)
        net(torch.empty(1, *space.shape), torch.empty(1))
    parameters = sum(p.numel() for p in net.parameters())
    wants = places_wanted(space) * parameters / places_of(space, network)
    return wants, counter.get_total_flops() / 2


Timed = Callable[[Way, dict[str, Any]], tuple[dict[str, Any], int]]


def largest(tried: Sequence[Way], timed: Timed, on_gpu: bool = False) -> tuple[Way, dict[str, Any], int]:
    """The largest network that sees as many images as it wants, else the smallest; what `timed` says of it.

    The smallest is timed, then larger ones, the largest first, that may see enough by the work they are,
    executed as was fastest for the smallest, but on a GPU as is fastest for each. One that does is taken, and
    still larger ones are looked at from there; one that doesn't, or that memory is too small for, is not.

    Args:
        tried: the largest first.
        timed: (way, settings of execution) → (what is measured, the images that it sees).
        on_gpu: where it is.
    """
    *larger, way = tried
    measured, images = timed(way, {})
    execution = {} if on_gpu else {name: measured[name] for name in ("precision", "channels_last")}
    hope = HOPE_ON_GPU if on_gpu else HOPE
    while hoped := [one for one in larger if one.wants <= hope * images * way.work / one.work]:
        i = larger.index(hoped[0])
        try:
            found = timed(larger[i], execution)
        except TooLarge:
            found = None
        if found and found[1] >= larger[i].wants:
            (measured, images), way, larger = found, larger[i], larger[:i]
        else:
            larger = larger[i + 1 :]
    return way, measured, images


def _of_first(sizes: Sequence[int], found: Callable[[int], Any]) -> Any:
    """What is found with the first of some batch sizes that memory is large enough for."""
    for size in sizes[:-1]:
        with contextlib.suppress(TooLarge):
            return found(size)
    return found(sizes[-1])


class Afforded(NamedTuple):
    """Settings, what was measured for them, and about how many images they see in their minutes."""

    config: TrainConfig
    measured: dict[str, Any]
    images: int | None


def afford(
    folder: RunFolder,
    config: TrainConfig,
    data: Dataset,
    device: str,
    given: Mapping[str, Any],
    net: nn.Module | None = None,
    clock: Clock = seconds,
    begun: float | None = None,
    processes: int = 1,
) -> Afforded:
    """Settings that suit the minutes, as far as nobody has asked for others.

    The network is the `largest` of `ways`. A run that is there already, or has another budget, keeps its
    settings.

    Args:
        folder: of the run, new or not.
        config, data, device: the run's.
        given: the settings that were asked for, and `preset`.
        net: the network itself, if it is given.
        clock: gives the time in seconds.
        begun: when the minutes began by this clock, if before this call; reading the data counts, up to
            `READING_SHARE` of them.
        processes: that the run is of.
    """
    start = clock()
    if begun is not None and config.minutes is not None:
        start = max(begun, start - READING_SHARE * 60 * config.minutes)
    asked = {name for name, value in given.items() if value is not None}
    asked |= PRESETS.get(given.get("preset") or "", {}).keys()
    if config.minutes is None or folder.exists():
        return Afforded(config, {}, None)
    tried = AS_IT_IS if asked & {"network", "init_from"} else ways(data.space, config.network)
    is_open = len(tried) > 1
    if not is_open and "batch_size" in asked:
        return Afforded(config, {} if begun is None else {"took_s": clock() - start}, None)
    folder.check_free()
    budget_s = 60 * config.minutes
    limit_s = MEASURED_SHARE * budget_s / TIMED

    def timed(size: int, way: Way, execution: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """What is measured with a network, and about how many images it sees."""
        update = {"network": config.network | way.network, "batch_size": size, **execution}
        chosen = config.model_copy(update=update)
        measured = fastest_execution(chosen, data, device, net, limit_s, clock, processes)
        left_s = max(budget_s - (clock() - start), 0.0)
        return measured, round(TRAINING_SHARE * left_s * max(measured["images_per_s"].values()))

    on_gpu, sizes = device.startswith("cuda"), [config.batch_size]
    if on_gpu and "batch_size" not in asked:
        sizes.insert(0, -(-BATCH_ON_GPU // config.virtual_processes) * config.virtual_processes)
    way, measured, images = _of_first(sizes, lambda size: largest(tried, partial(timed, size), on_gpu))
    followed: dict[str, Any] = {"network": config.network | way.network} if is_open else {}
    if is_open and images < FEW_IMAGES and "prediction" not in asked:
        followed |= {name: value for name, value in CLEAN.items() if name not in asked}
    chosen = config.model_copy(update=followed)
    if "batch_size" not in asked:
        batch_size = default_batch(data.space, images, chosen.virtual_processes, on_gpu)
        chosen = chosen.model_copy(update={"batch_size": batch_size})
    return Afforded(chosen, measured | {"afforded": sorted(followed), "took_s": clock() - start}, images)
