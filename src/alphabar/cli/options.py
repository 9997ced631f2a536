"""Arguments and options that several commands share."""

from __future__ import annotations

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
    help="A folder or .zip of pictures, an .npy or .npz file, hf:NAME (Hugging Face), or digits (the demo).",
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
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, …; auto: a GPU if there is one.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Number = Annotated[int, typer.Option("-n", "--number", help="How many samples.")]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help=r"New folder for the pictures and arrays. \[default: the next free name]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", show_default=False)]


def data_flags(first: Iterable[str] = ()) -> dict[str, Flag]:
    """The options of `DataConfig`, of which some are listed before all groups."""
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
