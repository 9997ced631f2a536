"""Samples by number: sample i of a seed is the same bytes however it is drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.spec import DataSpec
from ..denoiser import Denoiser, has_bfloat16
from ..random import check_seed, stream
from ..theory.gaussian import q_sample
from ..theory.plans import DEFAULT_SAMPLER, DEFAULT_STEPS, Plan, make_plan
from .executor import OnX0
from .executor import clip as clip_x0
from .executor import threshold as threshold_x0
from .guidance import NO_CLASS, Guidance, check_knows_no_class, guided
from .measurements import Measurement
from .slots import Start, run_plan


@dataclass
class Samples:
    """What `sample` returns.

    Attributes:
        images: (n, C, H, W) in data space, the data's own dtype and range.
        indices: the number of each sample; with `facts` it says how to make that one again.
        labels: the class of each, -1 for none; None if the model has no classes.
        facts: seed, plan, clipping and the model's digest, as JSON.
        frames: (F, n, C, H, W), x_t in data space along the way, if asked for.
        frame_times: t of each frame.
    """

    images: np.ndarray
    indices: np.ndarray
    labels: np.ndarray | None
    facts: dict[str, Any]
    frames: np.ndarray | None = None
    frame_times: list[float] = field(default_factory=list)


def sample(
    denoiser: Denoiser,
    n: int | None = None,
    *,
    indices: Iterable[int] | None = None,
    seed: int = 0,
    label: int | Sequence[int] | None = None,
    plan: Plan | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    start: float | None = None,
    grid: str | None = None,
    clip: bool | None = None,
    threshold: float | None = None,
    guidance: Guidance | float = 1.0,
    precision: str | None = None,
    measured: Measurement | None = None,
    x_0: np.ndarray | None = None,
    x_t: np.ndarray | None = None,
    frames: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Samples:
    """Draw samples, from pure noise or from given ones at time `start`.

    Args:
        denoiser: the model, as from `load`.
        n: how many; samples 0 … n - 1 unless `indices` says which (1 unless given).
        seed: noise is a pure function of (seed, index of the sample, step).
        label: class of all or of each, or -1 for none where the model knows that. Unless given it is
            drawn as often as in the training data; for a given sample it is -1 where it can be.
        plan: a plan; or else `sampler`, `steps`, `grid` and `options` (`eta`, `order`, …) for `make_plan`.
            With `steps` alone, a plan that was fitted to this model for as many is used. Without it
            there are as many as by default from T, as many less as `start` is lower (but 10), and
            never more than times.
        start: the time to start at, T unless given.
        clip: keep x0_hat within the data's range; True unless the data has none.
        threshold: the share of values for dynamic thresholding, instead of clipping.
        guidance: a scale (1: none), or a `Guidance`.
        precision: "float32" or "bfloat16", of the network; `usual_precision` unless given.
        measured: what is known of the sample.
        x_0: a clean image (C, H, W) in data space to noise to `start` first, for every sample; or one
            for each, (n, C, H, W).
        x_t: an already noisy one or one for each, in model space, to start from as it is.
        frames: how many states along the way to keep, the first and the last included.
        progress: called with (done, total) evaluations of x0_hat.
    """
    check_seed(seed)
    schedule, spec = denoiser.schedule, denoiser.data
    numbers = _numbers(n, indices)
    if frames < 0 or frames == 1:
        raise ValueError(
            f"frames must be 0, or 2 or more (the start and the end are among them), got {frames}"
        )
    guidance = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    precision = precision or usual_precision(denoiser)
    denoise = guided(denoiser.in_precision(precision), guidance)
    given = plan is not None
    if plan is None:
        plan = choose_plan(denoiser, sampler, steps, start, grid, guidance, **options)
    elif sampler or steps or options or grid or start is not None:
        raise ValueError("a plan has its own sampler, steps, grid, start and options: give it alone")
    plan.check_fits(schedule)
    if plan.times[-1] != 0:
        raise ValueError(f"a plan to sample with ends at 0, the clean sample, got {plan.times[-1]:g}")
    origin = _origin(denoiser, plan, len(numbers), x_0, x_t)
    on_x0, range_facts = _range(denoiser, clip, threshold)
    if measured is not None:
        on_x0 += measured.on_x0()
        denoise = measured.within(denoise, schedule)
    free = x_0 is not None or x_t is not None or measured is not None
    if label is None and free and denoiser.label_dropout and guidance.scale == 1:
        label = NO_CLASS
    labels = labels_for(denoiser, numbers, seed, label)
    if guidance.scale != 1 and guidance.by is None and labels is not None and np.any(labels < 0):
        raise ValueError("guidance leads towards a class: give one (label -1 is none)")

    rows = _kept_rows(plan.num_evaluations, frames)
    out, states = run_plan(
        denoise, plan, origin, numbers, seed, spec.shape, labels, on_x0, rows, progress, denoiser.device
    )
    facts = {
        "model": denoiser.digest,
        "seed": int(seed),
        "plan": plan.to_dict() if given or not plan.made_by else plan.made_by,
        "times": plan.times.tolist(),
        "evaluations": sum(1 + guidance.acts_at(t) for t in plan.times[:-1].tolist()),
        **range_facts,
        "precision": precision,
        "guidance": guidance.facts() if guidance.scale != 1 else None,
        "measured": measured.facts() if measured else None,
        "start_sha256": _fingerprint(x_0, x_t),
        "from": "x_0 noised to t" if x_0 is not None else "x_t as given" if x_t is not None else "pure noise",
    }
    return Samples(
        spec.to_data(out),
        numbers,
        labels,
        facts,
        spec.to_data(states) if rows else None,
        [float(plan.times[row]) for row in rows],
    )


def usual_precision(denoiser: Denoiser) -> str:
    """What the model was trained in, if that is "bfloat16" and this device computes in it; or "float32".

    A model's errors are larger than bfloat16's roundings (docs/log.md), which a network that was
    trained with them has seen; it takes half the time where the hardware has it, and longer elsewhere.
    """
    trained = denoiser.about.get("config", {}).get("precision")
    return "bfloat16" if trained == "bfloat16" and has_bfloat16(denoiser.device) else "float32"


def choose_plan(
    denoiser: Denoiser,
    sampler: str | None = None,
    steps: int | None = None,
    start: float | None = None,
    grid: str | None = None,
    guidance: Guidance | None = None,
    times: Sequence[float] | None = None,
    **options: Any,
) -> Plan:
    """The plan of `sample`: the model's own fitted one, if only `steps` are asked for, or `make_plan`'s."""
    T = denoiser.schedule.T
    alone = sampler is None and grid is None and times is None and not options and start in (None, T)
    if alone and steps is not None:
        for plan in denoiser.plans:
            if plan.num_evaluations == steps and plan.made_by["guidance"] == (guidance or Guidance()).facts():
                return plan
    if sampler == "ddpm" and options.get("variance") == "optimal" and "x0_mse" not in options:
        if denoiser.x0_mse is None:
            raise ValueError(
                "the optimal variance is estimated from the model once: alphabar tune RUN --variance"
            )
        options["x0_mse"] = denoiser.x0_mse
    if times is not None:
        return make_plan(denoiser.schedule, sampler or DEFAULT_SAMPLER, steps, start, grid, times, **options)
    if steps is None:  # as many as the full way's leave below `start`, and at least 10
        top = T if start is None else start
        steps = min(max(math.ceil(DEFAULT_STEPS * top / T), 10), max(1, math.ceil(top)))
    return make_plan(denoiser.schedule, sampler or DEFAULT_SAMPLER, steps, start, grid, **options)


def _range(denoiser: Denoiser, clip: bool | None, share: float | None) -> tuple[list[OnX0], dict[str, Any]]:
    """What keeps x0_hat within the data's range, and the record of it."""
    low_high = denoiser.data.clip_range
    if low_high is None and (clip or share is not None):
        raise ValueError("this model's data has no bounds to clip to; give clip=False and no threshold")
    if share is not None and clip is not None:
        raise ValueError("thresholding takes the place of clipping: give threshold or clip, not both")
    facts = {"clip": None, "threshold": share}
    if low_high is None or clip is False:
        return [], facts
    if share is not None:
        return [threshold_x0(*low_high, share)], facts
    return [clip_x0(*low_high)], {**facts, "clip": list(low_high)}


