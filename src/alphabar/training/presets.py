"""Settings by name, and those that follow from the data and the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..data.augment import check_augment
from ..data.space import Space
from ..errors import unknown
from .config import BUDGETS, DEFAULT_SCHEDULE, TrainConfig

UPDATES = 500
"""A short run gets smaller batches, down to `LEAST_BATCH`, so that it makes at least this many updates."""

BATCH, LEAST_BATCH = 64, 16

CHANNELS = 64
"""Of the default network's top level."""

VECTORS: dict[str, Any] = {
    "network": {"name": "mlp", "width": 256, "blocks": 3},
    "batch_size": 256,
    "optimizer": "adamw",
    "lr": 1e-3,
}
"""How vectors are learned: an update of Muon would cost as much as thousands of them (docs/log.md)."""


class Preset(dict[str, Any]):
    """A row of `PRESETS`: settings that belong together, and what they are, in words."""

    def __init__(self, help: str, **settings: Any) -> None:
        super().__init__(settings)
        self.help = help


PRESETS: dict[str, Preset] = {
    "ddpm": Preset(
        "schedule, prediction, loss and optimizer of the DDPM paper",
        schedule={"name": "linear", "T": 1000},
        prediction="eps",
        loss="simple",
        conditional=False,
        stratified=False,
        optimizer="adamw",
        lr=2e-4,
        betas=(0.9, 0.999),
        decay=0.0,
        weight_decay=0.0,
    ),
    "digits": Preset(
        "good digits in five minutes on two cores",
        minutes=5,
        network={
            "name": "unet",
            "channels": 64,
            "channel_mult": [1, 2],
            "num_res_blocks": 1,
            "attention_levels": [],
            "scale_shift": True,
            "patch": 2,
        },
        batch_size=32,
        warmup_images=3000,
        ema_halflife=20_000,
    ),
    "cifar10": Preset(
        "network and training of the DDPM paper for CIFAR-10",
        network={
            "name": "unet",
            "channels": 128,
            "channel_mult": [1, 2, 2, 2],
            "num_res_blocks": 2,
            "attention_levels": [1],
            "dropout": 0.1,
        },
        schedule={"name": "linear", "T": 1000},
        prediction="eps",
        loss="simple",
        conditional=False,
        stratified=False,
        flip=True,
        batch_size=128,
        micro_batch=32,
        optimizer="adamw",
        lr=2e-4,
        warmup_images=640_000,
        betas=(0.9, 0.999),
        decay=0.0,
        weight_decay=0.0,
        ema_halflife=128 * math.log(2) / 1e-4,
        images=102_400_000,
    ),
}
"""By name. The DDPM paper is arXiv 2006.11239; how the digits' settings were found is in docs/log.md."""


def held(space: Space, patch: int) -> int:
    """The numbers of a sample in one place of a network with this patch."""
    from ..nn.layers import patches

    return space.channels * math.prod(patches(space.shape[1:], patch))


def default_network(space: Space, patch: int | None = None) -> dict[str, Any]:
    """An MLP for vectors; a U-Net for samples with one to three sides.

    The U-Net's lowest level has at most about 10 places a side. Its top level has at most 32 for sides up to
    128. For longer ones it has at most 64, but a patch never grows beyond as many numbers as that level has
    channels, which couldn't predict them all. Shorter sides are folded and halved as often as makes them
    about as long as the longest (`nn.layers.strides`).

    Args:
        space: of the samples.
        patch: to be taken instead of what suits the U-Net.

    ValueError for samples with more sides: their network must be given.
    """
    sides = space.shape[1:]
    if not sides:
        return dict(VECTORS["network"])
    if len(sides) > 3:
        raise ValueError(
            f"there is no default network for samples of shape {space.shape}: take --network vit, or a class "
            "of your own, network.name=package.module:Class (in Python also net=…, a module)"
        )
    side = max(sides)
    if patch is None:
        patch = 1 if side <= 16 else 2 if side <= 64 else 4
        while side > 64 * patch and held(space, 2 * patch) <= CHANNELS:
            patch *= 2
    levels = max(2, round(math.log2(side / patch / 7)) + 1)
    return {
        "name": "unet",
        "channels": CHANNELS,
        "channel_mult": [1, *[2] * (levels - 1)],
        "num_res_blocks": 2,
        "attention_levels": [levels - 1],
        "scale_shift": True,
        "patch": patch,
    }


MOST_TOKENS, MOST_HELD = 640, 4
"""Of a default transformer, whose tokens hold at most so many times as many numbers as they have channels."""
LONG, WINDOW = 2048, 512
"""From so many tokens on, most of its blocks attend within windows of at most so many."""
MUCH_HELD = 0.5
"""From so many numbers in a place, over the channels, on, networks predict x_0 and not v (docs/log.md)."""


