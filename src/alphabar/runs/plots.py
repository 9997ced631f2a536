"""The charts of a run and of a schedule, and the files `loss.png` and that of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import rng
from ..data.space import Space
from ..files import write_bytes
from ..images import to_bytes
from ..model.codec import fit_codec
from ..theory.gaussian import q_sample
from ..theory.schedule import Schedule
from .curves import STYLE, Chart, Line, figure, png, save_png, short
from .folder import RunFolder

if TYPE_CHECKING:
    from ..evaluation.memorization import Memorization
    from ..evaluation.noise_levels import NoiseLevels

PLACES = 120  # points of the training loss
CURVES = 5  # of the held-out loss by time
STRIP_TIMES = 9
BINS = 36
DASHED, DOTTED, CHAINED = (0, (5, 3)), (0, (2, 3)), (0, (8, 3, 2, 3))

Metrics = Sequence[dict[str, Any]]


def values_of(metrics: Metrics, name: str) -> tuple[list[int], list[float]]:
    """(images, values) of a metric, from the rows that have it."""
    rows = [row for row in metrics if row.get(name) is not None]
    return [row["images"] for row in rows], [row[name] for row in rows]


def loss_chart(metrics: Metrics) -> Chart:
    """The loss of updates, as median and central 80 % around each place, and that of the averaged model."""
    x, y = (np.array(column, np.float64) for column in values_of(metrics, "loss"))
    lines = []
    if len(x):
        parts = np.array_split(np.arange(len(x)), min(len(x), PLACES))
        low, middle, high = np.array([np.quantile(y[part], (0.1, 0.5, 0.9)) for part in parts]).T
        lines.append(Line("training", [x[part].mean() for part in parts], middle, band=(low, high)))
    lines.append(Line("held out, EMA", *values_of(metrics, "held_out_loss"), 2, DASHED, dots=True))
    lines.append(Line("training, EMA", *values_of(metrics, "training_loss"), 3, DOTTED, dots=True))
    return Chart("Loss over images trained on", lines, "images", "loss (EMA: averaged weights)", log=True)


def distance_chart(metrics: Metrics) -> Chart:
    """How far samples were from training samples in the course of training, and how far held-out ones are."""
    images, distance = values_of(metrics, "sample_distance")
    lines = []
    if len(images) > 1:
        lines.append(Line("samples", images, distance, dots=True))
        lines.append(Line("held out", *values_of(metrics, "sample_floor"), 2, DASHED))
    title = "Distance of samples to the data over images trained on"
    return Chart(title, lines, "images", "Fréchet distance of a few samples", log=True)


def held_out_chart(metrics: Metrics) -> Chart:
    """The held-out loss by t, from early to late in the run."""
    rows = [row for row in metrics if "held_out_loss_by_t" in row]
    chosen = np.unique(np.linspace(0, len(rows) - 1, CURVES).round().astype(int)).tolist() if rows else []
    lines = []
    for i, row in enumerate(rows[k] for k in chosen):
        strength = 0.3 + 0.7 * (i + 1) / len(chosen)
        name = short(float(f"{row['images']:.2g}"))
        lines.append(
            Line(name, row["held_out_t"], row["held_out_loss_by_t"], 2, dots=True, strength=strength)
        )
    title = "Held-out loss by time, from early to late"
    return Chart(title, lines, "t", "held-out loss, by images trained on", log=True)


def training_charts(metrics: Metrics) -> list[Chart]:
    """How training went; a chart without measurements is empty."""
    return [loss_chart(metrics), distance_chart(metrics), held_out_chart(metrics)]


def signal_chart(schedule: Schedule) -> Chart:
    """alpha_bar and 1 - alpha_bar over t."""
    t, signal = np.arange(schedule.T + 1), schedule.alpha_bar
    lines = [Line("signal ᾱ", t, signal), Line("noise 1−ᾱ", t, 1 - signal, 2, DASHED)]
    return Chart("Signal and noise over time", lines, "t", "share of the variance")


def log_snr_chart(schedule: Schedule, times: Sequence[float] = ()) -> Chart:
    """log(alpha_bar / (1 - alpha_bar)) over t, with the times of a plan as dots."""
    t, used = np.arange(1, schedule.T + 1), np.sort([time for time in times if time >= 1])
    lines = [Line("schedule", t, 2 * schedule.lam[1:])]
    label = "log-SNR = log(ᾱ / (1 − ᾱ))"
    if len(used):
        lines.append(Line("evaluated", used, 2 * schedule.lam_at(used), 2, "", dots=True))
        label += "; dots: evaluations of the network"
    return Chart("Log signal-to-noise ratio over time", lines, "t", label)


def beta_chart(schedule: Schedule) -> Chart:
    """beta over t."""
    t = np.arange(1, schedule.T + 1)
    return Chart("Noise that each step adds", [Line("β", t, schedule.beta[1:])], "t", "β", log=True)


def levels_chart(found: NoiseLevels, schedule: Schedule) -> Chart:
    """The error by noise level, beside that of trivial denoisers; the band is the 95 % interval."""
    place = (-schedule.lam_at(found.times)).tolist()
    fresh, error = np.array(found.fresh), np.array(found.error, np.float64)
    band = (np.maximum(fresh - 1.96 * error, 0), fresh + 1.96 * error) if np.isfinite(error).all() else None
    name = "model" if found.held_out is None else "held out"
    lines = [Line(name, place, fresh, band=band, dots=True)]
    if found.held_out is not None:
        lines.append(Line("training", place, found.training, 3, DASHED))
    lines.append(Line("Gaussian fit", place, found.gaussian, 2, DOTTED))
    lines.append(Line("empirical", place, found.empirical, 4, CHAINED))
    ticks = [(x, f"{t:g}") for x, t in zip(place, found.times, strict=True)]
    title, label = "Error of the denoised sample by noise level", "mean squared error of x̂₀, model space"
    return Chart(title, lines, "t, from little noise to much", label, log=True, ticks=ticks)


def closeness_chart(found: Memorization) -> Chart:
    """The distribution of the closeness of samples to training samples, and of held-out ones."""
    sets = {"samples": found.closeness, "held out": found.usual}
    edges = np.histogram_bin_edges(np.concatenate(list(sets.values())), BINS)
    lines = []
    for i, (name, values) in enumerate(sets.items()):
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        steps = np.repeat(edges, 2)[1:-1]
        lines.append(Line(name, steps, np.repeat(share, 2), i + 1, DASHED if i else "-", area=True))
    title = "Closeness to the nearest training sample, of samples and of held-out ones"
    return Chart(title, lines, "distance to the nearest over that to the next ten", "share", zero=True)


def plot_losses(path: Path, metrics: Metrics) -> None:
    """Write how training went as a PNG; nothing if there are no metrics."""
    save_png(path, training_charts(metrics))


def draw_curves(folder: RunFolder) -> None:
    """Write a run's loss.png, unless it is as new as its metrics."""
    curves, metrics = folder.curves, folder.metrics_file
    if metrics.exists() and not (curves.exists() and curves.stat().st_mtime >= metrics.stat().st_mtime):
        plot_losses(curves, folder.metrics())


