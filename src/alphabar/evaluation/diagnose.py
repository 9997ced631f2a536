"""What is wrong with a run: the one most likely cause, with the evidence and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data import Dataset
from .card import can_tell, memorising
from .case import Case
from .levels import spread
from .probe import condition_probe

SAMPLES = 64
DEFAULT_LR = 2e-3


@dataclass(frozen=True)
class Finding:
    """A cause, how it shows in this run, and what to do."""

    cause: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: every cause that shows, the most likely one first, and what was looked at."""

    findings: list[Finding]
    looked_at: list[str]
    skipped: list[str]

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


# --- the checks: each looks for one cause, the ones first that bring others with them -----------


def non_finite(case: Case) -> Finding | None:
    """NaN or infinity among the weights."""
    tensors = case.denoiser.net.state_dict()
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not bad:
        return None
    return Finding(
        "the weights are not finite",
        f"{len(bad)} of {len(tensors)} tensors hold NaN or infinity, such as {bad[0]}",
        "go back to an earlier checkpoint (alphabar sample RUN/checkpoints/…), and train with a lower lr",
    )


def broken_data(case: Case) -> Finding | None:
    """Pictures that are all one colour, or the same ones again and again."""
    flat = case.pictures.reshape(len(case.pictures), -1)
    plain = float((flat.std(1) < 1e-3).mean())
    doubles = 1 - len(np.unique(flat, axis=0)) / len(flat)
    if max(plain, doubles) < 0.2:
        return None
    what = f"{plain:.0%} are all one value" if plain > doubles else f"{doubles:.0%} are doubles of others"
    return Finding(
        "the data are not what they should be",
        f"of {len(flat):,} training pictures {what}",
        "look at them (alphabar data DATA --out sheet.png) and at how they were written",
    )


def value_range(case: Case) -> Finding | None:
    """Values that use little of the range that the model scales from, or leave it."""
    low_high = case.denoiser.data.clip_range
    low, high = low_high or (-1.0, 1.0)
    least, most = (float(v) for v in np.quantile(case.pictures, (0.001, 0.999)))
    used, outside = (most - least) / (high - low), max(low - least, most - high) / (high - low)
    if used > 0.15 and outside < 0.05:
        return None
    spec = case.denoiser.data
    return Finding(
        "value range mismatch",
        f"the model scales {spec.low} to {spec.high} to -1 to 1, and by that the data reach from "
        f"{least:.3g} to {most:.3g}",
        "train anew with the range that the values have: --range LOW HIGH for arrays, or 0..255 bytes",
    )


def schedule_ends(case: Case) -> Finding | None:
    """A picture left in x_T that sampling starts without, or noise left in x_1 that nothing removes."""
    schedule = case.denoiser.schedule
    flat = case.pictures.reshape(len(case.pictures), -1)
    strongest = math.sqrt(float((flat.mean(0) ** 2).sum()) + float(np.linalg.svd(
        flat[:500] - flat.mean(0), compute_uv=False)[0] ** 2 / min(500, len(flat))))  # fmt: skip
    left, last = schedule.terminal_signal * strongest, math.sqrt(1 - schedule.alpha_bar[1])
    if left > 0.5:
        return Finding(
            "the schedule stops before the picture is gone",
            f"sqrt(alpha_bar_T) = {schedule.terminal_signal:.3g}: x_T still holds {left:.1f} standard "
            f"deviations of the strongest pattern, and sampling starts from none (T = {schedule.T})",
            "train with more steps or larger beta: --schedule sigmoid, or --T 1000",
        )
    if last > 0.3:
        return Finding(
            "the schedule has too few steps",
            f"even x_1 has noise of standard deviation {last:.2f}, which the last step must guess away "
            f"(T = {schedule.T})",
            "train with more steps: --T 1000",
        )
    return None


