"""alphabar sample and alphabar denoise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    import numpy as np

    from ..data import DataSpec
    from ..sampling import Samples

Out = Annotated[
    str | None, typer.Option(metavar="DIR", help="A new folder.", show_default="the next free name")
]


def sample(
    run: options.Model,
    number: Annotated[int, typer.Option("-n", "--number", help="How many.")] = 16,
    out: Out = None,
    steps: options.Steps = None,
    sampler: options.Sampler = "ddpm",
    eta: options.Eta = None,
    variance: options.Variance = None,
    class_name: options.ClassName = None,
    seed: options.Seed = 0,
    first: Annotated[int, typer.Option(help="Number of the first sample.")] = 0,
    no_clip: options.NoClip = False,
    trajectory: options.Trajectory = False,
    device: options.Device = "auto",
) -> None:
    """Draw samples from a model. No other flag is needed."""
    import time

    from ..denoiser import load
    from ..sampling import sample as draw

    if number < 1 or first < 0:
        raise ValueError(f"-n must be at least 1 and --first at least 0, got {number} and {first}")
    folder = _folder(out, "samples")
    denoiser = load(run, options.parse_device(device))
    label = None if class_name is None else denoiser.data.class_index(class_name)
    start = time.perf_counter()
    with _bar() as progress:
        samples = draw(
            denoiser,
            indices=range(first, first + number),
            seed=seed,
            label=label,
            steps=steps,
            clip=False if no_clip else None,
            frames=options.TRAJECTORY_FRAMES if trajectory else 0,
            progress=progress,
            **options.sampler_options(sampler, eta, variance),
        )
    _write(folder, samples, denoiser.data, run, time.perf_counter() - start)


def denoise(
    run: options.Model,
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A picture, or one sample as .npy.")],
    t: Annotated[float, typer.Option("--t", help="The time to noise it to, 1..T.")],
    out: Out = None,
    noisy: Annotated[bool, typer.Option("--noisy", help="PICTURE is already at t: don't add noise.")] = False,
    number: Annotated[int, typer.Option("-n", "--number", help="How many ways back.")] = 8,
    steps: options.Steps = None,
    sampler: options.Sampler = "ddpm",
    eta: options.Eta = None,
    variance: options.Variance = None,
    class_name: options.ClassName = None,
    seed: options.Seed = 0,
    no_clip: options.NoClip = False,
    device: options.Device = "auto",
) -> None:
    """Noise a real sample to time t (or take one that is there) and bring it back step by step."""
    import time

    import numpy as np

    from ..denoiser import load
    from ..images import displayable, enlarged, save_picture
    from ..sampling import sample as draw
    from ..sampling.sampler import sample_noise
    from ..theory.gaussian import q_sample
    from .console import say

    if number < 1:
        raise ValueError(f"-n must be at least 1, got {number}")
    folder = _folder(out, "denoised")
    denoiser = load(run, options.parse_device(device))
    spec, schedule = denoiser.data, denoiser.schedule
    if not 1 <= t <= schedule.T:
        raise ValueError(f"--t must lie within 1..{schedule.T}, got {t:g}")
    given = _read_sample(picture, spec, noisy)
    label = None if class_name is None else spec.class_index(class_name)
    begin = time.perf_counter()
    with _bar() as progress:
        samples = draw(
            denoiser,
            number,
            seed=seed,
            label=label,
            steps=steps,
            start=t,
            clip=False if no_clip else None,
            frames=options.TRAJECTORY_FRAMES,
            progress=progress,
            **{"x_t" if noisy else "x_0": given},
            **options.sampler_options(sampler, eta, variance),
        )
    if samples.labels is not None and label is None:
        say("no --class was given: the class of each way back is drawn at random")
    _write(folder, samples, spec, run, time.perf_counter() - begin, picture=str(picture), t=t)
    if noisy:
        x_t = given
    else:
        x_t = q_sample(schedule, spec.to_model(given), t, sample_noise(seed, 0, 0, spec.shape))
        save_picture(folder / "input.png", enlarged(displayable(given, spec.low, spec.high), 256))
    np.save(folder / "noisy.npy", x_t)
    save_picture(folder / "noisy.png", enlarged(displayable(spec.to_data(x_t), spec.low, spec.high), 256))


# --- shared ------------------------------------------------------------------------------------


def _folder(out: str | None, stem: str) -> Path:
    from ..sampling.output import new_folder
    from .files import free_folder

    return new_folder(out) if out else free_folder(stem)


def _read_sample(path: str, spec: DataSpec, noisy: bool) -> np.ndarray:
    """One sample in the model's shape: in data space, or x_t in model space if it is noisy."""
    import numpy as np
    from PIL import Image

    from ..data.pictures import open_picture, upright_size
    from .console import say

    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.lower().endswith(".npy"):
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged or no .npy file: {error}") from None
        wanted = spec.shape if noisy else spec.to_layout(np.empty(spec.shape, bool)).shape
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif" or array.shape != wanted:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
            raise ValueError(f"{path} must hold the numbers of one sample, of shape {wanted}, got {found}")
        if noisy or spec.layout == "CHW":
            return array
        return array[None] if spec.layout == "HW" else np.moveaxis(array, -1, 0)
    channels, height, width = spec.shape
    if channels not in (1, 3, 4):
        raise ValueError(f"this model's samples have {channels} channels; give one as .npy")
    image = open_picture(path, (height, width), channels, spec.background or "white")
    with Image.open(path) as header:
        found = upright_size(header)
    if found != (height, width):
        say(f"{path} is {found[1]} × {found[0]}: resized and cut to {width} × {height}, as in training")
    if spec.dtype != "uint8" or (spec.low, spec.high) != (0, 255):
        low, high = (0.0, 255.0) if spec.low is None or spec.high is None else (spec.low, spec.high)
        values = low + image / 255 * (high - low)
        image = (np.rint(values) if np.dtype(spec.dtype).kind in "iu" else values).astype(spec.dtype)
    return spec.to_model(image) if noisy else image


def _write(folder: Path, samples: Samples, spec: DataSpec, run: str, elapsed_s: float, **facts: Any) -> None:
    from ..sampling.output import write_samples
    from .console import output

    write_samples(folder, samples, spec, model_file=str(run), **facts)
    n, evaluations = len(samples.indices), len(samples.facts["times"]) - 1
    output.print(
        f"{n} sample{'s' * (n > 1)} in {evaluations} evaluation{'s' * (evaluations > 1)}, "
        f"{elapsed_s:.1f} s; look at {folder / 'grid.png'}"
    )


def _bar() -> Any:
    """A progress bar as a context that gives the function to call with (done, total)."""
    import contextlib

    from rich.progress import Progress

    from .console import errors

    @contextlib.contextmanager
    def bar() -> Any:
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task("sampling", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return bar()
