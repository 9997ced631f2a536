"""Two denoisers that need no training: the ideal ones for a Gaussian, and for the training samples alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import rng
from ..data import Condition, Dataset, VectorCondition, spread
from ..model import Codec
from ..theory.schedule import Schedule
from .keys import TRIVIAL

GAUSSIAN_DIMENSIONS = 4096  # the most for a full covariance matrix, which has its square
MOST_SAMPLES = 20_000
AT_ONCE = 2**24  # numbers of model space in memory at once
BLOCK = 2000


class Gaussian:
    """N(m, S) in model space, with the mean and covariance of the training samples.

    S is shrunk towards its mean eigenvalue, as by Ledoit and Wolf (2004), because samples may be few. For
    samples of more than 4,096 numbers, S is taken to be diagonal in the basis of the cosine transform over
    all sides, as it nearly is for natural pictures.
    """

    def __init__(self, data: Dataset, codec: Codec) -> None:
        indices = spread(data.training, MOST_SAMPLES)
        self.vectors = None
        if np.prod(codec.shape) > GAUSSIAN_DIMENSIONS:
            total, squares = np.zeros(codec.shape), np.zeros(codec.shape)
            for x in blocks(data, codec, indices):
                y = self.turn(x)
                total, squares = total + y.sum(0), squares + np.square(y).sum(0)
            mean = total / len(indices)
            self.values = np.maximum(squares / len(indices) - mean**2, 0)
            self.mean = self.back(mean[None])[0]
        else:
            x = np.concatenate(list(blocks(data, codec, indices)))
            self.mean = x.mean(0)
            values, self.vectors = np.linalg.eigh(shrunk_covariance((x - self.mean).reshape(len(x), -1)))
            self.values = np.maximum(values, 0).reshape(self.mean.shape)

    def turn(self, y: np.ndarray) -> np.ndarray:
        """(n, *shape) in the basis in which S is diagonal."""
        if self.vectors is None:
            return cosine_transform(y)
        return (y.reshape(len(y), -1) @ self.vectors).reshape(y.shape)

    def back(self, y: np.ndarray) -> np.ndarray:
        """The inverse of `turn`."""
        if self.vectors is None:
            return inverse_cosine_transform(y)
        return (y.reshape(len(y), -1) @ self.vectors.T).reshape(y.shape)

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """n draws of N(m, S) itself, (n, *shape)."""
        eps = rng.normal(seed, "evaluation", np.arange(n), TRIVIAL, shape=self.mean.shape)
        return self.mean + self.back(np.sqrt(self.values) * eps)


class GaussianDenoiser(Gaussian):
    """x0_hat = m + sqrt(alpha_bar) S (alpha_bar S + (1 - alpha_bar) I)^-1 (x_t - sqrt(alpha_bar) m).

    The ideal denoiser of N(m, S).
    """

    def __init__(self, data: Dataset, codec: Codec, schedule: Schedule) -> None:
        super().__init__(data, codec)
        self.schedule = schedule

    def __call__(self, x_t: np.ndarray, t: ArrayLike, values: Mapping[str, Any] | None = None) -> np.ndarray:
        """x0_hat of x_t (n, *shape) at one time or one a sample (n,), float64; `values` change nothing."""
        bar = _column(self.schedule.alpha_bar_at(t), x_t)
        gain = np.sqrt(bar) * self.values / (bar * self.values + 1 - bar)
        return self.mean + self.back(gain * self.turn(x_t - np.sqrt(bar) * self.mean))


class EmpiricalDenoiser:
    """x0_hat = sum_i w_i x_i, w = softmax(-|x_t - sqrt(alpha_bar) x_i|^2 / (2 (1 - alpha_bar))).

    The ideal denoiser of the distribution that consists of the training samples alone. Under conditions only
    the training samples with the same values count (or all of them, if none has the same values). Numbers
    (`VectorCondition`) change nothing: nearly each sample has its own, and would be all that is left.
    """

    def __init__(
        self,
        data: Dataset,
        codec: Codec,
        schedule: Schedule,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        self.data, self.codec, self.schedule = data, codec, schedule
        self.conditions = {
            name: condition
            for name, condition in (conditions or {}).items()
            if name in data.values and not isinstance(condition, VectorCondition)
        }

    def __call__(self, x_t: np.ndarray, t: ArrayLike, values: Mapping[str, Any] | None = None) -> np.ndarray:
        """x0_hat of x_t (n, *shape) at one time or one a sample (n,), float64 (values: `Denoiser.told`)."""
        bar = np.broadcast_to(self.schedule.alpha_bar_at(t), len(x_t))[:, None]
        x = np.sqrt(bar) * x_t.reshape(len(x_t), -1).astype(np.float64)
        known: dict[bytes, int] = {}
        wanted = self._told(values or {}, len(x), known)
        told = self._told(self.data.values_at(self.data.training, values or {}), len(self.data), known)
        met = np.isin(wanted, told)
        best, weight, total = np.full(len(x), -np.inf), np.zeros(len(x)), np.zeros_like(x)
        start = 0
        for clean in blocks(self.data, self.codec, self.data.training):
            clean = clean.reshape(len(clean), -1)
            here = told[start : start + len(clean)]
            start += len(clean)
            power = (x @ clean.T - 0.5 * bar * np.square(clean).sum(1)) / (1 - bar)
            power[met[:, None] & (wanted[:, None] != here)] = -np.inf
            new = np.maximum(best, power.max(1))
            shift = np.where(np.isfinite(new), new, 0)  # -inf: none with the same values so far
            keep, share = np.exp(best - shift), np.exp(power - shift[:, None])
            weight = keep * weight + share.sum(1)
            total = keep[:, None] * total + share @ clean
            best = new
        return (total / weight[:, None]).reshape(x_t.shape)

    def _told(self, values: Mapping[str, Any], n: int, known: dict[bytes, int]) -> np.ndarray:
        """A number for each of n samples, equal for samples whose conditions all have the same values."""
        encoded = [
            self.conditions[name].encode(values[name]).reshape(n, -1)
            for name in self.conditions
            if name in values
        ]
        rows = np.concatenate([np.zeros((n, 0), np.float32), *encoded], 1)
        return np.array([known.setdefault(row.tobytes(), len(known)) for row in rows], np.int64)


def blocks(data: Dataset, codec: Codec, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The samples at `indices` in model space, float64, in blocks."""
    size = max(1, min(BLOCK, AT_ONCE // int(np.prod(codec.shape))))
    for i in range(0, len(indices), size):
        yield codec.encode(data.images[indices[i : i + size]]).astype(np.float64)


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """(1 - a) S + a tr(S) / d I for centered rows x (n, d), with Ledoit and Wolf's share a."""
    n, d = x.shape
    covariance = x.T @ x / n
    level = np.trace(covariance) / d
    away = ((covariance - level * np.eye(d)) ** 2).sum() / d
    noise = ((x**2).sum(1) ** 2).sum() / n - (covariance**2).sum()
    share = min(1.0, noise / d / n / away) if away > 0 else 0.0
    return (1 - share) * covariance + share * level * np.eye(d)


def cosine_transform(x: np.ndarray) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) of (n, C, *sides) over all sides; (n, D) is unchanged.

    Along a side of n numbers, X_k = c_k sum_i x_i cos(pi k (2 i + 1) / (2 n)), c_0^2 = 1 / n, else 2 / n; by
    one Fourier transform of x_0, x_2, …, x_3, x_1 (Makhoul 1980).
    """
    for axis in range(2, x.ndim):
        y = np.moveaxis(x, axis, -1)
        scale, angle = _cosine_constants(y.shape[-1])
        y = np.concatenate([y[..., ::2], y[..., 1::2][..., ::-1]], -1)
        x = np.moveaxis(scale * (angle * np.fft.fft(y)).real, -1, axis)
    return x


def inverse_cosine_transform(x: np.ndarray) -> np.ndarray:
    """The inverse of `cosine_transform`."""
    for axis in range(2, x.ndim):
        y = np.moveaxis(x, axis, -1)
        n = y.shape[-1]
        scale, angle = _cosine_constants(n)
        y = y / scale
        mirrored = np.concatenate([np.zeros_like(y[..., :1]), y[..., :0:-1]], -1)
        v = np.fft.ifft((y - 1j * mirrored) / angle).real
        found = np.empty_like(y)
        found[..., ::2], found[..., 1::2] = v[..., : (n + 1) // 2], v[..., (n + 1) // 2 :][..., ::-1]
        x = np.moveaxis(found, -1, axis)
    return x


def _cosine_constants(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(c_k, e^(-i pi k / (2 n)))."""
    k = np.arange(n)
    return np.sqrt(np.where(k == 0, 1, 2) / n), np.exp(-0.5j * np.pi * k / n)


def _column(values: ArrayLike, x: np.ndarray) -> np.ndarray:
    """A number, or one for each sample, shaped to broadcast against x (n, …)."""
    values = np.asarray(values, np.float64)
    return values.reshape(values.shape + (1,) * (x.ndim - 1)) if values.ndim else values
