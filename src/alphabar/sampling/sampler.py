"""Samples by number: sample i of a seed is the same bytes however it is drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..denoiser import Denoiser
from ..random import check_seed, stream
from ..theory.gaussian import q_sample
from ..theory.plans import Plan, make_plan
from .executor import OnX0, trajectory
from .executor import clip as clip_x0

DEFAULT_STEPS = 50
SLOTS = 16
"""The network always sees batches of this size, and sample i always sits at place i mod SLOTS of
one: kernels may round differently at another batch size or place, so neither ever changes."""


@dataclass
class Samples:
    """What `sample` returns.

    Attributes:
        images: (n, C, H, W) in data space, the data's own dtype and range.
        indices: the number of each sample; with `facts` it says how to make that one again.
        labels: the class of each, or None.
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
    clip: bool | None = None,
    x_0: np.ndarray | None = None,
    x_t: np.ndarray | None = None,
    frames: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Samples:
    """Draw samples, from pure noise or from a given one at time `start`.

    Args:
        denoiser: the model, as from `load`.
        n: how many; samples 0 … n - 1 unless `indices` says which (1 unless given).
        seed: noise is a pure function of (seed, index of the sample, step).
        label: class of all or of each; drawn as often as in the training data unless given.
        plan: a plan; or else `sampler` (ddpm), `steps` and `options` (`eta`, `variance`) for
            `make_plan`. Unless given there are 50 steps from T, as many less as `start` is lower (but
            10), and never more than times.
        start: the time to start at, T unless given.
        clip: keep x0_hat within the data's range; True unless the data has none.
        x_0: a clean image (C, H, W) in data space to noise to `start` first, for every sample.
        x_t: an already noisy one, (C, H, W) in model space, to start from as it is.
        frames: how many states along the way to keep, the first and the last included.
        progress: called with (done, total) network evaluations.
    """
    check_seed(seed)
    schedule, spec = denoiser.schedule, denoiser.data
    if indices is not None and n is not None:
        raise ValueError("give n or indices, not both")
    numbers = np.arange(1 if n is None else n) if indices is None else _whole(indices)
    if len(numbers) < 1 or numbers.min() < 0:
        raise ValueError(f"samples are numbered from 0 and at least one is needed, got n = {n}, {numbers}")
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError("indices must differ: a sample has one number, and that number one sample")
    if frames < 0 or frames == 1:
        raise ValueError(
            f"frames must be 0, or 2 or more (the start and the end are among them), got {frames}"
        )
    if plan is None:
        plan = make_plan(
            schedule, sampler or "ddpm", **_steps(steps, start, schedule.T), start=start, **options
        )
    elif sampler or steps or options or start is not None:
        raise ValueError("a plan has its own sampler, steps, start and options: give it alone")
    origin = _origin(denoiser, plan, x_0, x_t)
    low_high = spec.clip_range
    if clip and low_high is None:
        raise ValueError("this model's data has no bounds to clip to; give clip=False")
    on_x0: list[OnX0] = [clip_x0(*low_high)] if low_high is not None and clip is not False else []
    labels = _labels(denoiser, numbers, seed, label)

    rows = _kept_rows(plan.num_evaluations, frames)
    out = np.empty((len(numbers), *spec.shape), dtype=np.float32)
    states = np.empty((len(rows), len(numbers), *spec.shape), dtype=np.float32)
    blocks = np.unique(numbers // SLOTS)
    for done, block in enumerate(blocks):
        where = np.flatnonzero(numbers // SLOTS == block)
        slots = numbers[where] % SLOTS
        slot_labels = None
        if labels is not None:
            slot_labels = np.zeros(SLOTS, dtype=np.int64)
            slot_labels[slots] = labels[where]
        noise = _SlotNoise(seed, numbers[where], spec.shape)
        for k, x in enumerate(_states(denoiser, plan, origin, noise, slot_labels, on_x0)):
            if k in rows:
                states[rows.index(k), where] = x[slots]
            if k == plan.num_evaluations:
                out[where] = x[slots]
            if progress is not None:
                progress(done * plan.num_evaluations + k, len(blocks) * plan.num_evaluations)
    facts = {
        "model": denoiser.digest,
        "seed": int(seed),
        "plan": plan.made_by or plan.to_dict(),
        "times": plan.times.tolist(),
        "clip": list(low_high) if on_x0 and low_high is not None else None,
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


def sample_noise(seed: int, index: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """The standard normal numbers of sample `index`: step 0 for the start, k + 1 for a plan's row k."""
    return stream(seed, "sample", index, step).standard_normal(shape, np.float32)


class _SlotNoise:
    """step → standard normal numbers (SLOTS, C, H, W); zeros where no sample sits."""

    def __init__(self, seed: int, numbers: np.ndarray, shape: tuple[int, ...]) -> None:
        self.seed, self.numbers, self.shape = seed, numbers.tolist(), shape

    def __call__(self, step: int) -> np.ndarray:
        z = np.zeros((SLOTS, *self.shape), dtype=np.float32)
        for i in self.numbers:
            z[i % SLOTS] = sample_noise(self.seed, i, step, self.shape)
        return z


def _states(
    denoiser: Denoiser,
    plan: Plan,
    origin: Callable[[np.ndarray], np.ndarray],
    noise: _SlotNoise,
    labels: np.ndarray | None,
    on_x0: Sequence[OnX0],
) -> Iterator[np.ndarray]:
    """The states of one batch of slots at each of plan.times, the start included."""

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(denoiser.device)

    x = tensor(origin(noise(0)))
    yield x.cpu().numpy()
    label = None if labels is None else tensor(labels)
    for step in trajectory(denoiser, plan, x, lambda k: tensor(noise(k + 1)), label, on_x0):
        yield step.x_s.cpu().numpy()


def _steps(steps: int | None, start: float | None, T: int) -> dict[str, int]:
    """`steps` as given, else as many as the full way's 50 leave below `start`, and at least 10."""
    if steps is not None:
        return {"steps": steps}
    top = T if start is None else start
    return {"steps": min(max(math.ceil(DEFAULT_STEPS * top / T), 10), math.ceil(top))}


def _origin(
    denoiser: Denoiser, plan: Plan, x_0: np.ndarray | None, x_t: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """standard normal numbers (SLOTS, C, H, W) → the state at plan.times[0]."""
    schedule, spec, start = denoiser.schedule, denoiser.data, float(plan.times[0])
    if x_0 is not None and x_t is not None:
        raise ValueError("give x_0 (clean) or x_t (already noisy), not both")
    for name, array in (("x_0", x_0), ("x_t", x_t)):
        if array is not None and np.shape(array) != spec.shape:
            raise ValueError(f"{name} must have the model's shape {spec.shape}, got {np.shape(array)}")
        if array is not None and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds values that are not finite")
    if x_0 is not None:
        clean = spec.to_model(np.asarray(x_0))
        return lambda z: q_sample(schedule, np.broadcast_to(clean, z.shape), start, z).astype(np.float32)
    if x_t is not None:
        noisy = np.asarray(x_t, dtype=np.float32)
        return lambda z: np.broadcast_to(noisy, z.shape).copy()
    if start != schedule.T:
        raise ValueError(
            f"from pure noise sampling starts at T = {schedule.T}, got {start:g}; to start there, "
            "give x_0 (a clean sample, to be noised) or x_t (a noisy one)"
        )
    return lambda z: z


def _labels(
    denoiser: Denoiser, numbers: np.ndarray, seed: int, label: int | Sequence[int] | None
) -> np.ndarray | None:
    spec = denoiser.data
    if not spec.classes:
        if label is not None:
            raise ValueError(f"this model has no classes, got label {label}")
        return None
    k = len(spec.classes)
    if label is None:
        counts = np.asarray(spec.class_counts or [1] * k, dtype=np.float64)
        share = np.cumsum(counts / counts.sum())
        draws = [stream(seed, "label", int(i)).random() for i in numbers]
        return np.minimum(np.searchsorted(share, draws, side="right"), k - 1).astype(np.int64)
    labels = np.asarray(label)
    if labels.ndim == 0:
        labels = np.full(len(numbers), labels)
    if (
        labels.shape != (len(numbers),)
        or labels.dtype.kind not in "iu"
        or not np.all((labels >= 0) & (labels < k))
    ):
        raise ValueError(
            f"label must be a whole number within 0..{k - 1}, or {len(numbers)} of them, got {label}"
        )
    return labels.astype(np.int64)


def _whole(indices: Iterable[int]) -> np.ndarray:
    numbers = np.asarray(list(indices))
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"indices must be whole numbers, got {numbers.dtype}")
    return numbers.astype(np.int64)


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
