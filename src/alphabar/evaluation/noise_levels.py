"""The error by noise level, beside those of the Gaussian and of the empirical denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import rng
from ..data import Condition, Dataset, spread
from ..model import Batched, Codec, Denoiser
from ..model.affine import known_of
from ..theory.gaussian import q_sample
from ..theory.schedule import Schedule
from .baselines import AT_ONCE, EmpiricalDenoiser, GaussianDenoiser
from .keys import LEVEL

LEVELS = 10

Denoise = Callable[[np.ndarray, np.ndarray, Mapping[str, Any] | None], np.ndarray]


@dataclass(frozen=True)
class NoiseLevels:
    """E (x_0 - x0_hat)^2 per dimension, in model space, at each of `times`, of several denoisers.

    Attributes:
        times: from little noise to much.
        n: how many samples of each kind.
        held_out, training: the model's error on samples of the two kinds (None: nothing is held out).
        error: the standard error of `held_out`, or of `training` if nothing is held out.
        gaussian: the error of the ideal denoiser for a Gaussian with the data's mean and covariance, on the
            same samples: what can be had by learning nothing but those two.
        empirical: the error, on the training samples, of the ideal denoiser for exactly these samples. No
            denoiser has a lower one on them, and only one that has memorized them comes near it.
    """

    times: list[float]
    n: int
    held_out: list[float] | None
    training: list[float]
    error: list[float]
    gaussian: list[float]
    empirical: list[float]

    @property
    def fresh(self) -> list[float]:
        """The model's error on held-out samples, or on training samples if nothing is held out."""
        return self.training if self.held_out is None else self.held_out

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the standard error of a single sample, which is unknown, is null."""
        return asdict(self) | {"error": [e if math.isfinite(e) else None for e in self.error]}


def error_by_noise_level(denoiser: Denoiser, data: Dataset, n: int = 128, seed: int = 0) -> NoiseLevels:
    """Measure the errors at times evenly spread in the half log-SNR, with the same noise for all denoisers.

    Args:
        denoiser: the model.
        data: with the conditions that the model needs (see `same_conditions`).
        n: the most samples of each kind to take, evenly spread over the data.
        seed: of the noise, a function of (seed, sample, level).
    """
    schedule, codec = denoiser.schedule, denoiser.codec
    ours, conditions = Batched(denoiser), denoiser.conditions
    training = clean(data, codec, spread(data.training, n), conditions)
    held_out = clean(data, codec, spread(data.held_out, n), conditions) if len(data.held_out) else None
    on_training = square_errors(ours, training, schedule, seed)
    on_held_out = None if held_out is None else square_errors(ours, held_out, schedule, seed)
    fresh = on_training if on_held_out is None else on_held_out
    gaussian = GaussianDenoiser(data, codec, schedule)
    empirical = EmpiricalDenoiser(data, codec, schedule, conditions)
    count = fresh.shape[1]
    return NoiseLevels(
        level_times(schedule),
        count,
        None if on_held_out is None else on_held_out.mean(1).tolist(),
        on_training.mean(1).tolist(),
        [math.nan] * len(fresh) if count < 2 else (fresh.std(1, ddof=1) / math.sqrt(count)).tolist(),
        square_errors(gaussian, training if held_out is None else held_out, schedule, seed).mean(1).tolist(),
        square_errors(empirical, training, schedule, seed).mean(1).tolist(),
    )


def model_errors(denoiser: Denoiser, data: Dataset, indices: np.ndarray, seed: int = 0) -> np.ndarray:
    """The model's mean (x_0 - x0_hat)^2 at each of `level_times`, for samples at `indices`: (levels, n)."""
    samples = clean(data, denoiser.codec, indices, denoiser.conditions)
    return square_errors(Batched(denoiser), samples, denoiser.schedule, seed)


class Clean(NamedTuple):
    """Samples of a data set: their indices, x_0 in model space, the values of their conditions, and what is
    known of each if that differs.
    """

    indices: np.ndarray
    x_0: np.ndarray
    values: dict[str, np.ndarray]
    known: np.ndarray | None = None


def clean(data: Dataset, codec: Codec, indices: np.ndarray, conditions: Mapping[str, Condition]) -> Clean:
    """The samples at `indices`, with the values of `conditions`."""
    images = data.images[indices]
    values = data.values_at(indices, conditions)
    return Clean(indices, codec.encode(images), values, known_of(codec, images))


def square_errors(denoise: Denoise, samples: Clean, schedule: Schedule, seed: int) -> np.ndarray:
    """Mean (x_0 - x0_hat)^2 at each of `level_times`, for each sample: (levels, n).

    The noise is a function of (seed, sample, level): the same for all denoisers.
    """
    times = np.array(level_times(schedule))
    shape = samples.x_0.shape[1:]
    found = np.empty((len(times), len(samples.x_0)))
    size = max(1, AT_ONCE // (len(times) * math.prod(shape)))
    for i in range(0, len(samples.x_0), size):
        here = np.arange(i, min(i + size, len(samples.x_0)))
        level, k = (grid.ravel() for grid in np.meshgrid(np.arange(len(times)), here, indexing="ij"))
        eps = rng.normal(seed, "evaluation", samples.indices[k], LEVEL + level, shape=shape)
        x_0, t = samples.x_0[k], times[level]
        values = {name: v[k] for name, v in samples.values.items()}
        x_t, known, share = q_sample(schedule, x_0, t, eps), 1.0, 1.0
        if samples.known is not None:
            known = samples.known[k]
            x_t, share = x_t * known, known.reshape(len(times), len(here), -1).mean(2, dtype=np.float64)
        off = known * (denoise(x_t, t, values) - x_0.astype(np.float64))
        found[:, here] = np.square(off).reshape(len(times), len(here), -1).mean(2) / np.maximum(share, 1e-9)
    return found


def level_times(schedule: Schedule, count: int = LEVELS) -> list[float]:
    """Whole times, evenly spaced in lambda between those with a noise of standard deviation 0.03 and 0.97."""
    t = np.arange(1, schedule.T + 1)
    std = np.sqrt(1 - schedule.alpha_bar[1:])
    low, high = (int(np.argmin(np.abs(std - level))) for level in (0.03, 0.97))
    lam = schedule.lam[1:]
    wanted = np.linspace(lam[low], lam[high], count)
    return np.unique(t[np.abs(lam[None] - wanted[:, None]).argmin(1)]).astype(float).tolist()


def trained_on(denoiser: Denoiser, data: Dataset) -> bool:
    """Whether the model was trained on these data, as far as is known."""
    return denoiser.about.get("data_fingerprint") in (None, "", data.fingerprint)


def same_conditions(denoiser: Denoiser, data: Dataset) -> str:
    """Why the model can't be told the conditions of these data as in training; "" if it can."""
    for name, ours in denoiser.conditions.items():
        theirs = data.conditions.get(name)
        if theirs is None or ours.meaning() != theirs.meaning():
            has = "have none" if theirs is None else f"have {_shown(theirs)}"
            return f"the model is told the {name} ({_shown(ours)}), and the data {has}"
    return ""


def _shown(condition: Condition) -> str:
    names = getattr(condition, "names", ())
    if not names:
        return f"{condition.kind} of shape {condition.shape}"
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
