"""The checks of a run's diagnosis: each looks for one cause and says how it shows and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from .findings import Diagnosis, Finding

if TYPE_CHECKING:
    from .results import Results

DEFAULT_LR = 2e-3
SAMPLES = 64  # generated ones that a diagnosis looks at
SOME = 500  # training samples from which the strongest pattern is computed
NOT_FINITE = "the weights are not finite"


def non_finite(results: Results) -> Finding | None:
    """NaN or infinity among the weights."""
    tensors = results.denoiser.net.state_dict()
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not bad:
        return None
    return Finding(
        NOT_FINITE,
        f"{len(bad)} of {len(tensors)} tensors hold NaN or infinity, such as {bad[0]}",
        "go back to an earlier checkpoint (alphabar sample RUN/checkpoints/…) and train with a lower --lr",
    )


def broken_data(results: Results) -> Finding | None:
    """Samples that hold a single value, or that are the same again and again."""
    flat = results.clean.reshape(len(results.clean), -1)
    plain = float((flat.std(1) < 1e-3).mean()) if flat.shape[1] > 1 else 0.0
    doubles = 1 - len(np.unique(flat, axis=0)) / len(flat)
    if max(plain, doubles) < 0.2:
        return None
    what = f"{plain:.0%} are all one value" if plain > doubles else f"{doubles:.0%} are duplicates of others"
    return Finding(
        "the data are not what they should be",
        f"of {len(flat):,} training {results.noun} {what}",
        "look at them (alphabar data DATA --out sheet.png) and check how they were written",
    )


def value_range(results: Results) -> Finding | None:
    """Values that fill little of the range that the model scales from, or leave it."""
    codec, clean = results.denoiser.codec, results.clean
    if codec.space.is_standardized or codec.bounds is None:
        spread = float(clean.std())
        if 0.1 < spread < 10:
            return None
        shown = f"the model expects standard deviation 1, and after its scaling these data have {spread:.3g}"
    else:
        low, high = codec.bounds
        least, most = (float(v) for v in np.quantile((clean - low) / (high - low), (0.001, 0.999)))
        if most - least > 0.15 and max(-least, most - 1) < 0.05:
            return None
        shown = (
            f"the model scales {codec.space.shown_range()} to -1 to 1, and by that the data reach from "
            f"{2 * least - 1:.3g} to {2 * most - 1:.3g}"
        )
    return Finding(
        "value range mismatch",
        shown,
        "train again with the values' own range: --range LOW HIGH",
    )


def schedule_ends(results: Results) -> Finding | None:
    """Signal left in x_T, which sampling starts without, or noise left in x_1, which nothing removes."""
    schedule = results.denoiser.schedule
    flat = results.clean.reshape(len(results.clean), -1)
    mean, some = flat.mean(0), flat[:SOME]
    first = np.linalg.svd(some - mean, compute_uv=False)[0]
    strongest = math.sqrt(float((mean**2).sum()) + float(first**2) / len(some))
    left, last = schedule.terminal_signal * strongest, math.sqrt(1 - schedule.alpha_bar[1])
    if left > 0.5:
        return Finding(
            "the schedule stops before the sample is gone",
            f"sqrt(alpha_bar_T) = {schedule.terminal_signal:.3g}: x_T still holds {left:.1f} standard "
            f"deviations of the strongest pattern, and sampling starts from none (T = {schedule.T})",
            "train with a longer schedule or a larger beta: --T 1000, or --schedule sigmoid",
        )
    if last > 0.3:
        return Finding(
            "the schedule is too short",
            f"even x_1 has noise of standard deviation {last:.2f}, which the last step has to guess away "
            f"(T = {schedule.T})",
            "train with a longer one: --T 1000",
        )
    return None


def rate_too_high(results: Results) -> Finding | None:
    """A loss that jumps up, or never leaves where it began."""
    loss = np.array([row["loss"] for row in results.metrics])
    if len(loss) < 50:
        return None
    windows = np.array([np.median(part) for part in np.array_split(loss, 20)])
    lr = results.settings.get("lr", math.nan)
    best, last = float(windows.min()), float(windows[-1])
    unlearned = worse_than_gaussian(results)
    if last < 1.5 * best and not (unlearned and lr > 3 * DEFAULT_LR):
        return None
    more = f"; {unlearned_levels(results)}" if unlearned else ""
    return Finding(
        "the learning rate is too high",
        f"the loss was {best:.3g} at its best and is {last:.3g} at the end, with lr {lr:g}{more}",
        f"train with a lower rate: --lr {lr / 5:.1g}",
    )


def worse_than_gaussian(results: Results) -> int:
    """The number of noise levels at which the model's error exceeds the Gaussian fit's, or isn't finite."""
    found = results.noise_levels
    return sum(not ours <= 1.05 * g for ours, g in zip(found.fresh, found.gaussian, strict=True))


