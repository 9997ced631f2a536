"""Options that several commands share, and the ways to read them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..data import Dataset

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder or .zip of pictures, an .npy or .npz file, hf:NAME, or digits.",
        show_default=False,
    ),
]
Model = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, or a model file.", show_default=False)
]
Size = Annotated[
    str | None, typer.Option(metavar="S|HxW", help="Side of the pictures to train on, such as 64 or 48x64.")
]
Classes = Annotated[
    str, typer.Option(help="folders: sub-folders are classes; none; auto: if they plainly are.")
]
Channels = Annotated[str, typer.Option(help="grey, rgb, rgba, or auto: as the pictures are.")]
Background = Annotated[str, typer.Option(help="Colour that transparent pixels are laid over.")]
ValueRange = Annotated[
    tuple[float, float] | None, typer.Option("--range", metavar="LOW HIGH", help="Of an array's values.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on without unreadable pictures.")]
Holdout = Annotated[float, typer.Option(help="Share held out for validation.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, …; auto: a GPU if there is one.")]
Seed = Annotated[int, typer.Option(help="Sample i of a seed is always the same.")]
Trajectory = Annotated[
    bool, typer.Option("--trajectory", help="Also the way there: strip.png and trajectory.gif.")
]

TRAJECTORY_FRAMES = 41


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """ "64" → 64, "48x64" → (48, 64) as height and width."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:\s*[xX×]\s*(\d+))?", text.strip())
    if not match:
        raise ValueError(f"--size must be a number of pixels or HEIGHTxWIDTH, got {text!r}")
    height, width = match.groups()
    return (int(height), int(width)) if width else int(height)


def parse_amount(text: str | None, option: str) -> int | None:
    """ "200k" → 200000, "3M" → 3000000."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{option} must be a number such as 5000, 200k or 3M, got {text!r}")
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """["lr=1e-3", "network.channels=96"] → {"lr": 1e-3, "network": {"channels": 96}}."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path:
            raise ValueError(f"--set takes NAME=VALUE, such as lr=1e-3 or network.channels=96, got {pair!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = settings
        *parents, name = path.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(
                    f"--set gives both a value and parts to {parent!r}, got {' and '.join(pairs)}"
                )
        place[name] = value
    for group in ("network", "schedule"):
        if not isinstance(settings.get(group, {}), dict):
            raise ValueError(
                f"{group} has several settings; give them one by one, such as --set {group}.name=NAME, "
                f"got {settings[group]!r}"
            )
    return settings


def parse_device(name: str) -> str:
    """`auto` → the GPU if there is one; otherwise the name, if torch can use it."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def read_data(
    data: str,
    size: str | None,
    classes: str,
    channels: str,
    background: str,
    value_range: tuple[float, float] | None,
    skip_bad: bool,
    holdout: float,
) -> Dataset:
    """`prepare`, with a progress bar."""
    from rich.progress import Progress

    from ..data import prepare
    from .console import errors

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        return prepare(
            data,
            parse_size(size),
            channels=channels,
            classes=classes,
            background=background,
            value_range=value_range,
            skip_bad=skip_bad,
            holdout=holdout,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
