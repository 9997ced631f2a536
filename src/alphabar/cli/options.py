"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .flags import Flag, flags_of
from .settings import in_flags

if TYPE_CHECKING:
    from ..data import Dataset

DATA = typer.Argument(
    metavar="DATA",
    help="A folder, .zip or .tar of pictures or of sound, an .npy or .npz file, a table, "
    "FILE.nc:NAME,NAME, hf:NAME (Hugging Face), or digits (the demo).",
    show_default=False,
)
Data = Annotated[str, DATA]
Model = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder (its averaged weights), or a model file.", show_default=False
    ),
]
Folder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
Own = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help=r"Data to compare with. \[default: the run's own]",
        show_default=False,
    ),
]

# Each is an argument of some commands, and in a table of options of others: one Flag, for both forms.
DEVICE = Flag("device", "--device", str, "cpu, cuda, mps, …; auto: a GPU if there is one.", "auto")
SEED = Flag("seed", "--seed", int, "Random seed.", "0")
NUMBER = Flag("number", "--number", int, "How many samples.", short="-n")
OUT = Flag(
    "out", "--out", str, "New folder for the pictures and arrays.", "the next free name", metavar="DIR"
)
JSON = Flag("json", "--json", bool, "Print the result as JSON.")
Device = Annotated[str, DEVICE.option()]
Seed = Annotated[int, SEED.option()]
Number = Annotated[int, NUMBER.option(show_default=True)]
Out = Annotated[str | None, OUT.option()]
Json = Annotated[bool, JSON.option()]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Work in so many processes of this machine, one for each GPU, as torchrun begins them.",
    ),
]


def begin_several(processes: int | None) -> None:
    """Run this very command in so many processes, and end with their exit code; if this is none of them."""
    from ..torchrun import are_several, launch
    from .console import say

    if processes and processes > 1 and not are_several():
        raise typer.Exit(launch(processes, sys.argv[1:], say))


def data_flags(first: Iterable[str] = ()) -> dict[str, Flag]:
    """The options of `DataConfig`; those in `first` are listed before all groups."""
    from ..data.config import DataConfig

    flags = flags_of(DataConfig, group="How DATA is read")
    return flags | {name: replace(flags[name], group=None) for name in first}


def read_data(data: str, preparing: dict[str, Any]) -> Dataset:
    """`prepare`, with a progress bar."""
    from ..data import prepare
    from ..data.config import data_config
    from .console import bar

    try:
        config = data_config(None, preparing)
    except ValueError as error:
        raise in_flags(error, data_flags()) from None
    with bar("reading") as progress:
        return prepare(data, config, progress=progress)
