"""alphabar edit: variations of real samples, and the way between two; `restore` has the other commands."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import typer

from . import options
from .app import Group
from .flags import Flag, takes
from .read import model_of, read_noisy, read_sample
from .restore import colorize, deblur, inpaint, upscale
from .sampling import FRAMES, UNTOLD, load_model, sample_flags, with_defaults
from .told import config_of
from .written import asked_folder, drawn, report_written, save_sheets, say_if_drawn

T_HELP = "Noise level to start from, 1 to T; a higher one changes more. Try 0.6 T."
EACH, AMONG = "How many variations of each.", "How many samples, A's and B's own among them."


def vary_flags() -> dict[str, Flag]:
    """The options of sampling, with the defaults for a start at --t."""
    from ..theory.plans import DEFAULT_EVALUATIONS, DEFAULT_SAMPLER

    steps = f"{DEFAULT_EVALUATIONS} from t = T, fewer from a smaller t"
    return with_defaults(
        sample_flags(from_noise=False), evaluations=steps, sampler=DEFAULT_SAMPLER, class_name=UNTOLD
    )


@takes(how=vary_flags)
def vary(
    run: options.Model,
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE…",
            help="Pictures, samples as .npy, or FILE:NUMBER, one of several in an array, .nc or table.",
            show_default=False,
        ),
    ],
    t: Annotated[float | None, typer.Option("--t", help=T_HELP, show_default="required")] = None,
    out: options.Out = None,
    noisy: Annotated[
        bool, typer.Option("--noisy", help="The pictures are already noised to t; add none.")
    ] = False,
    number: Annotated[int, replace(options.NUMBER, help=EACH).option(show_default=True)] = 8,
    json: options.Json = False,
    *,
    how: dict[str, Any],
) -> None:
    """Make variations of real pictures (img2img, SDEdit): add noise up to time t, then denoise."""
    from ..files import write_array
    from ..sampling.edit import stream_variations
    from .console import bar

    if number < 1:
        raise ValueError(f"-n must be at least 1, got {number}")
    folder = asked_folder(out)
    config_of(how)
    denoiser = model_of(load_model(run, how), pictures[0])
    config = config_of(how, denoiser)
    space = denoiser.space
    T = denoiser.schedule.T
    if t is None or not 1 <= t <= T:
        what = (
            "is needed, the noise level to start from" if t is None else f"must lie within 1..{T}, got {t:g}"
        )
        raise ValueError(f"--t {what}: try --t {0.6 * T:.0f} of {T}; a higher one changes more")
    given = np.stack([(read_noisy if noisy else read_sample)(path, space) for path in pictures])
    begin = time.perf_counter()
    with bar("sampling") as progress:
        stream, x_t = stream_variations(
            denoiser, given, t, number, config, noisy=noisy, frames=FRAMES, progress=progress
        )
        sheets = {"noisy.png": denoiser.codec.decode(x_t)} | ({} if noisy else {"input.png": given})
        with drawn(folder, "varied", stream, model_file=run, pictures=pictures, t=t) as writer:
            save_sheets(writer.folder, sheets, space)
            write_array(writer.folder / "noisy.npy", x_t[0] if len(x_t) == 1 else x_t)
    say_if_drawn(stream, how, " variation")
    report_written(writer.folder, stream, json, time.perf_counter() - begin)


def interpolate_flags() -> dict[str, Flag]:
    """The options of sampling, with the defaults for the way between two samples."""
    from ..sampling.edit import SAMPLER_DOWN, SPACING_DOWN, WAY_DOWN

    steps = f"{WAY_DOWN} from t = T, fewer from a smaller t"
    own = {"evaluations": steps, "sampler": SAMPLER_DOWN, "spacing": SPACING_DOWN, "class_name": "none"}
    return with_defaults(sample_flags(from_noise=False), **own)


@takes(how=interpolate_flags)
def interpolate(
    run: options.Model,
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="A picture, a sample as .npy, or FILE:NUMBER, one of several."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    out: options.Out = None,
    number: Annotated[int, replace(options.NUMBER, help=AMONG).option(show_default=True)] = 9,
    by: Annotated[
        str, typer.Option(help="encode: between their noises; noise: both noised alike to --t.")
    ] = "encode",
    t: Annotated[
        float | None, typer.Option("--t", help=r"For --by noise, 1..T. \[default: T/2]", show_default=False)
    ] = None,
    json: options.Json = False,
    *,
    how: dict[str, Any],
) -> None:
    """Morph one picture into another."""
    from ..sampling.edit import stream_between
    from .console import bar

    folder = asked_folder(out)
    config_of(how)
    denoiser = model_of(load_model(run, how), a)
    config = config_of(how, denoiser)
    if t is not None and not 1 <= t <= denoiser.schedule.T:
        raise ValueError(f"--t must lie within 1..{denoiser.schedule.T}, got {t:g}")
    x_a, x_b = read_sample(a, denoiser.space), read_sample(b, denoiser.space)
    begin = time.perf_counter()
    with bar("sampling") as progress:
        stream = stream_between(denoiser, x_a, x_b, number, config, method=by, t=t, progress=progress)
        with drawn(folder, "interpolated", stream, model_file=run, pictures=[a, b], by=by) as writer:
            row = {"row.png": np.concatenate([x_a[None], writer.images(), x_b[None]])}
            save_sheets(writer.folder, row, denoiser.space, number + 2)
    report_written(writer.folder, stream, json, time.perf_counter() - begin)


edit = Group(
    {
        "vary": vary,
        "interpolate": interpolate,
        "inpaint": inpaint,
        "upscale": upscale,
        "colorize": colorize,
        "deblur": deblur,
    }
)