def plot_schedule(path: Path, schedule: Schedule, strip: Sequence[tuple[int, np.ndarray]] = ()) -> None:
    """Write beta, alpha_bar and log-SNR over t as a new PNG, with `forward_strip` below them if given."""
    import matplotlib as mpl

    charts = [beta_chart(schedule), signal_chart(schedule), log_snr_chart(schedule)]
    with mpl.rc_context(STYLE):
        made = figure(charts, below=1.6 if strip else 0.0)
        if strip:
            made.subfigs[1].subplots_adjust(0.01, 0.02, 0.99, 0.85, wspace=0.06)
            for axes, (t, image) in zip(made.subfigs[1].subplots(1, len(strip)), strip, strict=True):
                axes.imshow(np.moveaxis(image, 0, -1))
                axes.set_title(f"t = {t}")
                axes.axis("off")
        write_bytes(path, png(made), new_file=True)


def forward_strip(
    schedule: Schedule, picture: str | Path, size: int, seed: int
) -> list[tuple[int, np.ndarray]]:
    """(t, picture noised to t) for times from 0 to T, as uint8 (3, H, W), with the same noise throughout."""
    from ..data.sources.pictures import file_opened, is_deep, picture_array

    with file_opened(picture) as file:
        deep = is_deep(file)
        image = picture_array(file, (size, size), 3, dtype=np.uint16 if deep else np.uint8)
    image = to_bytes(image, None, None) if deep else image  # whose range is that of its values
    codec = fit_codec(Space(image.shape))
    x_0 = codec.encode(image[None])
    eps = rng.normal(seed, "sample", np.array([0]), shape=x_0.shape[1:])
    strip = [(0, image)]
    for t in np.unique(np.linspace(0, schedule.T, STRIP_TIMES).round().astype(int))[1:].tolist():
        strip.append((t, codec.decode(q_sample(schedule, x_0, t, eps))[0]))
    return strip
