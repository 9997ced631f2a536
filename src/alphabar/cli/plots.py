"""Plots, through matplotlib (imported only when one is drawn)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic
from ..random import stream
from ..theory.gaussian import q_sample
from ..theory.schedule import Schedule

STRIP_TIMES = 9


def _figure(**size: Any) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no window system, quick to import

    return Figure(layout="constrained", **size)


def _write(path: Path, figure: Any) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def forward_strip(schedule: Schedule, picture: str, size: int, seed: int) -> list[tuple[int, np.ndarray]]:
    """(t, picture noised to t) for times from 0 to T, the same noise throughout."""
    from ..data import DataSpec
    from ..data.pictures import open_picture

    image = open_picture(picture, (size, size), 3)
    spec = DataSpec(image.shape)
    x_0 = spec.to_model(image)
    eps = stream(seed, "sample").standard_normal(x_0.shape, np.float32)
    strip = [(0, image)]
    for t in np.unique(np.linspace(0, schedule.T, STRIP_TIMES).round().astype(int))[1:].tolist():
        strip.append((t, spec.to_data(q_sample(schedule, x_0, t, eps))))
    return strip


def plot_schedule(path: Path, schedule: Schedule, strip: list[tuple[int, np.ndarray]] | None) -> None:
    """beta, alpha_bar and log-SNR over t; below them the forward process, if given."""
    figure = _figure(figsize=(10, 5 if strip else 3))
    rows = figure.subfigures(2, 1, height_ratios=[3, 1.3]) if strip else [figure]
    t = np.arange(1, schedule.T + 1)
    curves = [
        ("β", schedule.beta[1:], "log"),
        ("ᾱ  (signal)  and  1 − ᾱ  (noise)", schedule.alpha_bar[1:], "linear"),
        ("log-SNR  log(ᾱ / (1 − ᾱ))", 2 * schedule.lam[1:], "linear"),
    ]
    for axes, (title, values, scale) in zip(rows[0].subplots(1, 3), curves, strict=True):
        axes.plot(t, values)
        if "noise" in title:
            axes.plot(t, 1 - values)
        axes.set(title=title, xlabel="t", yscale=scale)
        axes.grid(alpha=0.3)
    if strip:
        for axes, (time, image) in zip(rows[1].subplots(1, len(strip)), strip, strict=True):
            axes.imshow(np.moveaxis(image, 0, -1))
            axes.set_title(f"t = {time}", fontsize=9)
            axes.axis("off")
    _write(path, figure)


def plot_losses(path: Path, metrics: Path) -> None:
    """A run's loss over images (with its running mean), held-out loss by time, and its samples' distance."""
    from matplotlib.ticker import EngFormatter

    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    if not rows:
        return
    images = np.array([row["images"] for row in rows])
    loss = np.array([row["loss"] for row in rows])
    held_out = [row for row in rows if "held_out_loss" in row]
    far = [row for row in rows if row.get("sample_distance") is not None]
    figure = _figure(figsize=(14, 3.6))
    left, middle, right = figure.subplots(1, 3)
    if len(rows) > 2000:  # a pixel's worth each
        block = len(rows) // 1000
        images = images[: len(rows) // block * block].reshape(-1, block).max(1)
        loss = loss[: len(rows) // block * block].reshape(-1, block).mean(1)
    left.plot(images, loss, alpha=0.3, color="C0")
    window = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.ones(window) / window, "valid")
    left.plot(images[len(images) - len(smooth) :], smooth, color="C0", label="training")
    if held_out:
        left.plot(
            [row["images"] for row in held_out],
            [row["held_out_loss"] for row in held_out],
            "o-", color="C1", markersize=3, label="held out, averaged weights",
        )  # fmt: skip
        seen = [row for row in held_out if "training_loss" in row]
        left.plot(
            [row["images"] for row in seen],
            [row["training_loss"] for row in seen],
            "o:", color="C2", markersize=3, label="the same on training pictures",
        )  # fmt: skip
        for row in held_out[:: max(1, len(held_out) // 5)][:-1] + held_out[-1:]:
            middle.plot(
                row["held_out_t"], row["held_out_loss_by_t"], "o-", markersize=3, label=f"{row['images']:,}"
            )
        middle.set(title="held-out loss by time", xlabel="t", yscale="log")
        middle.legend(title="images", fontsize=7)
    if far:
        images = [row["images"] for row in far]
        right.plot(images, [row["sample_distance"] for row in far], "o-", markersize=3, label="samples")
        if "sample_floor" in far[0]:
            right.axhline(far[0]["sample_floor"], ls="--", color="C1", label="held-out pictures")
        right.set(title="distance of 64 samples to the data", xlabel="images", yscale="log")
        right.legend()
    left.set(title="loss", xlabel="images", yscale="log")
    left.legend()
    for axes in (left, right):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _write(path, figure)