def rate_too_high(case: Case) -> Finding | None:
    """A loss that jumps up, or never leaves where it began."""
    loss = np.array([row["loss"] for row in case.metrics])
    if len(loss) < 50:
        return None
    windows = np.array([np.median(part) for part in np.array_split(loss, 20)])
    lr = case.config.get("lr", math.nan)
    best, last = float(windows.min()), float(windows[-1])
    unlearnt = trained_worse_than_gaussian(case)
    if last < 1.5 * best and not (unlearnt and lr > 3 * DEFAULT_LR):
        return None
    return Finding(
        "the learning rate is too high",
        f"the loss was {best:.3g} at its best and is {last:.3g} at the end, with lr {lr:g}"
        + (
            f"; it errs more than a Gaussian fit at {unlearnt} of {len(case.levels.times)} noise levels"
            if unlearnt
            else ""
        ),
        f"train with a lower rate: --lr {lr / 5:.1g}",
    )


def trained_worse_than_gaussian(case: Case) -> int:
    """At how many levels the model's error is above the Gaussian fit's, or not finite."""
    return sum(not ours <= 1.05 * g for ours, g in zip(case.levels.fresh, case.levels.gaussian, strict=True))


def average_too_long(case: Case) -> Finding | None:
    """An average that errs more than the weights it averages."""
    if case.raw_error is None:
        return None
    bar = case.denoiser.schedule.alpha_bar_at(case.levels.times)
    average, raw = (float(np.mean(e * bar / (1 - bar))) for e in (case.levels.fresh, case.raw_error))
    if not average > 1.15 * raw:
        return None
    return Finding(
        "the average of the weights is too long for the run",
        f"the averaged model's error is {average / raw:.2f} times that of the weights themselves "
        f"(ema_halflife {case.config.get('ema_halflife', math.nan):,.0f} images, "
        f"ema_ramp {case.config.get('ema_ramp', math.nan):g})",
        "train longer, or with a shorter one: --set ema_halflife=20000 --set ema_ramp=0.05",
    )


