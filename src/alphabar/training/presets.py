"""Settings by name, and those that follow from the data and the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..data.augment import check_augment
from ..data.conditions.named import Named
from ..data.space import Space
from ..errors import brief, unknown
from .config import BUDGETS, DEFAULT_SCHEDULE, TrainConfig

UPDATES = 500
"""A short run gets smaller batches, down to `LEAST_BATCH`, so that it makes at least this many updates."""

BATCH, LEAST_BATCH = 64, 16
BATCH_ON_GPU, UPDATES_ON_GPU = 256, 5000
"""A GPU, which small batches leave idle, gets larger ones where there are so many updates nevertheless."""

VECTORS: dict[str, Any] = {
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
        references=0,
        optimizer="adamw",
        lr=2e-4,
        betas=(0.9, 0.999),
        decay=0.0,
        weight_decay=0.0,
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
            "scale_shift": False,
            "skips": "concat",
            "patch": 1,
        },
        schedule={"name": "linear", "T": 1000},
        prediction="eps",
        loss="simple",
        conditional=False,
        stratified=False,
        references=0,
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
"""By name. The DDPM paper is arXiv 2006.11239."""


def _default_name(space: Space) -> dict[str, Any]:
    """An MLP for vectors, a transformer for long series, a U-Net for other samples with one to three sides.

    ValueError for samples with more sides: their network must be given.
    """
    sides = space.shape[1:]
    if len(sides) > 3:
        raise ValueError(
            f"there is no default network for samples of shape {space.shape}: take --network vit, or a class "
            "of your own, network.name=package.module:Class (in Python also net=…, a module)"
        )
    if len(sides) == 1 and sides[0] >= LONG:
        patch = 2 ** math.ceil(math.log2(max(sides[0] / MOST_TOKENS, LEAST_PATCH)))
        return {"name": "vit", "channels": 128, "blocks": 6, "patch": patch}
    return {"name": "unet" if sides else "mlp"}


LONG, LEAST_PATCH, MOST_TOKENS = 1024, 16, 256
"""From so many places on, series are learned by a transformer of patches so long, of at most so many."""

MUCH_HELD, MUCH_HELD_BY_TOKENS = 0.5, 0.1
"""From so many numbers in a place, over the channels, on, networks and transformers predict x_0 and not v
(docs/log.md)."""


CLEAN = {"prediction": "x0", "loss": "clipped"}
"""How a network learns that could not pass all of the noise on; why is in docs/log.md."""


REFERENCES, REFERENCE_NUMBERS = 4096, 2**22
"""The most samples that stand beside a batch by default, and the most numbers in them (docs/log.md)."""


def default_learning(space: Space, network: Mapping[str, Any]) -> dict[str, Any]:
    """`CLEAN` where one place of the network holds many numbers of a sample, beside its channels.

    The noise of a patch has as many free numbers as it is long, and the network would have to pass all of
    them on; what is clean has far fewer (arXiv 2511.13720).
    """
    from ..nn.layers import held

    patch, channels = network.get("patch"), network.get("channels")
    if not space.shape[1:] or type(patch) is not int or type(channels) is not int or patch < 1:
        return {}
    much = MUCH_HELD_BY_TOKENS if network.get("name") == "vit" else MUCH_HELD
    return CLEAN if held(space.shape, patch) >= much * channels else {}


def default_references(
    space: Space, conditions: Mapping[str, Any] | None, num_training: int, batch_size: int
) -> int:
    """How many samples stand beside a batch: whole batches, up to `REFERENCES` and half of the data.

    None where no two samples are told the same, or some have gaps, or all are vectors.
    """
    shared = all(isinstance(each, Named) for each in (conditions or {}).values())
    if not space.shape[1:] or space.gaps or not shared:
        return 0
    most = min(REFERENCES, REFERENCE_NUMBERS // math.prod(space.shape), num_training // 2 - batch_size)
    return max(most // batch_size, 0) * batch_size


def default_images(num_training: int) -> int:
    """Thirty passes over the data, but at least 200 thousand and at most 5 million images."""
    return min(max(30 * num_training, 200_000), 5_000_000)


def default_batch(space: Space, images: float | None, parts: int = 1, on_gpu: bool = False) -> int:
    """`BATCH` (of vectors theirs), halved while so few images would make fewer than `UPDATES` updates, and
    then as many more as can be cut into equal parts.
    """
    size = BATCH if space.shape[1:] else VECTORS["batch_size"]
    while on_gpu and images is not None and 2 * size <= min(BATCH_ON_GPU, images / UPDATES_ON_GPU):
        size *= 2
    while images is not None and images < size * UPDATES and size > LEAST_BATCH:
        size //= 2
    return -(-size // parts) * parts


def resolve(
    space: Space,
    conditions: Mapping[str, Any] | None,
    num_training: int,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
    shift: float = 1.0,
) -> TrainConfig:
    """Defaults, then the preset, then the model to start from, then the settings.

    Parts of `network` and `schedule` are replaced one by one, as long as their name stays; what is left open
    of a network suits the rest of it, and the data.

    Args:
        space, conditions, num_training: of the data.
        preset: a row of `PRESETS`.
        settings: fields of `TrainConfig`; None leaves one open. With `init_from`, network, schedule and
            prediction are that model's.
        known: what a run that is there already has of these, so that the model needn't be read again.
        shift: of the default noise schedule.
    """
    from ..nn import suited

    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    settings = dict(settings or {})
    taken = _of_model(settings.get("init_from")) if known is None else known
    layers = [PRESETS[preset] if preset else {}, taken, settings]
    named = any("name" in (_part(layer, "network") or {}) for layer in layers)
    schedule = DEFAULT_SCHEDULE | ({} if shift == 1 else {"shift": shift})
    values: dict[str, Any] = {"schedule": schedule, "network": {} if named else _default_name(space)}
    if not space.shape[1:] or values["network"].get("name") == "vit":
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
    values["network"] = suited(values["network"], space.shape)
    if "prediction" not in values:
        values = {**default_learning(space, values["network"]), **values}
    if not any(name in values for name in BUDGETS):
        values["images"] = default_images(num_training)
    passes = values["epochs"] * num_training if _is_number(values.get("epochs")) else None
    images = values.get("images", passes)
    parts = values.get("virtual_processes", 1)
    parts = parts if _is_whole(parts) else 1
    values.setdefault("batch_size", default_batch(space, images if _is_number(images) else None, parts))
    if not conditions:
        values.setdefault("conditional", False)
    if _is_whole(values["batch_size"]):
        told = conditions if values.get("conditional", True) else None
        references = default_references(space, told, num_training, values["batch_size"])
        values.setdefault("references", references)
    config = TrainConfig(**values)
    check_augment(space, config.flip, config.turns, conditions)
    return config


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _part(layer: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    part = layer.get(name)
    if part is not None and not isinstance(part, Mapping):
        raise ValueError(f"{name} must be a dictionary of settings, got {brief(part)}")
    return None if part is None else dict(part)


def _of_model(path: str | None) -> dict[str, Any]:
    """What a run that starts from a model takes over from it."""
    if path is None:
        return {}
    from ..model.file import describe

    facts = describe(path)
    return {name: facts[name] for name in ("network", "schedule", "prediction")}
