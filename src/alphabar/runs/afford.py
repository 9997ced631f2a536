"""What a budget in minutes affords here: a network, how it learns, and a batch, by the speed measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from ..data.dataset import Dataset
from ..data.space import Space
from ..model.memory import TooLarge
from ..nn import suited
from ..nn.layers import held
from ..training.autotune import Clock, fastest_execution
from ..training.config import TrainConfig
from ..training.presets import CLEAN, PRESETS, default_batch
from .folder import RunFolder
from .pace import MEASURED_SHARE, seconds

QUICK = {"num_res_blocks": 1, "attention_levels": []}
FAST = {**QUICK, "channels": 32}
FAST_RATE = 4e-3

FEW_IMAGES = 100_000
"""Of fewer, a U-Net learns better what is clean than v, which an unready network passes noise on with."""

IMAGES = 10_000
"""A slower network is worth its time where it sees at least so many images."""

READING_SHARE = 0.5
"""Of the minutes, what reading the data may take; what it takes beyond is on top of them."""

TRAINING_SHARE = 0.86
"""Of the minutes, what is left for updates beside saves, measurements and previews."""


def ways(space: Space, network: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What of a default network changes, from the slowest way to the fastest; why is in docs/log.md."""
    if network["name"] != "unet":
        return [{"network": {}}]
    found = [{"network": {}}, {"network": QUICK}, {"network": FAST, "lr": FAST_RATE}]
    patch = 2 * network["patch"]
    if len(space.shape) == 4 and held(space.shape, patch) <= 2 * FAST["channels"]:
        coarse = suited({"name": "unet", **FAST, "patch": patch}, space.shape)
        found.append({"network": coarse, "lr": FAST_RATE})
    return found


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
) -> Afforded:
    """Settings that suit the minutes, as far as nobody has asked for others.

    The default network and faster ones are timed in turn, until one would see at least `IMAGES` images. A run
    that is there already, or has another budget, keeps its settings.

    Args:
        folder: of the run, new or not.
        config, data, device: the run's.
        given: the settings that were asked for, and `preset`.
        net: the network itself, if it is given.
        clock: gives the time in seconds.
        begun: when the minutes began by this clock, if before this call; reading the data counts, up to
            `READING_SHARE` of them.
    """
    start = clock()
    if begun is not None and config.minutes is not None:
        start = max(begun, start - READING_SHARE * 60 * config.minutes)
    asked = {name for name, value in given.items() if value is not None}
    asked |= PRESETS.get(given.get("preset") or "", {}).keys()
    tried = ways(data.space, config.network)
    tried = tried[:1] if asked & {"network", "init_from"} else tried
    if config.minutes is None or folder.exists():
        return Afforded(config, {}, None)
    if len(tried) == 1 and "batch_size" in asked:
        return Afforded(config, {} if begun is None else {"took_s": clock() - start}, None)
    folder.check_free()
    limit_s = MEASURED_SHARE * 60 * config.minutes / len(tried)
    images, measured, chosen, update = 0, {}, config, {}
    for way in tried:
        update = {name: value for name, value in way.items() if name not in asked}
        update["network"] = config.network | way["network"]
        chosen = config.model_copy(update=update)
        try:
            measured = fastest_execution(chosen, data, device, net, limit_s, clock)
        except TooLarge:
            if way is tried[-1]:
                raise
            continue
        left_s = max(60 * config.minutes - (clock() - start), 0.0)
        images = round(TRAINING_SHARE * left_s * max(measured["images_per_s"].values()))
        if images >= IMAGES:
            break
    if len(tried) > 1 and images < FEW_IMAGES and "prediction" not in asked:
        update |= {name: value for name, value in CLEAN.items() if name not in asked}
        chosen = chosen.model_copy(update=update)
    if "batch_size" not in asked:
        chosen = chosen.model_copy(update={"batch_size": default_batch(data.space, images)})
    followed = sorted(update) if len(tried) > 1 else []
    return Afforded(chosen, measured | {"afforded": followed, "took_s": clock() - start}, images)