def _numbers(n: int | None, indices: Iterable[int] | None) -> np.ndarray:
    """The samples' numbers: different whole ones from 0."""
    if indices is not None and n is not None:
        raise ValueError("give n or indices, not both")
    numbers = np.asarray(np.arange(1 if n is None else n) if indices is None else list(indices))
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"indices must be whole numbers, got {numbers.dtype}")
    if len(numbers) < 1 or numbers.min() < 0:
        raise ValueError(f"samples are numbered from 0 and at least one is needed, got n = {n}, {numbers}")
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError("indices must differ: a sample has one number, and that number one sample")
    return numbers.astype(np.int64)


def _origin(denoiser: Denoiser, plan: Plan, n: int, x_0: np.ndarray | None, x_t: np.ndarray | None) -> Start:
    """(standard normal numbers (m, C, H, W), which of the n samples) → their states at plan.times[0]."""
    schedule, spec, start = denoiser.schedule, denoiser.data, float(plan.times[0])
    if x_0 is not None and x_t is not None:
        raise ValueError("give x_0 (clean) or x_t (already noisy), not both")
    for name, array in (("x_0", x_0), ("x_t", x_t)):
        if array is not None and np.shape(array) not in (spec.shape, (n, *spec.shape)):
            raise ValueError(
                f"{name} must have the model's shape {spec.shape}, got {np.shape(array)} "
                f"(or {(n, *spec.shape)}, one for each sample)"
            )
        if array is not None and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds values that are not finite")
    if x_0 is not None:
        clean = np.broadcast_to(spec.to_model(np.asarray(x_0)), (n, *spec.shape))
        return lambda z, where: q_sample(schedule, clean[where], start, z)
    if x_t is not None:
        noisy = np.broadcast_to(np.asarray(x_t, dtype=np.float32), (n, *spec.shape))
        return lambda z, where: noisy[where]
    if start != schedule.T:
        raise ValueError(
            f"from pure noise sampling starts at T = {schedule.T}, got {start:g}; to start there, "
            "give x_0 (a clean sample, to be noised) or x_t (a noisy one)"
        )
    return lambda z, where: z