def rate_too_low(case: Case) -> Finding | None:
    """A model that has learnt little at a rate far below the usual."""
    lr = case.config.get("lr", math.nan)
    count = trained_worse_than_gaussian(case)
    if not (count > len(case.levels.times) // 3 and lr < DEFAULT_LR / 4):
        return None
    return Finding(
        "the learning rate is too low",
        f"after {case.denoiser.about.get('images', 0):,} images it errs more than a Gaussian fit at {count} "
        f"of {len(case.levels.times)} noise levels, and lr {lr:g} is {DEFAULT_LR / lr:.0f} times below the "
        "usual",
        f"train with a higher rate: --lr {DEFAULT_LR:g}",
    )


def conditions_ignored(case: Case) -> Finding | None:
    """A class that changes nothing."""
    labels = case.data.labels
    if len(case.denoiser.data.classes) < 2 or labels is None:
        return None
    held_out = case.data.held_out if len(case.data.held_out) >= 16 else case.data.training
    indices = spread(held_out, max(case.n, 128))
    found = condition_probe(case.denoiser, case.data.images[indices], labels[indices], seed=case.seed)
    if found.used:
        return None
    return Finding(
        "the classes are ignored",
        f"with a wrong class the error is {found.total:+.1%} (z = {found.z:.1f})",
        "check that labels belong to their pictures (alphabar data DATA --out sheet.png), and train longer",
    )


def memorised(case: Case) -> Finding | None:
    """Samples that are training pictures."""
    spec, data = case.denoiser.data, case.data
    if not can_tell(data) or not case.own:
        return None
    found = memorising(spec.to_data(case.samples), data, None)[0]
    if not found.memorises:
        return None
    return Finding(
        "it repeats its training pictures",
        f"a sample is closer to one than a held-out picture is with probability "
        f"{found.likelihood_closer:.2f} (p = {found.p:.1g}); {found.copies:.0%} are closer than any of those",
        f"train on more than {len(data.training):,} pictures, for less long, with --flip or dropout",
    )


def under_trained(case: Case) -> Finding | None:
    """More error than a Gaussian fit makes at the noisiest or the cleanest levels."""
    found = case.levels
    ratio = np.array(found.fresh) / np.maximum(found.gaussian, 1e-12)
    third = max(1, len(ratio) // 3)
    low, high = float(np.mean(ratio[:third])), float(np.mean(ratio[-third:]))
    if max(low, high) < 1.05:
        return None
    where = "high" if high > low else "low"
    times = found.times[-third:] if where == "high" else found.times[:third]
    return Finding(
        f"under-trained at {where} noise",
        f"at t = {times[0]:g} to {times[-1]:g} its error is {max(low, high):.2f} times that of a Gaussian "
        "fit, which knows no more than mean and covariance",
        "train longer; --head v and --loss v weigh all levels evenly" if where == "high" else
        "train longer; --loss simple or edm give more weight to low noise",
    )  # fmt: skip


def tinted(case: Case) -> Finding | None:
    """Channels whose mean is off by more than the draw of samples explains."""

    def means(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], -1).mean(2)

    ours, real = means(case.samples), means(case.pictures)
    off = ours.mean(0) - real.mean(0)
    error = np.sqrt(ours.var(0, ddof=1) / len(ours) + real.var(0, ddof=1) / len(real))
    worst = int(np.argmax(np.abs(off) / error))
    if abs(off[worst]) < 5 * error[worst] or abs(off[worst]) < 0.05:
        return None
    return Finding(
        "the samples are tinted",
        f"the mean of channel {worst} is {ours.mean(0)[worst]:+.3f} in samples and "
        f"{real.mean(0)[worst]:+.3f} in the data (-1 to 1), {abs(off[worst]) / error[worst]:.0f} standard "
        "errors apart",
        "train longer: high noise decides brightness and colour (--head v --loss v weigh it more)",
    )


def saturated(case: Case) -> Finding | None:
    """Values at the ends of the range far more often than in the data."""
    low_high = case.denoiser.data.clip_range
    if low_high is None:
        return None
    low, high = low_high
    near = 0.005 * (high - low)

    def share(x: np.ndarray) -> float:
        return float(((x < low + near) | (x > high - near)).mean())

    ours, real = share(case.samples), share(case.pictures)
    if ours < real + 0.1:
        return None
    return Finding(
        "the samples are saturated",
        f"{ours:.0%} of their values lie at the ends of the range, and {real:.0%} of the data's",
        "train longer; with guidance, lower it or add --guidance-rescale 0.7",
    )


CHECKS: dict[str, Callable[[Case], Finding | None]] = {
    "finite weights": non_finite,
    "data": broken_data,
    "value range": value_range,
    "schedule": schedule_ends,
    "learning rate (high)": rate_too_high,
    "average": average_too_long,
    "learning rate (low)": rate_too_low,
    "memorising": memorised,
    "error by noise level": under_trained,
    "classes": conditions_ignored,
    "tint": tinted,
    "saturation": saturated,
}
"""In the order of causes: what comes first brings what follows with it."""


def diagnose(
    run: str | Path,
    data: Dataset,
    n: int = SAMPLES,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda message: None,
) -> Diagnosis:
    """Look for what is wrong with a run, cause by cause.

    Args:
        run: its folder.
        data: what it was trained on, prepared in the same way.
        n: samples and pictures to look at.
        seed: of samples and noise.
        device: where the model runs.
        say: told what is being looked at.
    """
    case = Case(Path(run).expanduser(), data, n, seed, device)
    findings, looked, skipped = [], [], []
    for name, check in CHECKS.items():
        if findings and findings[0].cause == "the weights are not finite":
            skipped.append(name)
            continue
        say(name)
        looked.append(name)
        found = check(case)
        if found is not None:
            findings.append(found)
    return Diagnosis(findings, looked, skipped)
