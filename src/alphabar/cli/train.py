"""alphabar train: from a folder of data to a model that describes itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import BEGAN, options
from .data import read_as
from .expected import expected_in_minutes
from .flags import Flag, described, flags_of, glossed, takes
from .progress import Stopped, stop_signals
from .settings import check_given, in_flags, merged, parse_sets
from .shown_run import as_typed, follow_training

if TYPE_CHECKING:
    from ..data import Dataset
    from ..runs.folder import RunFolder
    from ..runs.run import Run
    from ..training.config import TrainConfig

PRESET_HELP = "A named set of defaults, which other options override"


def train_flags() -> dict[str, Flag]:
    """The options of a training: preset, noise schedule, network, and the fields of `TrainConfig`."""
    from ..nn import NETWORKS
    from ..runs import sinks  # noqa: F401  (which fills the table of logs)
    from ..training.config import BUDGETS, TrainConfig
    from ..training.presets import PRESETS
    from .show import schedule_rows

    preset = Flag("preset", "--preset", str, glossed(PRESET_HELP, PRESETS))
    parts = {
        "schedule": Flag(
            "schedule", "--schedule", str, described("Noise schedule", schedule_rows()),
            "sigmoid, or the preset's",
        ),
        "T": Flag("T", "--T", int, "Number of noising steps.", "1000"),
        "network": Flag(
            "network", "--network", str, described("Network, or package.module:Class of your own", NETWORKS),
            "unet", metavar="NAME",
        ),
    }  # fmt: skip
    fields = flags_of(TrainConfig)
    return {"preset": preset} | {name: fields[name] for name in BUDGETS} | parts | fields


Fork = Annotated[
    str | None,
    typer.Option(
        metavar="NEW_RUN",
        help="Copy the run at --out, with its optimizer state, to NEW_RUN and continue there with these "
        "settings.",
    ),
]


@takes(training=train_flags, preparing=lambda: options.data_flags(first=("size",)))
def train(
    data: options.Data,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help=r"Folder of the run. \[default: runs/NAME-OF-DATA]", show_default=False
        ),
    ] = None,
    fork: Fork = None,
    device: options.Device = "auto",
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting, such as network.channels=96; repeatable. --dry-run lists all of them.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show time, memory and settings; write nothing.")
    ] = False,
    processes: options.Processes = None,
    json: options.Json = False,
    *,
    training: dict[str, Any],
    preparing: dict[str, Any],
) -> None:
    """Train a model on your data. The same command again resumes, bit for bit.

    With a larger budget, such as --images 400k, it continues a finished run.
    """
    from ..files import expanded
    from ..world import join

    options.begin_several(processes)
    with join().leading(), stop_signals() as stop:
        try:
            folder = expanded(out) if out else default_folder(data)
            settings = training_settings(training, sets or [])
            run, expected = _opened(folder, fork, data, preparing, settings, device, dry_run)
            if dry_run:
                from .dry_run import explain

                explain(run, json, expected)
                return
            follow_training(run, stop, json, expected)
        except Stopped:
            _say_stopped(dry_run)
            raise typer.Exit(stop.exit_code) from None


def _say_stopped(dry: bool) -> None:
    from .console import say

    if dry:
        say("stopped; nothing was written (--dry-run)")
        return
    say("stopped before the first update; the same command starts again, or resumes:")
    say(f"  {as_typed()}")


def default_folder(data: str) -> Path:
    """runs/NAME-OF-DATA, without its ending, both of them in a.nii.gz."""
    from ..files import expanded

    path = expanded(data.removeprefix("hf:"))
    return Path("runs") / (path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem)


def training_settings(given: dict[str, Any], sets: list[str]) -> dict[str, Any]:
    """Options and --set together, with `preset` among them; what no data make right is refused."""
    from ..training.config import TrainConfig

    given = dict(given)
    schedule = {"name": given.pop("schedule", None), "T": given.pop("T", None)}
    schedule = {name: value for name, value in schedule.items() if value is not None}
    if schedule:
        given["schedule"] = schedule
    if "network" in given:
        given["network"] = {"name": given["network"]}
    settings = merged(given, parse_sets(sets, TrainConfig), train_flags())
    check_given(settings, flags_of(TrainConfig))
    return settings


def _opened(
    folder: Path,
    fork: str | None,
    data: str,
    preparing: dict[str, Any],
    settings: dict[str, Any],
    device: str,
    dry: bool,
) -> tuple[Run, int | None]:
    """(the run, new or resumed, or a fork of it, with its data read; how many images are expected)."""
    from ..files import expanded
    from ..model import pick_device
    from ..runs.afford import afford
    from ..runs.folder import RunFolder
    from ..runs.run import Run
    from ..world import join
    from .console import say

    device, before = pick_device(device), RunFolder(folder)
    if not dry:
        (before if fork is None else RunFolder(expanded(fork))).check_trainable()
    if dry:
        say("reading the data, and measuring how fast the network trains here …")
    if fork is not None and not preparing and before.exists() and before.entry()["data"]["source"] == data:
        preparing = before.entry()["data"]["prepared"]
    dataset = options.read_data(data, preparing)
    config = (_resolved if fork is None else _forked)(before, dataset, settings)
    if fork is not None or not before.exists():
        _check_network(config, dataset)
    measured: dict[str, Any] = {}
    images = None
    if fork is None:
        if config.minutes is not None and not before.exists() and not dry:
            say("measuring how fast the network trains here …")
        config, measured, images = afford(
            before, config, dataset, device, settings, begun=BEGAN, processes=join().size
        )
    target = folder if fork is None else expanded(fork)
    command = ["alphabar", *sys.argv[1:]]
    forked = folder if fork is not None else None
    run = Run(
        target, dataset, config,
        source=data, device=device, world=join(), fork_of=forked, command=command, say=say,
    )  # fmt: skip
    run.entry["measured"] |= measured
    if not dry:
        for line in read_as(dataset):
            say(f"data: {line}")
    if images is not None:
        say(expected_in_minutes(config, images, dataset.space.kind))
    return run, images


def _check_network(config: TrainConfig, dataset: Dataset) -> None:
    """ValueError, before anything is said or done, if the network can't be made for these data."""
    import torch

    from ..nn import NETWORKS, build_network
    from ..training.fitted import conditions_told, fitted_to

    if str(config.network.get("name")) in NETWORKS:
        conditions = conditions_told(config, dataset)
        shape = fitted_to(dataset).codec.shape
        with torch.device("meta"):
            build_network(config.network, shape, {n: c.shape for n, c in conditions.items()})
    elif ":" not in str(config.network.get("name")):
        build_network(config.network, dataset.space.shape)  # raises


def _resolved(folder: RunFolder, dataset: Dataset, settings: dict[str, Any]) -> TrainConfig:
    """The settings of a run, in which an option's own name stands for its setting in errors."""
    from ..runs.start import resumed_config
    from ..training.config import TrainConfig
    from ..world import join

    preset = settings.get("preset")
    others = {name: value for name, value in settings.items() if name != "preset"}
    try:
        return resumed_config(folder, dataset, preset, others, join().size)
    except ValueError as error:
        raise in_flags(error, flags_of(TrainConfig)) from None


def _forked(folder: RunFolder, dataset: Dataset, settings: dict[str, Any]) -> TrainConfig:
    """The settings of the run that is forked, except for those given here."""
    from ..runs.start import forked_config

    if "preset" in settings:
        raise ValueError("a fork keeps the settings of its run, except those given here: leave out --preset")
    return forked_config(folder, dataset, settings)[0]
