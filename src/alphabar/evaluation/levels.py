"""The error by noise level, beside what a trivial and a memorising denoiser would make of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..data import Dataset
from ..denoiser import Denoiser
from ..random import stream
from ..sampling.slots import SLOTS
from ..theory.gaussian import q_sample
from ..theory.schedule import Schedule

LEVELS = 10
GAUSSIAN_DIMENSIONS = 4096  # at most for a whole covariance, which has the square of it
MOST_PICTURES = 20_000
BLOCK = 2000

Denoise = Callable[[np.ndarray, float, np.ndarray | None], np.ndarray]
Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Levels:
    """E (x_0 - x0_hat)^2 per dimension, model space, at each of `times`, of several denoisers.

    Attributes:
        times: from little noise to much.
        n: pictures of each kind.
        held_out, training: the model's error on pictures of the two kinds (None: nothing is held out).
        error: standard error of `held_out`, or of `training` where there is none.
        gaussian: of the best denoiser for a Gaussian with the data's mean and covariance, on the same
            pictures: what can be had without learning anything but those.
        memorising: of the best denoiser for the training pictures as all there is, on themselves: below
            it nobody comes on them, and near it only by knowing them by heart.
    """

    times: list[float]
    n: int
    held_out: list[float] | None
    training: list[float]
    error: list[float]
    gaussian: list[float]
    memorising: list[float]

    @property
    def fresh(self) -> list[float]:
        """The model's error on pictures that it was not trained on, if there are any."""
        return self.training if self.held_out is None else self.held_out

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an error that one picture doesn't tell is null."""
        return asdict(self) | {"error": [e if math.isfinite(e) else None for e in self.error]}


def levels(denoiser: Denoiser, data: Dataset, n: int = 128, seed: int = 0) -> Levels:
    """Measure the errors at times evenly spread in the half log-SNR, the same noise for all denoisers."""
    schedule = denoiser.schedule
    training, held_out = spread(data.training, n), spread(data.held_out, n)
    ours = denoise_with(denoiser)
    on_training = errors(ours, data, training, schedule, seed)
    on_held_out = errors(ours, data, held_out, schedule, seed) if len(held_out) else None
    fresh = on_training if on_held_out is None else on_held_out
    gaussian = errors(
        Gaussian(data, schedule), data, training if on_held_out is None else held_out, schedule, seed
    )
    by_heart = errors(Memorising(data, schedule), data, training, schedule, seed)
    pictures = fresh.shape[1]
    return Levels(
        level_times(schedule),
        pictures,
        None if on_held_out is None else on_held_out.mean(1).tolist(),
        on_training.mean(1).tolist(),
        [math.nan] * len(fresh) if pictures < 2 else (fresh.std(1, ddof=1) / math.sqrt(pictures)).tolist(),
        gaussian.mean(1).tolist(),
        by_heart.mean(1).tolist(),
    )


def errors(denoise: Denoise, data: Dataset, indices: np.ndarray, schedule: Schedule, seed: int) -> np.ndarray:
    """Mean (x_0 - x0_hat)^2 at each of `level_times` of each picture at `indices`, (levels, n).

    The noise is a function of (seed, picture, level): the same for all denoisers.
    """
    x_0, label = data.take(indices)
    found = []
    for level, t in enumerate(level_times(schedule)):
        eps = np.stack([
            stream(seed, "evaluation", int(i), level + 1).standard_normal(data.spec.shape, np.float32)
            for i in indices
        ])  # fmt: skip
        x0_hat = denoise(q_sample(schedule, x_0, t, eps), t, label)
        found.append(((x_0 - x0_hat) ** 2).reshape(len(x_0), -1).mean(1))
    return np.array(found)


def level_times(schedule: Schedule, count: int = LEVELS) -> list[float]:
    """Whole times, even in lambda between those of 0.97 and 0.03 of the noise's standard deviation."""
    t = np.arange(1, schedule.T + 1)
    std = np.sqrt(1 - schedule.alpha_bar[1:])
    low, high = (int(np.argmin(np.abs(std - level))) for level in (0.03, 0.97))
    lam = schedule.lam[1:]
    wanted = np.linspace(lam[low], lam[high], count)
    return np.unique(t[np.abs(lam[None] - wanted[:, None]).argmin(1)]).astype(float).tolist()


def spread(indices: np.ndarray, n: int) -> np.ndarray:
    """Up to n of the indices, spread evenly over them; none of none."""
    return indices[np.linspace(0, len(indices) - 1, min(n, len(indices))).round().astype(int)]


def trained_on(denoiser: Denoiser, data: Dataset) -> bool:
    """Whether the data are those that the model was trained on, as far as is known."""
    return denoiser.about.get("data_fingerprint") in (None, "", data.fingerprint)


def other_classes(denoiser: Denoiser, data: Dataset) -> str:
    """What to say if the data have not the classes that the model needs; nothing if they have."""
    needs, has = denoiser.data.classes, data.spec.classes
    if not needs or needs == has:
        return ""
    some = [", ".join(names[:5]) + (" …" if len(names) > 5 else "") or "none" for names in (needs, has)]
    return f"the model has the classes {some[0]}, and the data {some[1]}"


