"""alphabar train: a folder in, a model that describes itself out."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from ..training import Run

PREVIEW_SAMPLES = 16
PREVIEW_STEPS = 10
PREVIEW_SHARE = 0.02  # of the time
FIRST_PREVIEW_S = 15.0
LINE_S = 30.0  # between lines of progress where there is no terminal


def train(
    data: options.Data,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="Folder of the run.", show_default="runs/NAME-OF-DATA")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="ddpm (the notes literally), digits or cifar10.")] = None,
    images: Annotated[
        str | None, typer.Option(metavar="N", help="Budget in images, such as 200k or 3M.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget in passes over the data.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes on this machine.")] = None,
    size: options.Size = None,
    classes: options.Classes = "auto",
    channels: options.Channels = "auto",
    background: options.Background = "white",
    value_range: options.ValueRange = None,
    skip_bad: options.SkipBad = False,
    holdout: options.Holdout = 0.05,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror pictures at random.")] = False,
    batch: Annotated[int | None, typer.Option(help="Images a step.", show_default="64")] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Images at once; same result, less memory.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="by the preset")] = None,
    head: Annotated[str | None, typer.Option(help="The network predicts eps, x0, v, edm or flow.")] = None,
    loss: Annotated[str | None, typer.Option(help="simple, kl, mu, x0, v, edm or min_snr.")] = None,
    schedule: Annotated[str | None, typer.Option(help="linear, cosine or sigmoid.")] = None,
    T: Annotated[
        int | None, typer.Option("--T", help="Number of noising steps.", show_default="1000")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order, times and noise.", show_default="0")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as network.channels=96."),
    ] = None,
    device: options.Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and how long it takes.")
    ] = False,
) -> None:
    """Train a model on DATA. The same command again resumes, to the bit."""
    from ..training import Run, resolve

    parsed = options.parse_settings(sets or [])
    settings: dict[str, Any] = {
        "images": options.parse_amount(images, "--images"),
        "epochs": epochs,
        "minutes": minutes,
        "flip": flip or None,
        "batch_size": batch,
        "micro_batch": micro_batch,
        "lr": lr,
        "head": head,
        "loss": loss,
        "seed": seed,
    }
    twice = [name for name in parsed if settings.get(name) is not None]
    if twice:
        raise ValueError(f"{', '.join(twice)}: given both as an option and with --set; give one of them")
    settings |= parsed
    named = {"name": schedule, "T": T}
    named = {key: value for key, value in named.items() if value is not None}
    if named:
        settings["schedule"] = {**named, **settings.get("schedule", {})}
    dataset = options.read_data(data, size, classes, channels, background, value_range, skip_bad, holdout)
    config = resolve(dataset.spec, len(dataset), preset, settings)
    folder = Path(out) if out else _default_folder(data)

    from .console import say

    run = Run(folder, dataset, config, source=data, device=options.parse_device(device), say=say)
    if dry_run:
        _explain(run)
    else:
        for note in dataset.notes:
            say(f"data: {note}")
        _train(run)


def _default_folder(data: str) -> Path:
    """runs/NAME-OF-DATA."""
    path = Path(data.removeprefix("hf:")).expanduser()
    return Path("runs") / (path.resolve().name if path.is_dir() else path.stem)


# --- training, with what a person sees of it ---------------------------------------------------


def _train(run: Run) -> None:
    from .console import errors, output, say
    from .plots import plot_losses

    steps = run.train()
    previews = _Previews(run)
    first: tuple[float, int] | None = None  # when the first step was done, and how many images there were
    line_at = time.monotonic()
    with _stop_signals() as stop, _progress(errors) as bar:
        task = bar.add_task("", total=run.total, count="", loss="", rate="")
        for row in steps:
            if first is None:
                first = time.monotonic(), row["images"]
                _announce(run, say)
            rate = (row["images"] - first[1]) / max(time.monotonic() - first[0], 1e-9)
            shown = {
                "count": f"{row['images']:,}{_of(run.total)} images",
                "loss": f"loss {row['loss']:.4f}",
                "rate": f"{rate:,.1f} images/s" if rate else "",
            }
            bar.update(task, completed=row["images"], total=run.total, **shown)
            if not errors.is_terminal and time.monotonic() - line_at > LINE_S:
                line_at = time.monotonic()
                say(_line(run, row, rate))
            if stop:
                break
            previews.draw_if_due(rate)
    steps.close()  # saves, if the loop was left early
    metrics = run.folder / "metrics.jsonl"
    if first is None:
        output.print(f"{run.folder} is finished: {run.trainer.images:,} images")
        return
    previews.draw()
    plot_losses(run.folder / "loss.png", metrics)
    if stop:
        say(f"stopped and saved after {run.trainer.images:,} images; the same command resumes:")
        say(f"  alphabar {shlex.join(sys.argv[1:])}")
        raise typer.Exit(128 + stop[0])
    output.print(
        f"trained on {run.trainer.images:,} images; now: alphabar sample {shlex.quote(str(run.folder))}"
    )


def _announce(run: Run, say: Any) -> None:
    if run.resumed_from:
        say(f"resuming {run.folder} from {run.resumed_from.name}")
    parameters = sum(p.numel() for p in run.trainer.parameters.values())
    signal_left = run.trainer.model.schedule.terminal_signal
    say(f"{run.folder}: {parameters:,} parameters, {_execution(run)}, sqrt(alpha_bar_T) = {signal_left:.4f}")


def _execution(run: Run) -> str:
    layout = "channels_last" if run.config.channels_last else "contiguous"
    compiled = f", compiled ({run.config.compile})" if run.config.compile else ""
    return f"{run.config.precision}, {layout}{compiled}, {run.trainer.device}"


def _of(total: int | None) -> str:
    return f" of {total:,}" if total else ""


def _line(run: Run, row: dict[str, Any], rate: float) -> str:
    left = f", {(run.total - row['images']) / rate / 60:.1f} min left" if run.total and rate else ""
    return f"{row['images']:,}{_of(run.total)} images, loss {row['loss']:.4f}, {rate:,.1f} images/s{left}"


def _progress(console: Any) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end the loop after the step; a second one ends the program at once."""
    received: list[int] = []
    before = {}

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Previews:
    """Grids of samples of the averaged model, in RUN/samples, for a small share of the time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last = self.start = time.monotonic()
        self.cost_s = 0.0
        self.drawn_at = -1

    def draw_if_due(self, images_per_s: float) -> None:
        """Draw if the time since the last one outweighs the cost: the last one's, or an estimate."""
        now = time.monotonic()
        cost_s = self.cost_s or PREVIEW_SAMPLES * PREVIEW_STEPS / (3 * images_per_s or 1)
        if now - self.last >= max(FIRST_PREVIEW_S, cost_s / PREVIEW_SHARE, 0.05 * (now - self.start)):
            self.draw()

    def draw(self) -> None:
        from ..images import displayable, save_picture
        from ..sampling import sample
        from ..sampling.output import grid

        trainer = self.run.trainer
        if trainer.step == self.drawn_at:
            return
        begin = time.monotonic()
        spec = trainer.ema.data
        label = [i % len(spec.classes) for i in range(PREVIEW_SAMPLES)] if spec.classes else None
        steps = min(PREVIEW_STEPS, trainer.ema.schedule.T)
        drawn = sample(trainer.ema, PREVIEW_SAMPLES, label=label, steps=steps)
        path = self.run.folder / "samples" / f"{trainer.images:09d}.png"
        save_picture(path, grid(displayable(drawn.images, spec.low, spec.high), 256), drawn.facts)
        self.last, self.drawn_at = time.monotonic(), trainer.step
        self.cost_s = self.last - begin