def draw_labels(spec: DataSpec, numbers: np.ndarray, seed: int) -> np.ndarray | None:
    """A class for each sample, as often as in the training data; None where there are none."""
    if not spec.classes:
        return None
    k = len(spec.classes)
    counts = np.asarray(spec.class_counts or [1] * k, dtype=np.float64)
    share = np.cumsum(counts / counts.sum())
    draws = [stream(seed, "label", int(i)).random() for i in numbers]
    return np.minimum(np.searchsorted(share, draws, side="right"), k - 1).astype(np.int64)


def labels_for(
    denoiser: Denoiser, numbers: np.ndarray, seed: int, label: int | Sequence[int] | None
) -> np.ndarray | None:
    """The class of each sample: as given, -1 for none, or drawn."""
    spec = denoiser.data
    if not spec.classes and label is not None:
        raise ValueError(f"this model has no classes, got label {label}")
    if label is None:
        return draw_labels(spec, numbers, seed)
    k = len(spec.classes)
    labels = np.asarray(label)
    if labels.ndim == 0:
        labels = np.full(len(numbers), labels)
    if (
        labels.shape != (len(numbers),)
        or labels.dtype.kind not in "iu"
        or not np.all((labels >= NO_CLASS) & (labels < k))
    ):
        raise ValueError(
            f"label must be a whole number within 0..{k - 1}, or {len(numbers)} of them, got {label}"
        )
    if np.any(labels == NO_CLASS):
        check_knows_no_class(denoiser, "label -1, no class,")
    return labels.astype(np.int64)


def _fingerprint(*given: np.ndarray | None) -> str | None:
    """SHA-256 of the sample that was started from, if there was one."""
    return next(
        (hashlib.sha256(np.ascontiguousarray(a).data).hexdigest() for a in given if a is not None), None
    )


def _kept_rows(evaluations: int, frames: int) -> list[int]:
    """Which states of a plan, 0 … evaluations, to keep: `frames` evenly, both ends included."""
    if frames <= 0:
        return []
    return np.unique(np.linspace(0, evaluations, frames).round().astype(int)).tolist()
