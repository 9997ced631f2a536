"""alphabar sample: samples from noise."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .flags import Flag, takes
from .sampling import FRAMES, load_model, sample_flags
from .told import config_of, told_from
from .written import asked_folder, drawn, help_draw, report_written

if TYPE_CHECKING:
    from ..model import Denoiser

NUMBER = 16
MOST_INDICES = 2**56
COUNT = f"{NUMBER}; with --cond-from, a sample for each of its rows"


def sizing_flags() -> dict[str, Flag]:
    """All options of sampling from noise, the size among them."""
    return sample_flags(without=("start",))


@takes(how=sizing_flags)
def sample(
    run: options.Model,
    number: Annotated[int | None, replace(options.NUMBER, shown=COUNT).option()] = None,
    out: options.Out = None,
    first: Annotated[int, typer.Option(help="Index of the first sample, to continue a series.")] = 0,
    trajectory: Annotated[
        bool,
        typer.Option("--trajectory", help="Also save the way from noise as strip.png and trajectory.gif."),
    ] = False,
    processes: options.Processes = None,
    json: options.Json = False,
    *,
    how: dict[str, Any],
) -> None:
    """Draw samples from a model. Only RUN is required.

    Samples are written as they are drawn; if it is interrupted, the same command draws the rest.
    """
    from ..data.conditions.base import is_told
    from ..sampling.sampler import stream_samples
    from ..world import join
    from .console import bar, say

    options.begin_several(processes)
    world = join()
    folder = asked_folder(out)
    if "cond_from" in how:
        rows = len(next(iter(told_from(how["cond_from"]).values())))
        if number not in (rows, None):
            raise ValueError(f"--cond-from has {rows} rows, a sample each, and -n is {number}: leave -n out")
        number = rows
    number = NUMBER if number is None else number
    if number < 1 or first < 0:
        raise ValueError(f"-n must be at least 1 and --first at least 0, got {number} and {first}")
    if first + number > MOST_INDICES:
        raise ValueError(f"samples are numbered up to 2^56 - 1, got --first {first} and -n {number}")
    config = config_of(how)  # what no model makes right is said before one is loaded
    denoiser = load_model(run, how)
    denoiser = _of_size(denoiser, config.size)
    config = config_of(how, denoiser)
    begin = time.perf_counter()
    with bar("sampling") as progress:
        indices = range(first, first + number)
        frames = FRAMES if trajectory else 0
        stream = stream_samples(denoiser, config=config, indices=indices, frames=frames, progress=progress)
        if world.rank:
            help_draw(stream, world, model_file=run)
            return
        with drawn(folder, "samples", stream, world, model_file=run) as writer:
            pass
    for name, condition in denoiser.conditions.items():
        if condition.kind == "picture" and not is_told(stream.told[name]).any():
            say(f"told no {name}: --cond {name}=FILE tells one, --cond-from FOLDER a sample each")
    report_written(writer.folder, stream, json, time.perf_counter() - begin, drawn=writer.drawn)


def _of_size(denoiser: Denoiser, size: tuple[int, ...] | None) -> Denoiser:
    """The model for samples of this size, whole ones unless one is given; what is special of them is said."""
    from ..model.whole import InParts, of_sides
    from .console import say

    crop, whole = ("x".join(map(str, sides or ())) for sides in (denoiser.shape[1:], denoiser.whole))
    if (sides := size or denoiser.whole) is None:
        return denoiser
    found = of_sides(denoiser, sides)
    if isinstance(found.call, InParts):
        parts = len(found.call.corners)
        say(f"each is put together of {parts:,} parts, told their places; --size {crop} draws a part alone")
    elif whole and found.shape != denoiser.shape:
        say(
            f"these are neither parts ({crop}) nor whole ({whole}): drawn at once, told no place, and of a "
            "size that training never saw"
        )
    return found
