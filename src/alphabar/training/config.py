"""What a run is made of: settings, presets, and defaults that follow from the data."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ..data.spec import DataSpec
from ..errors import unknown
from ..theory.heads import HEADS
from ..theory.losses import LOSSES
from ..theory.schedule import Schedule

Precision = Literal["auto", "float32", "bfloat16"]
Compile = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


DEFAULT_SCHEDULE = {"name": "sigmoid", "T": 1000}


class TrainConfig(BaseModel):
    """The settings of a run. Amounts of training are counted in images, whatever the batch size.

    Exactly one of `images`, `epochs` and `minutes` is the budget.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0)
    images: int | None = Field(None, ge=1, description="budget, in images")
    epochs: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="budget, in passes over the training part"
    )
    minutes: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="budget, turned into images once measured"
    )

    network: dict[str, Any] = Field(description="of `alphabar.nn`")
    schedule: dict[str, Any] = Field(DEFAULT_SCHEDULE, description="of `Schedule`")
    head: str = "v"
    loss: str = "v"
    conditional: bool = Field(True, description="tell the network the class, where the data have classes")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of labels hidden, for guidance")
    stratified: bool = Field(True, description="spread each batch's times evenly over 1..T")

    batch_size: int = Field(64, ge=1)
    micro_batch: int | None = Field(None, ge=1, description="images at once; gradients add up")
    flip: bool = Field(False, description="mirror images at random")
    optimizer: Literal["muon", "adamw"] = Field("muon", description="of the hidden matrices")
    lr: float = Field(2e-3, gt=0)
    warmup_images: int = Field(10_000, ge=0, description="the rate rises linearly over these")
    decay: float = Field(0.7, ge=0, le=1, description="last share of the run; the rate falls to 0")
    momentum: float = Field(0.95, ge=0, lt=1, description="of muon")
    betas: tuple[float, float] = Field((0.9, 0.99), description="of adamw")
    weight_decay: float = Field(0.01, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    ema_halflife: float = Field(500_000, gt=0, description="in images")
    ema_ramp: float = Field(0.05, gt=0, description="halflife is at most this share of images seen")

    precision: Precision = Field("auto", description="auto: the fastest of a short measurement")
    channels_last: bool | None = Field(None, description="None: the fastest, likewise")
    compile: Compile | None = Field(None, description="mode of torch.compile; takes a minute at each start")
    best: Literal["held_out_loss", "sample_distance"] = Field(
        "held_out_loss", description="what best.safetensors has the least of"
    )
    save_minutes: float = Field(2.0, ge=0, description="between checkpoints")

    @field_validator("head")
    @classmethod
    def _head(cls, head: str) -> str:
        if head not in HEADS:
            raise unknown("head", head, HEADS)
        return head

    @field_validator("loss")
    @classmethod
    def _loss(cls, loss: str) -> str:
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        return loss

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, schedule: dict[str, Any]) -> dict[str, Any]:
        return Schedule.from_dict(schedule).to_dict()

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        given = [n for n in ("images", "epochs", "minutes") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of images, epochs and minutes, got {' and '.join(given) or 'none'}")
        return self

    def learning_rate(self, images: float, total: float | None) -> float:
        """The rate after `images`: up over the warm-up, level, and down over the last `decay` of all.

        What comes before the fall doesn't depend on the total.
        """
        rate = self.lr * min(1.0, (images + self.batch_size) / max(self.warmup_images, 1))
        if total is not None and self.decay > 0:
            rate *= min(1.0, max(0.0, (total - images) / (self.decay * total)))
        return rate


PRESETS: dict[str, dict[str, Any]] = {
    "ddpm": {
        "schedule": {"name": "linear", "T": 1000},
        "head": "eps",
        "loss": "simple",
        "conditional": False,
        "stratified": False,
        "optimizer": "adamw",
        "lr": 2e-4,
        "betas": (0.9, 0.999),
        "decay": 0.0,
        "weight_decay": 0.0,
    },
    "digits": {
        "minutes": 5,
        "network": {
            "name": "unet",
            "channels": 64,
            "channel_mult": [1, 2],
            "num_res_blocks": 1,
            "attention_levels": [],
            "scale_shift": True,
            "patch": 2,
        },
        "batch_size": 32,
        "warmup_images": 3000,
        "ema_halflife": 20_000,
    },
    "cifar10": {
        "network": {
            "name": "unet",
            "channels": 128,
            "channel_mult": [1, 2, 2, 2],
            "num_res_blocks": 2,
            "attention_levels": [1],
            "dropout": 0.1,
        },
        "schedule": {"name": "linear", "T": 1000},
        "head": "eps",
        "loss": "simple",
        "conditional": False,
        "stratified": False,
        "flip": True,
        "batch_size": 128,
        "micro_batch": 32,
        "optimizer": "adamw",
        "lr": 2e-4,
        "warmup_images": 640_000,
        "betas": (0.9, 0.999),
        "decay": 0.0,
        "weight_decay": 0.0,
        "ema_halflife": 128 * math.log(2) / 1e-4,
        "images": 102_400_000,
    },
}
"""Settings by name:

- `ddpm`: the notes literally: T = 1000, linear beta, eps, uniform t, the simple loss, no classes
- `digits`: what gives the best digits in five minutes on two cores (docs/log.md)
- `cifar10`: the network and training of arXiv 2006.11239
"""


def default_network(shape: tuple[int, int, int]) -> dict[str, Any]:
    """A network for pictures of this size: the top level has at most 32 pixels a side."""
    side = max(shape[1:])
    patch = 1 if side <= 16 else 2 if side <= 64 else 4
    levels = max(2, min(4, round(math.log2(side / patch / 7)) + 1))
    return {
        "name": "unet",
        "channels": 64,
        "channel_mult": [1, 2, 2, 2][:levels],
        "num_res_blocks": 2,
        "attention_levels": [levels - 1],
        "scale_shift": True,
        "patch": patch,
    }


def default_images(num_training: int) -> int:
    """Thirty passes over the data, but at least 200 thousand and at most 5 million images."""
    return min(max(30 * num_training, 200_000), 5_000_000)


def resolve(
    spec: DataSpec, num_training: int, preset: str | None = None, settings: dict[str, Any] | None = None
) -> TrainConfig:
    """Defaults, then the preset, then the settings; `network` and `schedule` are merged key by key."""
    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    budgets = ("images", "epochs", "minutes")
    values: dict[str, Any] = {"network": default_network(spec.shape), "schedule": DEFAULT_SCHEDULE}
    for layer in (PRESETS[preset] if preset else {}, settings or {}):
        if any(layer.get(name) is not None for name in budgets):
            values = {name: value for name, value in values.items() if name not in budgets}
        for name, value in layer.items():
            if name in ("network", "schedule"):
                if not isinstance(value, dict):
                    raise ValueError(f"{name} must be a dictionary of settings, got {value!r}")
                before = values.get(name, {})
                same = value.get("name", before.get("name")) == before.get("name")
                values[name] = {**before, **value} if same and layer is settings else dict(value)
            elif value is not None:
                values[name] = value
    if not any(name in values for name in budgets):
        values["images"] = default_images(num_training)
    classes = len(spec.classes) if values.get("conditional", True) else 0
    for name, value in (("in_channels", spec.shape[0]), ("num_classes", classes)):
        if values["network"].setdefault(name, value) != value:
            given = values["network"][name]
            raise ValueError(f"network.{name} follows from the data and is {value}, got {given}")
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        raise ValueError("; ".join(_readable(entry) for entry in error.errors())) from None


def _readable(entry: Any) -> str:
    """One complaint of pydantic, in the words of this project."""
    name = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return str(unknown("setting", name, TrainConfig.model_fields))
    message = entry["msg"].removeprefix("Value error, ")
    return f"{name}: {message}, got {entry['input']!r}" if name else message


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the settings that differ, with both values."""
    found = []
    for name in sorted({*before, *now}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} ({a} → {b})")
    return found
