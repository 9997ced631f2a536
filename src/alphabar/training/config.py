"""The settings of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ..errors import unknown
from ..settings import Settings, numbers_by_name
from ..theory.losses import LOSSES
from ..theory.parametrization import PREDICTIONS
from ..theory.schedule import Schedule
from .rate import Decisions, rate_factor

Precision = Literal["auto", "float32", "bfloat16"]
Compile = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]

DEFAULT_SCHEDULE = {"name": "sigmoid", "T": 1000}
MOST_IMAGES, MOST_BATCH = 10**15, 2**20
DROPOUT = 0.1  # of a condition
SHARES = numbers_by_name("condition_dropout")
LARGEST = 1e12  # of what multiplies weights, which are float32
BUDGETS = ("images", "epochs", "minutes")
LOGS: dict[str, Any] = {}
"""Where metrics can go, by name. Training writes none: `alphabar.runs.sinks` fills it. Until that is imported
any name is taken here; `Run` checks them all."""


def _field(
    default: Any,
    description: str,
    group: str,
    *,
    role: str = "identity",
    common: bool = False,
    bounds: dict[str, Any] | None = None,
    **extra: Any,
) -> Any:
    """A setting.

    Args:
        default, description: of the field.
        group: the heading of the help that it stands under, unless it is `common`.
        role: `identity` (it decides the bits), `budget` (how long), `habit` (may change at any time) or
            `start` (where the weights come from).
        common: whether it is among the most used, which come before all headings.
        bounds: ge, gt, le, lt, allow_inf_nan.
        extra: for the command line: flag, choices, glossed, metavar, shown, off, amount, option.
    """
    extra |= {"role": role} if common else {"role": role, "group": group}
    make: Any = Field
    return make(default, description=description, json_schema_extra=extra, **(bounds or {}))


def _objectives() -> Iterable[str]:
    from .objectives import OBJECTIVES

    return OBJECTIVES


def _times() -> Iterable[str]:
    from .objectives import TIMES

    return TIMES


class TrainConfig(Settings):
    """The settings of a run. Amounts of training are counted in images, whatever the batch size.

    Exactly one of `images`, `epochs` and `minutes` is the budget.
    """

    images: int | None = _field(
        None, "stop after this many training images in total, resumed parts included, such as 200k or 3M",
        "Budget", role="budget", common=True,
        bounds={"ge": 1, "le": MOST_IMAGES}, metavar="N", amount=True,
        shown="30 passes over the data, but 200k to 5M, or the preset's",
    )  # fmt: skip
    epochs: float | None = _field(
        None, "instead of --images: stop after this many passes over the data", "Budget", role="budget",
        common=True, bounds={"gt": 0, "le": 1e9, "allow_inf_nan": False},
    )  # fmt: skip
    minutes: float | None = _field(
        None, "instead of --images: stop so many minutes after the start, resumed parts included; reading "
        "the data counts, up to half of them",
        "Budget", role="budget", common=True,
        bounds={"gt": 0, "le": 1e7, "allow_inf_nan": False},
    )  # fmt: skip

    init_from: str | None = _field(
        None, "start a new run from these weights only: a run, checkpoint or model file", "Model",
        role="start", common=True, flag="--from", metavar="MODEL",
    )  # fmt: skip
    network: dict[str, Any] = _field(..., "its name and settings", "Model")
    schedule: dict[str, Any] = _field(DEFAULT_SCHEDULE, "its name, T and bounds", "Model")
    prediction: str = _field(
        "v", "what the network predicts", "Model", common=True, choices=PREDICTIONS, glossed=True,
        shown="v, or x0 by the data and the minutes, or the preset's",
    )  # fmt: skip
    conditional: bool = _field(
        True, "tell the network the conditions that the data have", "Model",
        off="train without the data's classes or other conditions",
    )  # fmt: skip
    condition_dropout: Annotated[float | dict[str, float], BeforeValidator(SHARES)] = _field(
        DROPOUT, "probability of dropping each condition, for classifier-free guidance, or NAME=SHARE,…",
        "Model", metavar="SHARE",
    )  # fmt: skip

    objective: str = _field("denoise", "what is minimized", "Learning", choices=_objectives, option="choice")
    loss: str = _field(
        "v", "loss weighting over t", "Learning", common=True, choices=LOSSES, glossed=True,
        shown="v, or clipped where x0 is predicted by default, or the preset's",
    )  # fmt: skip
    times: str = _field("uniform", "the law of times t", "Learning", choices=_times, option="choice")
    stratified: bool = _field(
        True, "spread each batch's times evenly", "Learning",
        off="draw each image's time independently, instead of spreading a batch's times evenly",
    )  # fmt: skip
    references: int = _field(
        0, "samples that a stable target is a mean over, in whole batches; 0: it is the sample's own",
        "Learning", bounds={"ge": 0, "le": MOST_BATCH}, shown="up to 4096 where samples share what is told",
    )  # fmt: skip
    batch_size: int = _field(
        64, "images per update", "Learning", common=True, bounds={"ge": 1, "le": MOST_BATCH}, flag="--batch",
        shown="64 (256 of vectors), or what the preset or the budget asks for",
    )  # fmt: skip
    balanced: bool = _field(
        False, "show each class as often as any other, however many samples it has", "Learning"
    )
    flip: bool = _field(False, "mirror images at random", "Learning", common=True)
    turns: bool = _field(
        False, "turn square pictures or fields by quarters at random, where there is no up", "Learning"
    )
    optimizer: Literal["muon", "adamw"] = _field(
        "muon", "optimizer: muon (weight matrices; adamw for the rest) or adamw (for all)", "Learning",
        shown="muon; adamw for vectors",
    )  # fmt: skip
    lr: float = _field(
        2e-3, "learning rate", "Learning", common=True,
        bounds={"gt": 0, "le": LARGEST, "allow_inf_nan": False},
        shown="0.002 (0.001 of vectors), or the preset's",
    )  # fmt: skip
    warmup_images: int = _field(
        10_000, "images over which the learning rate rises from 0; at most a tenth of the run", "Learning",
        bounds={"ge": 0},
    )  # fmt: skip
    decay: float = _field(
        0.7, "final share of the run over which the learning rate falls to 0", "Learning",
        bounds={"ge": 0, "le": 1},
    )  # fmt: skip
    momentum: float = _field(0.95, "Muon's momentum", "Learning", bounds={"ge": 0, "lt": 1})
    betas: tuple[float, float] = _field(
        (0.9, 0.99), "AdamW's betas (not the noise schedule's)", "Learning", metavar="B1 B2"
    )
    weight_decay: float = _field(
        0.01, "weight decay, multiplied by the learning rate (as in AdamW)", "Learning",
        bounds={"ge": 0, "le": LARGEST, "allow_inf_nan": False},
    )  # fmt: skip
    grad_clip: float = _field(1.0, "clip the gradient norm to this", "Learning", bounds={"gt": 0})
    ema_halflife: float = _field(
        500_000, "EMA half-life, in images (not a decay such as 0.9999)", "Learning", bounds={"gt": 0}
    )
    ema_ramp: float = _field(
        0.05, "early on, limit the half-life to this share of the images seen so far", "Learning",
        bounds={"gt": 0},
    )  # fmt: skip
    seed: int = _field(
        0, "seed of weights, order, times and noise", "Learning", common=True, bounds={"ge": 0}
    )

    micro_batch: int | None = _field(
        None, "images per forward pass; gradients are accumulated up to --batch. Lower it to save memory",
        "Speed", bounds={"ge": 1}, shown="the whole batch",
    )  # fmt: skip
    recompute: bool = _field(
        False, "run each block again in the backward pass, instead of keeping what is in it: less memory, a "
        "third more time, the same bits", "Speed", role="habit",
    )  # fmt: skip
    precision: Precision = _field(
        "auto", "precision of the network; auto: what is faster here", "Speed", common=True
    )
    channels_last: bool | None = _field(
        None, "memory layout of images; the fastest of a short measurement unless given", "Speed"
    )
    threads: int | None = _field(
        None, "threads of the CPU", "Speed", role="habit", bounds={"ge": 1},
        shown="all; one where that is faster beside other programs",
    )  # fmt: skip
    virtual_processes: int = _field(
        1, "parts of a batch whose gradients are added up in one order, so that any number of processes that "
        "divides it trains the same bits", "Speed", bounds={"ge": 1, "le": MOST_BATCH},
        shown="as many as the run begins with",
    )  # fmt: skip
    exact_processes: Literal["on", "off"] = _field(
        "on", "off: PyTorch's own reduction of gradients (DDP), whose bits depend on the number of processes",
        "Speed",
    )  # fmt: skip
    sharded: bool = _field(
        False, "cut weights, optimizer and average into shards, a part at each process (FSDP2), where a GPU "
        "can't hold all of them; the last bits depend on the number of processes",
        "Speed",
    )  # fmt: skip
    compile: Compile | None = _field(None, "mode of torch.compile; takes a minute at each start", "Speed")
    save_minutes: float = _field(
        2.0, "minutes between checkpoints", "Saving", role="habit", bounds={"ge": 0, "allow_inf_nan": False}
    )
    keep_every: int | None = _field(
        None, "also keep a checkpoint after each N images, beside the last two and those at quarters",
        "Saving", role="habit", bounds={"ge": 1, "le": MOST_IMAGES}, metavar="N", amount=True,
    )  # fmt: skip
    best: Literal["held_out_loss", "sample_distance"] = _field(
        "held_out_loss", "metric whose lowest value is kept as best.safetensors", "Saving", role="habit"
    )
    log: str = _field(
        "", "also log metrics to these, separated by commas", "Saving", role="habit", common=True,
        choices=LOGS, metavar="NAME,NAME",
    )  # fmt: skip
    previews: bool = _field(
        True, "draw some samples now and then", "Saving", role="habit",
        off="don't draw preview samples during training",
    )  # fmt: skip

    @field_validator("prediction", "loss", "objective", "times")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        extra: Any = cls.model_fields[info.field_name].json_schema_extra
        known: Any = extra["choices"]
        known = known() if callable(known) else known
        if name not in known:
            raise unknown(info.field_name, name, known)
        return name

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, schedule: dict[str, Any]) -> dict[str, Any]:
        return Schedule.from_dict(schedule).to_dict()

    @field_validator("condition_dropout")
    @classmethod
    def _shares(cls, given: float | dict[str, float]) -> float | dict[str, float]:
        for share in given.values() if isinstance(given, dict) else [given]:
            if not 0 <= share < 1:
                raise ValueError(f"condition_dropout must lie within 0 and 1 (1 excluded), got {share}")
        return given

    @field_validator("log", mode="before")
    @classmethod
    def _log(cls, log: Any) -> Any:
        names = log if isinstance(log, list | tuple) else str(log or "").split(",")
        names = [str(name).strip() for name in names if str(name).strip()]
        for name in names:
            if LOGS and name not in LOGS:
                raise unknown("log", name, LOGS)
        return ",".join(dict.fromkeys(names))

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of images, epochs and minutes, got {' and '.join(given) or 'none'}")
        return self

    @model_validator(mode="after")
    def _go_together(self) -> TrainConfig:
        if self.recompute and self.compile:
            raise ValueError("blocks that are run again are not compiled: leave compile out, or recompute")
        if self.batch_size % self.virtual_processes:
            raise ValueError(
                "batch_size must be a multiple of virtual_processes (unless given as many as processes), "
                f"got {self.batch_size} and {self.virtual_processes}"
            )
        return self

    @property
    def logs(self) -> tuple[str, ...]:
        """The names in `log`."""
        return tuple(self.log.split(",")) if self.log else ()

    def dropout_of(self, name: str) -> float:
        """The probability that a condition is dropped."""
        if isinstance(self.condition_dropout, dict):
            return self.condition_dropout.get(name, DROPOUT)
        return self.condition_dropout

    def of_role(self, role: str) -> dict[str, Any]:
        """The settings of one role, as JSON."""
        return self.model_dump(mode="json", include=names_of_role(role))

    def learning_rate(self, images: float, total: float | Decisions | None) -> float:
        """The rate after `images` of a run of `total` images, or of several decisions; see `rate_factor`."""
        decisions: Any = () if total is None else ((0, total),) if isinstance(total, int | float) else total
        return self.lr * rate_factor(images, decisions, self.batch_size, self.warmup_images, self.decay)


def names_of_role(role: str) -> set[str]:
    """The settings with this role."""
    extras = {name: field.json_schema_extra for name, field in TrainConfig.model_fields.items()}
    return {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("role") == role}
