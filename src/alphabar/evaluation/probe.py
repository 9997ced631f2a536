"""Is the class used at all?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..denoiser import Denoiser
from ..random import stream
from ..sampling import sample
from ..sampling.slots import SLOTS
from ..theory.gaussian import q_sample

PROBE_TIMES = 8
LEAST_GAIN, LEAST_Z = 0.01, 4.0


@dataclass(frozen=True)
class Probe:
    """What `condition_probe` found.

    Attributes:
        times: of noise.
        gain: at each, by what share E (x_0 - x0_hat)^2 is larger with a wrong class than with the right one.
        total: the same for all times together.
        z: that difference over its standard error, over samples.
        used: whether the class plainly matters: total above 1 % and z above 4.
    """

    times: list[float]
    gain: list[float]
    total: float
    z: float
    used: bool


def condition_probe(
    denoiser: Denoiser,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    n: int = 128,
    seed: int = 0,
) -> Probe:
    """Tell whether the class changes what the model sees, by giving it wrong ones.

    Each sample is noised to times spread over 1..T and denoised with its class and with another one.
    A model that has learned what classes mean errs more with the wrong ones; one that ignores them,
    or was trained with labels that say nothing, errs the same.

    Args:
        denoiser: a model with classes.
        images: (n, C, H, W) in data space, such as held-out ones; the model's own samples unless given.
        labels: their classes.
        n: how many of its own samples to draw.
        seed: of samples, noise and wrong classes.
    """
    spec, schedule = denoiser.data, denoiser.schedule
    k = len(spec.classes)
    if k < 2:
        raise ValueError(f"the probe needs a model with classes, and this one has {k or 'none'}")
    if (images is None) != (labels is None):
        raise ValueError("give both images and their labels, or neither")
    if images is None or labels is None:
        if n < 2:
            raise ValueError(f"the probe needs 2 samples or more, got n = {n}")
        drawn = sample(denoiser, n, seed=seed, label=[i % k for i in range(n)])
        images, labels = drawn.images, drawn.labels
    assert labels is not None
    _check(np.asarray(images), np.asarray(labels), spec.shape, k)
    x_0 = spec.to_model(images)
    right = np.asarray(labels, dtype=np.int64)
    shift = np.array([stream(seed, "probe", i).integers(1, k) for i in range(len(right))])
    wrong = (right + shift) % k
    times = np.unique(np.ceil((np.arange(PROBE_TIMES) + 0.5) / PROBE_TIMES * schedule.T))
    errors = np.empty((2, len(times), len(x_0)))
    for level, t in enumerate(times.tolist()):
        noise = [
            stream(seed, "probe", i, level + 1).standard_normal(spec.shape, np.float32)
            for i in range(len(x_0))
        ]
        x_t = q_sample(schedule, x_0, t, np.stack(noise))
        for which, label in enumerate((right, wrong)):
            errors[which, level] = _square_errors(denoiser, x_0, x_t, t, label)
    more = errors[1] - errors[0]
    by_sample = more.sum(0)
    total = float(more.sum() / errors[0].sum())
    z = float(by_sample.mean() / max(by_sample.std(ddof=1) / math.sqrt(len(by_sample)), 1e-30))
    gain = (more.sum(1) / errors[0].sum(1)).tolist()
    return Probe(times.tolist(), gain, total, z, total > LEAST_GAIN and z > LEAST_Z)


def _check(images: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], k: int) -> None:
    if len(images) < 2 or images.shape[1:] != shape or labels.shape != (len(images),):
        raise ValueError(
            f"the probe needs 2 samples or more of shape {shape} and a label for each, got {images.shape} "
            f"and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= k:
        raise ValueError(f"labels must be whole numbers within 0..{k - 1}")


def _square_errors(
    denoiser: Denoiser, x_0: np.ndarray, x_t: np.ndarray, t: float, label: np.ndarray
) -> np.ndarray:
    found = []
    for i in range(0, len(x_0), SLOTS):
        part = slice(i, i + SLOTS)
        x, clean, classes = (torch.from_numpy(a[part]).to(denoiser.device) for a in (x_t, x_0, label))
        with torch.no_grad():
            found.append((denoiser(x, t, classes) - clean).square().flatten(1).mean(1).cpu().numpy())
    return np.concatenate(found)
