"""alphabar denoise and interpolate: from real pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .drawing import arguments, bar, draws, load_model, say_if_drawn
from .read import read_sample
from .sample import Out, new_or_free, write

if TYPE_CHECKING:
    import numpy as np

    from ..data import DataSpec


@draws
def denoise(
    run: options.Model,
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE…", help="Pictures, or samples as .npy.", show_default=False),
    ],
    t: Annotated[float, typer.Option("--t", help="The time to noise them to, 1..T.")],
    out: Out = None,
    noisy: Annotated[bool, typer.Option("--noisy", help="They are at t already: don't add noise.")] = False,
    number: Annotated[int, typer.Option("-n", "--number", help="How many ways back for each.")] = 8,
    *,
    how: dict[str, Any],
) -> None:
    """Variations of real pictures: noise each to time t (or take it as it is) and bring it back."""
    import numpy as np

    from ..sampling import sample as draw
    from ..sampling.slots import sample_noise
    from ..theory.gaussian import q_sample

    if number < 1:
        raise ValueError(f"-n must be at least 1, got {number}")
    folder = new_or_free(out, "denoised")
    denoiser = load_model(run, how)
    spec, schedule = denoiser.data, denoiser.schedule
    if not 1 <= t <= schedule.T:
        raise ValueError(f"--t must lie within 1..{schedule.T}, got {t:g}")
    given = np.stack([read_sample(path, spec, noisy) for path in pictures])
    start = given[0] if len(pictures) == 1 else np.repeat(given, number, axis=0)
    begin = time.perf_counter()
    drawing = arguments(denoiser, how)
    if "plan" not in drawing:
        drawing["start"] = t
    elif drawing["plan"].times[0] != t:
        raise ValueError(f"this plan starts at {drawing['plan'].times[0]:g}, and --t is {t:g}")
    with bar() as progress:
        samples = draw(
            denoiser,
            number * len(pictures),
            frames=options.TRAJECTORY_FRAMES,
            progress=progress,
            **{"x_t" if noisy else "x_0": start},
            **drawing,
        )
    say_if_drawn(samples, drawing, " way back")
    elapsed_s = time.perf_counter() - begin
    write(folder, samples, spec, run, elapsed_s, pictures=[str(p) for p in pictures], t=t)
    if noisy:
        x_t = given
    else:
        noise = [sample_noise(how["seed"], i * number, 0, spec.shape) for i in range(len(given))]
        x_t = q_sample(schedule, spec.to_model(given), t, np.stack(noise))
        show(folder / "input.png", given, spec)
    np.save(folder / "noisy.npy", x_t[0] if len(x_t) == 1 else x_t)
    show(folder / "noisy.png", spec.to_data(x_t), spec)


@draws
def interpolate(
    run: options.Model,
    a: Annotated[str, typer.Argument(metavar="A", help="A picture, or a sample as .npy.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    out: Out = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many, A and B among them.")] = 9,
    by: Annotated[
        str, typer.Option(help="encode: between their noises; noise: noised alike to --t.")
    ] = "encode",
    t: Annotated[float | None, typer.Option("--t", help="Of --by noise, 1..T.", show_default="T/2")] = None,
    *,
    how: dict[str, Any],
) -> None:
    """Pictures on the way from one to another."""
    import numpy as np

    from ..sampling import interpolate as between

    folder = new_or_free(out, "interpolated")
    denoiser = load_model(run, how)
    spec = denoiser.data
    if t is not None and not 1 <= t <= denoiser.schedule.T:
        raise ValueError(f"--t must lie within 1..{denoiser.schedule.T}, got {t:g}")
    x_a, x_b = read_sample(a, spec), read_sample(b, spec)
    begin = time.perf_counter()
    with bar() as progress:
        samples = between(
            denoiser, x_a, x_b, number, method=by, t=t, progress=progress, **arguments(denoiser, how)
        )
    write(folder, samples, spec, run, time.perf_counter() - begin, pictures=[a, b], by=by)
    show(folder / "row.png", np.concatenate([x_a[None], samples.images, x_b[None]]), spec, number + 2)


def show(path: Path, images: np.ndarray, spec: DataSpec, columns: int | None = None) -> None:
    """(n, C, H, W) in data space as one sheet."""
    from ..images import displayable, enlarged, save_picture, tiled

    sheet = tiled(displayable(images, spec.low, spec.high), columns or min(len(images), 8))
    save_picture(path, enlarged(sheet, 256 if len(images) == 1 else 512))