def denoise_with(denoiser: Denoiser) -> Denoise:
    """The model on NumPy arrays, in batches of fixed size; without its classes where the data have none."""

    def denoise(x_t: np.ndarray, t: float, label: np.ndarray | None) -> np.ndarray:
        found = []
        for i in range(0, len(x_t), SLOTS):
            part = slice(i, i + SLOTS)
            x = torch.from_numpy(x_t[part]).to(denoiser.device)
            knows = label is not None and bool(denoiser.data.classes)
            classes = (
                torch.from_numpy(label[part]).to(denoiser.device) if knows and label is not None else None
            )
            with torch.no_grad():
                found.append(denoiser(x, t, classes).cpu().numpy())
        return np.concatenate(found)

    return denoise


class Gaussian:
    """x0_hat = m + sqrt(alpha_bar) S (alpha_bar S + (1 - alpha_bar) I)^-1 (x_t - sqrt(alpha_bar) m).

    The ideal denoiser of N(m, S), with the mean and covariance of the training pictures. S is shrunk
    towards its mean eigenvalue as by Ledoit and Wolf (2004), for few pictures. Of more than 4,096 numbers
    a picture only the variances of its cosine transform are taken: S is diagonal there, as it nearly is
    for natural pictures.
    """

    def __init__(self, data: Dataset, schedule: Schedule) -> None:
        indices = spread(data.training, MOST_PICTURES)
        x = data.take(indices).x_0.astype(np.float64)
        self.schedule, self.mean = schedule, x.mean(0)
        x -= self.mean
        if x[0].size > GAUSSIAN_DIMENSIONS:
            rows, columns = (cosines(side) for side in x.shape[2:])
            self.turn: Turn = lambda y: rows @ y @ columns.T
            self.back: Turn = lambda y: rows.T @ y @ columns
            self.values = (self.turn(x) ** 2).mean(0)
        else:
            values, vectors = np.linalg.eigh(shrunk_covariance(x.reshape(len(x), -1)))
            self.turn = lambda y: (y.reshape(len(y), -1) @ vectors).reshape(y.shape)
            self.back = lambda y: (y.reshape(len(y), -1) @ vectors.T).reshape(y.shape)
            self.values = np.maximum(values, 0).reshape(self.mean.shape)

    def __call__(self, x_t: np.ndarray, t: float, label: np.ndarray | None = None) -> np.ndarray:
        bar = float(self.schedule.alpha_bar_at(t))
        gain = np.sqrt(bar) * self.values / (bar * self.values + 1 - bar)
        return self.mean + self.back(gain * self.turn(x_t - np.sqrt(bar) * self.mean))


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """(1 - a) S + a tr(S) / d I for centred rows x (n, d), with Ledoit and Wolf's share a."""
    n, d = x.shape
    covariance = x.T @ x / n
    level = np.trace(covariance) / d
    away = ((covariance - level * np.eye(d)) ** 2).sum() / d
    noise = ((x**2).sum(1) ** 2).sum() / n - (covariance**2).sum()
    share = min(1.0, noise / d / n / away) if away > 0 else 0.0
    return (1 - share) * covariance + share * level * np.eye(d)


def cosines(n: int) -> np.ndarray:
    """The orthonormal cosine transform of n numbers (DCT-II) as a matrix."""
    k, i = np.ogrid[:n, :n]
    matrix = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * i + 1) / (2 * n))
    matrix[0] /= np.sqrt(2)
    return matrix


class Memorising:
    """x0_hat = sum_i w_i x_i, w = softmax(-|x_t - sqrt(alpha_bar) x_i|^2 / (2 (1 - alpha_bar))).

    The ideal denoiser of a distribution that is the training pictures and nothing else; of those of
    the asked class where there are classes.
    """

    def __init__(self, data: Dataset, schedule: Schedule) -> None:
        self.data, self.schedule = data, schedule

    def __call__(self, x_t: np.ndarray, t: float, label: np.ndarray | None = None) -> np.ndarray:
        bar = float(self.schedule.alpha_bar_at(t))
        x = x_t.reshape(len(x_t), -1).astype(np.float64)
        best = np.full(len(x), -np.inf)
        weight, total = np.zeros(len(x)), np.zeros_like(x)
        for i in range(0, len(self.data.training), BLOCK):
            clean, classes = self.data.take(self.data.training[i : i + BLOCK])
            clean = clean.reshape(len(clean), -1).astype(np.float64)
            power = (np.sqrt(bar) * x @ clean.T - 0.5 * bar * (clean**2).sum(1)) / (1 - bar)
            if label is not None and classes is not None:
                power[label[:, None] != classes[None]] = -np.inf
            new = np.maximum(best, power.max(1))
            with np.errstate(invalid="ignore"):
                keep = np.where(np.isfinite(best), np.exp(best - new), 0.0)
                share = np.where(np.isfinite(power), np.exp(power - new[:, None]), 0.0)
            weight = keep * weight + share.sum(1)
            total = keep[:, None] * total + share @ clean
            best = new
        return (total / weight[:, None]).reshape(x_t.shape)