def default_transformer(space: Space, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a transformer.

    The patch is the smallest power of two with at most `MOST_TOKENS` tokens. Patches that hold more numbers
    than a token has channels come in through a bottleneck, as in JiT (arXiv 2511.13720).

    Args:
        space: of the samples.
        given: settings of the network that were asked for.
    """
    from ..nn.layers import divided, patches

    network: dict[str, Any] = {"name": "vit", "channels": 256, "blocks": 8, "patch": 1, **given}
    channels, sides = network["channels"], space.shape[1:]
    if not sides or not all(
        type(network[n]) is int and 0 < network[n] < 2**14 for n in ("channels", "patch")
    ):
        return network  # which refuses them

    def folded(patch: int) -> tuple[int, int]:
        return math.prod(divided(sides, patches(sides, patch))), held(space, patch)

    tokens, numbers = folded(network["patch"])
    while "patch" not in given and tokens > MOST_TOKENS:
        after = folded(2 * network["patch"])
        if after[1] > MOST_HELD * channels:
            break
        network["patch"], (tokens, numbers) = 2 * network["patch"], after
    for head in range(2, min(channels, 64) + 1, 2):
        if channels % head == 0 and "head_channels" not in given:
            network["head_channels"] = head
    if numbers > channels:
        network.setdefault("bottleneck", max(1, channels // 4))
    if tokens > LONG and "window" not in given:
        network = {"global_every": 4, **network, "window": int(WINDOW ** (1 / len(sides)) + 1e-9)}
    return network


CLEAN = {"prediction": "x0", "loss": "clipped"}
"""How a network learns that could not pass all of the noise on; why is in docs/log.md."""


def default_learning(space: Space, network: Mapping[str, Any]) -> dict[str, Any]:
    """`CLEAN` where one place of the network holds many numbers of a sample, beside its channels.

    The noise of a patch has as many free numbers as it is long, and the network would have to pass all of
    them on; what is clean has far fewer (arXiv 2511.13720).
    """
    sides, patch, channels = space.shape[1:], network.get("patch"), network.get("channels")
    if not sides or type(patch) is not int or type(channels) is not int or patch < 1:
        return {}
    return CLEAN if held(space, patch) >= MUCH_HELD * channels else {}


def default_images(num_training: int) -> int:
    """Thirty passes over the data, but at least 200 thousand and at most 5 million images."""
    return min(max(30 * num_training, 200_000), 5_000_000)


def default_batch(space: Space, images: float | None) -> int:
    """`BATCH` (of vectors theirs), halved while so few images would make fewer than `UPDATES` updates."""
    size = BATCH if space.shape[1:] else VECTORS["batch_size"]
    while images is not None and images < size * UPDATES and size > LEAST_BATCH:
        size //= 2
    return size


def resolve(
    space: Space,
    conditions: Mapping[str, Any] | None,
    num_training: int,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Defaults, then the preset, then the model to start from, then the settings.

    Parts of `network` and `schedule` are replaced one by one, as long as their name stays.

    Args:
        space, conditions, num_training: of the data.
        preset: a row of `PRESETS`.
        settings: fields of `TrainConfig`; None leaves one open. With `init_from`, network, schedule and
            prediction are that model's.
        known: what a run that is there already has of these, so that the model needn't be read again.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    settings = dict(settings or {})
    taken = _of_model(settings.get("init_from")) if known is None else known
    layers = [PRESETS[preset] if preset else {}, taken, settings]
    named = any("name" in (_part(layer, "network") or {}) for layer in layers)
    network = {} if named else default_network(space)
    values: dict[str, Any] = {"schedule": DEFAULT_SCHEDULE, "network": network}
    if not space.shape[1:]:
        values |= {name: VECTORS[name] for name in ("optimizer", "lr")}
    for layer in layers:
        if any(layer.get(name) is not None for name in BUDGETS):
            values = {name: value for name, value in values.items() if name not in BUDGETS}
        for name, value in layer.items():
            if name in ("network", "schedule"):
                before, part = values.get(name, {}), _part(layer, name) or {}
                same = part.get("name", before.get("name")) == before.get("name")
                values[name] = {**before, **part} if same and layer is settings else part
            elif value is not None:
                values[name] = value
    if values["network"].get("name") == "vit":
        values["network"] = default_transformer(space, values["network"])
    if "prediction" not in values:
        values = {**default_learning(space, values["network"]), **values}
    if not any(name in values for name in BUDGETS):
        values["images"] = default_images(num_training)
    passes = values["epochs"] * num_training if _is_number(values.get("epochs")) else None
    images = values.get("images", passes)
    values.setdefault("batch_size", default_batch(space, images if _is_number(images) else None))
    if not conditions:
        values.setdefault("conditional", False)
    config = TrainConfig(**values)
    check_augment(space, config.flip, config.turns)
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _part(layer: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    part = layer.get(name)
    if part is not None and not isinstance(part, Mapping):
        raise ValueError(f"{name} must be a dictionary of settings, got {part!r}")
    return None if part is None else dict(part)


def _of_model(path: str | None) -> dict[str, Any]:
    """What a run that starts from a model takes over from it."""
    if path is None:
        return {}
    from ..model.file import describe

    facts = describe(path)
    return {name: facts[name] for name in ("network", "schedule", "prediction")}