def unlearned_levels(results: Results) -> str:
    """The same in words."""
    levels = len(results.noise_levels.times)
    return f"it errs more than a Gaussian fit at {worse_than_gaussian(results)} of {levels} noise levels"


def average_too_long(results: Results) -> Finding | None:
    """Averaged weights that err more than the current ones."""
    if results.raw_error is None:
        return None
    bar = results.denoiser.schedule.alpha_bar_at(results.noise_levels.times)
    average, raw = (
        float(np.mean(error * bar / (1 - bar))) for error in (results.noise_levels.fresh, results.raw_error)
    )
    if not average > 1.15 * raw:
        return None
    settings = results.settings
    return Finding(
        "the average of the weights is too long for the run",
        f"the averaged model's error is {average / raw:.2f} times that of the current weights "
        f"(ema_halflife {settings.get('ema_halflife', math.nan):,.0f} images, "
        f"ema_ramp {settings.get('ema_ramp', math.nan):g})",
        "train longer (--images, --minutes), or with a shorter average: --set ema_halflife=20000 "
        "--set ema_ramp=0.05",
    )


def rate_too_low(results: Results) -> Finding | None:
    """A model that has learned little, at a rate far below the usual one."""
    lr = results.settings.get("lr", math.nan)
    if not (worse_than_gaussian(results) > len(results.noise_levels.times) // 3 and lr < DEFAULT_LR / 4):
        return None
    return Finding(
        "the learning rate is too low",
        f"after {results.denoiser.about.get('images', 0):,} images {unlearned_levels(results)}, and lr "
        f"{lr:g} is {DEFAULT_LR / lr:.0f} times below the usual",
        f"train with a higher rate: --lr {DEFAULT_LR:g}",
    )


def memorized(results: Results) -> Finding | None:
    """Samples that are training samples."""
    found = results.memorization_in_pixels
    if found is None or not found.memorizes:
        return None
    return Finding(
        f"it repeats its training {results.noun}",
        "; ".join(found.reasons),
        f"train on more than {len(results.data.training):,} {results.noun}, for a shorter time (--images), "
        "or with --flip or --set network.dropout=0.1",
    )


def under_trained(results: Results) -> Finding | None:
    """A larger error than a Gaussian fit's at the noisiest or the cleanest levels."""
    found = results.noise_levels
    ratio = np.array(found.fresh) / np.maximum(found.gaussian, 1e-12)
    third = max(1, len(ratio) // 3)
    low, high = float(np.mean(ratio[:third])), float(np.mean(ratio[-third:]))
    if max(low, high) < 1.05:
        return None
    where = "high" if high > low else "low"
    even = (results.denoiser.prediction, results.settings.get("loss")) == ("v", "v")
    times = found.times[-third:] if where == "high" else found.times[:third]
    return Finding(
        f"under-trained at {where} noise",
        f"at t = {times[0]:g} to {times[-1]:g} its error is {max(low, high):.2f} times that of a Gaussian "
        "fit, which knows no more than mean and covariance",
        "train longer (--images, --minutes)"
        + ("" if even else "; --prediction v and --loss v weight all levels evenly")
        if where == "high"
        else "train longer (--images, --minutes); --loss simple or edm give more weight to low noise",
    )


def condition_ignored(results: Results) -> Finding | None:
    """A condition that makes no difference."""
    ignored = {name: found for name, found in results.conditioning.items() if not found.used}
    if not ignored:
        return None
    several = " and ".join(ignored)
    return Finding(
        f"the {several} {'are' if len(ignored) > 1 else 'is'} ignored",
        "; ".join(
            f"with a wrong value of {name} the error changes by {found.total:+.1%} (z = {found.z:.1f})"
            for name, found in ignored.items()
        ),
        f"check that each value of {several} belongs to its sample (alphabar data DATA --out sheet.png), and "
        "train longer (--images, --minutes)",
    )


def tinted(results: Results) -> Finding | None:
    """Channels whose mean is off by more than chance explains."""

    def means(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], -1).mean(2)

    ours, real = means(results.first), means(results.clean)
    off = ours.mean(0) - real.mean(0)
    error = np.sqrt(ours.var(0, ddof=1) / len(ours) + real.var(0, ddof=1) / len(real))
    worst = int(np.argmax(np.abs(off) / np.maximum(error, 1e-30)))
    if abs(off[worst]) < 5 * error[worst] or abs(off[worst]) < 0.05:
        return None
    space = results.data.space
    names: Sequence[str] = space.names
    if space.columns:  # of which one may take several numbers
        names = [names[i] for i in results.denoiser.codec.numbers_of(np.arange(len(names)))]
    which = names[worst] if names else f"channel {worst}"
    return Finding(
        "the samples are tinted" if space.kind == "picture" else "a channel's mean is off",
        f"the mean of {which} is {ours.mean(0)[worst]:+.3f} in samples and {real.mean(0)[worst]:+.3f} in the "
        "data (model space, about -1 to 1), "
        f"{abs(off[worst]) / error[worst]:.0f} standard errors apart",
        "train longer: means, such as brightness and color, are decided at high noise (--prediction v "
        "--loss v give it more weight)",
    )


def saturated(results: Results) -> Finding | None:
    """Values at the ends of the range far more often than in the data."""
    if results.denoiser.codec.bounds is None:
        return None
    low, high = results.denoiser.codec.bounds
    near = 0.005 * (high - low)

    def share(x: np.ndarray) -> float:
        return float(((x < low + near) | (x > high - near)).mean())

    ours, real = share(results.first), share(results.clean)
    if ours < real + 0.1:
        return None
    return Finding(
        "the samples are saturated",
        f"{ours:.0%} of their values lie at the ends of the range, and {real:.0%} of the data's",
        "train longer; with guidance, lower it or add --guidance-rescale 0.7",
    )


CHECKS: dict[str, Callable[[Results], Finding | None]] = {
    "finite weights": non_finite,
    "data": broken_data,
    "value range": value_range,
    "schedule": schedule_ends,
    "learning rate (high)": rate_too_high,
    "average": average_too_long,
    "learning rate (low)": rate_too_low,
    "memorization": memorized,
    "error by noise level": under_trained,
    "conditioning": condition_ignored,
    "tint": tinted,
    "saturation": saturated,
}
"""Causes before their effects: a fault that comes early brings later ones with it."""


def run_checks(results: Results, names: Iterable[str] = CHECKS) -> Diagnosis:
    """Make some of `CHECKS`, in the table's order; if the weights are not finite, the rest is skipped."""
    wanted = set(names)
    findings, looked, skipped = [], [], []
    for name in (name for name in CHECKS if name in wanted):
        if findings and findings[0].cause == NOT_FINITE:
            skipped.append(name)
            continue
        results.say(name)
        looked.append(name)
        found = CHECKS[name](results)
        if found is not None:
            findings.append(found)
    conditioning = results.conditioning if "conditioning" in looked else {}
    return Diagnosis(findings, looked, skipped, {name: asdict(c) for name, c in conditioning.items()})