# --- dry run -----------------------------------------------------------------------------------


def _peak_memory(run: Run) -> str:
    """The most memory taken so far, on the GPU if that is where the training is."""
    if run.trainer.device.type == "cuda":
        import torch

        return f"{torch.cuda.max_memory_allocated(run.trainer.device) / 2**20:,.0f} MiB of the GPU"
    try:
        import resource
    except ImportError:
        return "not known on this system"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{peak / 2**20:,.0f} MiB"


def _explain(run: Run) -> None:
    """Print the resolved configuration and what it costs here; nothing is written."""
    import json

    from ..training.measure import seconds_per_step
    from ..training.run import SAFETY
    from .console import output, table

    config, trainer = run.config, run.trainer
    step_s = seconds_per_step(trainer, 2.0)
    rate = config.batch_size / step_s
    total = run.total or round(SAFETY * 60 * (config.minutes or 0) * rate)
    parameters = sum(p.numel() for p in trainer.parameters.values())
    start = time.perf_counter()
    for k in range(10):
        trainer.data.batch(config.seed, k, config.batch_size, config.flip)
    loading = (time.perf_counter() - start) / 10 / step_s
    state = 4 * parameters
    for line in json.dumps(config.model_dump(mode="json"), indent=1).splitlines()[1:-1]:
        output.print(line, markup=False)
    rates = run.entry["measured"].get("images_per_s", {})
    measured = "; ".join(f"{way} {each:,.1f}" for way, each in rates.items())
    table([
        ("parameters", f"{parameters:,}"),
        ("here", _execution(run)),
        ("because", f"images/s here: {measured}" if measured else "it was asked for"),
        ("a step", f"{step_s:.3f} s, {rate:,.1f} images/s; loading takes {loading:.1%} of it"),
        ("budget", f"{total:,} images, {total / len(trainer.data):.1f} passes over {len(trainer.data):,}"),
        ("time", f"{total / rate / 60:,.1f} minutes"),
        ("memory", _peak_memory(run)),
        ("disk", f"{state * (4 * 6 + 2) / 2**20:,.0f} MiB in {run.folder}"),
        ("data", f"{trainer.data.images.nbytes / 2**20:,.0f} MiB prepared"),
    ])  # fmt: skip
    output.print("nothing was written (--dry-run)")
