"""alphabar sample: samples from noise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .flags import takes
from .sampling import FRAMES, config_of, load_model, sample_flags
from .written import asked_folder, report_written

if TYPE_CHECKING:
    from pathlib import Path

    from ..sampling.sampler import SampleStream


@takes(how=sample_flags)
def sample(
    run: options.Model,
    number: options.Number = 16,
    out: options.Out = None,
    first: Annotated[int, typer.Option(help="Index of the first sample, to continue a series.")] = 0,
    trajectory: Annotated[
        bool,
        typer.Option("--trajectory", help="Also save the way from noise as strip.png and trajectory.gif."),
    ] = False,
    json: options.Json = False,
    *,
    how: dict[str, Any],
) -> None:
    """Draw samples from a model. Only RUN is required.

    Samples are written as they are drawn; if it is interrupted, the same command draws the rest.
    """
    from ..sampling.output import folder_for
    from ..sampling.sampler import stream_samples
    from .console import bar

    if number < 1 or first < 0:
        raise ValueError(f"-n must be at least 1 and --first at least 0, got {number} and {first}")
    folder = asked_folder(out, unfinished=True)
    config = config_of(how)
    denoiser = load_model(run, how)
    begin = time.perf_counter()
    with bar("sampling") as progress:
        indices = range(first, first + number)
        frames = FRAMES if trajectory else 0
        stream = stream_samples(denoiser, config=config, indices=indices, frames=frames, progress=progress)
        folder = folder or folder_for("samples", stream, model_file=str(run))
        drawn = _write(folder, stream, str(run))
    report_written(folder, stream, json, time.perf_counter() - begin, drawn=drawn)


def _write(folder: Path, stream: SampleStream, run: str) -> int:
    """Draw the samples that are missing, and return how many; if interrupted, say how to go on."""
    from ..sampling.output import SampleWriter
    from .console import say

    with SampleWriter(folder, stream, model_file=run) as writer:
        missing = writer.missing
        if before := len(stream.indices) - len(missing):
            say(f"{folder} has {before:,} of {len(stream.indices):,} samples; going on with the rest")
        try:
            for block in stream.only(missing):
                writer.write(block)
        except KeyboardInterrupt:
            say(f"stopped: {len(writer.done):,} of {len(stream.indices):,} samples are in {folder}; "
                "the same command draws the rest")  # fmt: skip
            raise
        writer.finish()
    return len(missing)
