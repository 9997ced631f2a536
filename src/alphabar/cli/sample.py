"""alphabar sample: pictures from noise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .drawing import arguments, bar, draws, load_model

if TYPE_CHECKING:
    from ..data import DataSpec
    from ..sampling import Samples

Out = Annotated[
    str | None, typer.Option(metavar="DIR", help="A new folder.", show_default="the next free name")
]


@draws
def sample(
    run: options.Model,
    number: Annotated[int, typer.Option("-n", "--number", help="How many.")] = 16,
    out: Out = None,
    first: Annotated[int, typer.Option(help="Number of the first sample.")] = 0,
    trajectory: options.Trajectory = False,
    *,
    how: dict[str, Any],
) -> None:
    """Draw samples from a model. No other flag is needed."""
    from ..sampling import sample as draw

    if number < 1 or first < 0:
        raise ValueError(f"-n must be at least 1 and --first at least 0, got {number} and {first}")
    folder = new_or_free(out, "samples")
    denoiser = load_model(run, how)
    begin = time.perf_counter()
    with bar() as progress:
        samples = draw(
            denoiser,
            indices=range(first, first + number),
            frames=options.TRAJECTORY_FRAMES if trajectory else 0,
            progress=progress,
            **arguments(denoiser, how),
        )
    write(folder, samples, denoiser.data, run, time.perf_counter() - begin)


def new_or_free(out: str | None, stem: str) -> Path:
    """The folder to write, checked to be new; or the next free one."""
    from ..sampling.output import new_folder
    from .files import free_folder

    return new_folder(out) if out else free_folder(stem)


def write(folder: Path, samples: Samples, spec: DataSpec, run: str, elapsed_s: float, **facts: Any) -> None:
    """Write samples with their facts, and say so."""
    from ..sampling.output import write_samples
    from .console import output

    write_samples(folder, samples, spec, model_file=str(run), **facts)
    n, evaluations = len(samples.indices), samples.facts["evaluations"]
    plan = samples.facts["plan"].get("made_by", samples.facts["plan"])
    name = plan.get("sampler", "a given plan")
    output.print(
        f"{n} sample{'s' * (n > 1)} in {evaluations} evaluation{'s' * (evaluations > 1)} ({name}), "
        f"{elapsed_s:.1f} s; look at {folder / 'grid.png'}"
    )
