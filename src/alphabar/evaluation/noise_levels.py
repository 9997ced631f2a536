"""The error by noise level, beside what the Gaussian and the empirical denoiser would make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import rng
from ..data import Condition, Dataset, spread
from ..model import Batched, Codec, Denoiser
from ..theory.gaussian import q_sample
from ..theory.schedule import Schedule
from .baselines import AT_ONCE, EmpiricalDenoiser, GaussianDenoiser
from .keys import LEVEL

LEVELS = 10

Denoise = Callable[[np.ndarray, np.ndarray, Mapping[str, Any] | None], np.ndarray]


@dataclass(frozen=True)
class NoiseLevels:
    """E (x_0 - x0_hat)^2 per dimension, model space, at each of `times`, of several denoisers.

    Attributes:
        times: from little noise to much.
        n: samples of each kind.
        held_out, training: the model's error on samples of the two kinds (None: nothing is held out).
        error: standard error of `held_out`, or of `training` where there is none.
        gaussian: of the best denoiser for a Gaussian with the data's mean and covariance, on the same
            samples: what can be had without learning anything but those.
        empirical: of the best denoiser for the training samples as all there is, on themselves: below
            it nobody comes on them, and near it only by knowing them by heart.
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
        """The model's error on samples that it was not trained on, if there are any."""
        return self.training if self.held_out is None else self.held_out

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an error that one sample doesn't tell is null."""
        return asdict(self) | {"error": [e if math.isfinite(e) else None for e in self.error]}


def error_by_noise_level(denoiser: Denoiser, data: Dataset, n: int = 128, seed: int = 0) -> NoiseLevels:
    """Measure the errors at times evenly spread in the half log-SNR, the same noise for all denoisers.

    Args:
        denoiser: the model.
        data: with the conditions that the model needs (see `same_conditions`).
        n: samples of each kind, at most; spread evenly over the data.
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
    """The model's mean (x_0 - x0_hat)^2 at each of `level_times` of each sample at `indices`, (levels, n)."""
    samples = clean(data, denoiser.codec, indices, denoiser.conditions)
    return square_errors(Batched(denoiser), samples, denoiser.schedule, seed)


class Clean(NamedTuple):
    """Samples of a data set: their numbers in it, themselves in model space, and what they are told."""

    indices: np.ndarray
    x_0: np.ndarray
    values: dict[str, np.ndarray]


def clean(data: Dataset, codec: Codec, indices: np.ndarray, conditions: Mapping[str, Condition]) -> Clean:
    """The samples at `indices`, told what `conditions` know."""
    return Clean(indices, codec.encode(data.images[indices]), data.values_at(indices, conditions))


def square_errors(denoise: Denoise, samples: Clean, schedule: Schedule, seed: int) -> np.ndarray:
    """Mean (x_0 - x0_hat)^2 at each of `level_times` of each sample, (levels, n).

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
        off = denoise(q_sample(schedule, x_0, t, eps), t, values) - x_0.astype(np.float64)
        found[:, here] = np.square(off).reshape(len(times), len(here), -1).mean(2)
    return found


def level_times(schedule: Schedule, count: int = LEVELS) -> list[float]:
    """Whole times, even in lambda between those of 0.03 and 0.97 of the noise's standard deviation."""
    t = np.arange(1, schedule.T + 1)
    std = np.sqrt(1 - schedule.alpha_bar[1:])
    low, high = (int(np.argmin(np.abs(std - level))) for level in (0.03, 0.97))
    lam = schedule.lam[1:]
    wanted = np.linspace(lam[low], lam[high], count)
    return np.unique(t[np.abs(lam[None] - wanted[:, None]).argmin(1)]).astype(float).tolist()


def trained_on(denoiser: Denoiser, data: Dataset) -> bool:
    """Whether the data are those that the model was trained on, as far as is known."""
    return denoiser.about.get("data_fingerprint") in (None, "", data.fingerprint)


def same_conditions(denoiser: Denoiser, data: Dataset) -> str:
    """What to say if samples of the data can't be told to the model as its own were; nothing if they can."""
    for name, ours in denoiser.conditions.items():
        theirs = data.conditions.get(name)
        if theirs is None or _meaning(ours) != _meaning(theirs):
            has = "have none" if theirs is None else f"have {_shown(theirs)}"
            return f"the model is told the {name} ({_shown(ours)}), and the data {has}"
    return ""


def _meaning(condition: Condition) -> dict[str, Any]:
    """What an encoded value means: all of a condition but how often it was told, and what."""
    return {key: v for key, v in condition.to_dict().items() if key not in ("dropout", "counts")}


def _shown(condition: Condition) -> str:
    names = getattr(condition, "names", ())
    if not names:
        return f"{condition.kind} of shape {condition.shape}"
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
