"""The bits per dimension of given images under the model, by the probability-flow ODE."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import rng
from ..errors import check_whole
from ..model import Cond, Denoiser
from ..model.batched import Progress, batch_size, batches
from ..model.conditions import take
from ..theory.schedule import Schedule
from .keys import DEQUANTIZATION, PROBE

DENSITY = "density"
DEQUANTIZED = "density of whole numbers + uniform noise in [-1/2, 1/2)"

Traced = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """What `ode_likelihood` found, in bits per dimension, in units of data space.

    Attributes:
        bits_per_dim: the mean of `per_image`.
        error: its standard error, over images, dequantization and probes.
        per_image: -log2 p(image) / D, shape (n,).
        integration_error: the mean of |per_image - the same with half the steps|, an upper estimate of the
            error of `per_image` itself: 3 times as large for a digits model at 32 steps, and 15 times where
            x0_hat is smooth in lambda (a network's is not, between the whole times it knows).
        what: whether the bits are of the images as they are, or of whole numbers made continuous.
        start, sigma: p is the law of the data with the noise of time `start`, of standard deviation
            sigma in units of data space: one number, or one for each channel if their scales differ.
        steps: of the integration.
        probes: for each image's trace; None if the trace is exact.
        n: how many images.
    """

    bits_per_dim: float
    error: float
    per_image: np.ndarray
    integration_error: float
    what: str
    start: float
    sigma: float | tuple[float, ...]
    steps: int
    probes: int | None
    n: int

    @property
    def note(self) -> str:
        """What the bits can and can't be compared with."""
        widths = self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)
        some = ", ".join(f"{sigma:.3g}" for sigma in widths[:5]) + (" …" if len(widths) > 5 else "")
        return (
            f"the likelihood is that of the data with the noise of t = {self.start:g}, of standard deviation "
            f"{some} in the data's units: even a perfect model's bits can't fall below that noise's, so "
            "compare them only between models of one schedule"
        )


def ode_likelihood(
    denoiser: Denoiser,
    images: np.ndarray,
    values: Mapping[str, Any] | None = None,
    *,
    steps: int = 32,
    start: float = 1.0,
    exact: bool = False,
    probes: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Likelihood:
    """-log2 p(image) per dimension by the probability-flow ODE (sec. 4.3 of arXiv 2011.13456).

    For y = x_t / sqrt(alpha_bar) = x_0 + sigma eps, with log sigma = -lambda,

        dy / d log sigma = y - x0_hat,    d log p(y) / d log sigma = -(D - tr dx0_hat/dy),

    from y = image at time `start` to T, where x_T ~ N(0, I).

    p is the model's law of the data with the noise of `start`. It is a density in its own right, so the
    mean of the bits bounds the data's entropy from above. Whole numbers get uniform noise in [-1/2, 1/2)
    first; their bits are then at least those of the numbers' probability mass.

    Args:
        denoiser: the model, differentiable in x_t.
        images: (n, *shape) in data space, such as held-out ones; 2 or more.
        values: those of the conditions, as for `Denoiser.told`.
        steps: of the classical Runge-Kutta method of order 4, evenly spaced in lambda; 2 or more. A step
            takes 4 evaluations, and the integration is repeated with half the steps for `integration_error`.
        start: the time within (0, T] that the image is taken to be at; below 1 there is less noise than a
            network was trained on.
        exact: compute the trace by D vector-Jacobian products, for few dimensions.
        probes: Rademacher vectors for each image's trace if it is not exact (Hutchinson's estimate).
        seed: of probes and dequantization; image i has its own, whatever the others are.
        progress: called with (done, total) batches of 16 evaluations of x0_hat.
    """
    _check(denoiser.schedule, steps, start, exact, probes)
    rng.check_seed(seed)
    codec, schedule = denoiser.codec, denoiser.schedule
    x_0, cond = prepared(denoiser, images, values)
    n, D = len(x_0), math.prod(codec.space.shape)
    if codec.space.is_whole:
        noise = rng.uniform(seed, "evaluation", np.arange(n), DEQUANTIZATION, shape=codec.space.shape)
        x_0 = codec.encode(np.asarray(images) + noise - 0.5)
    runs = (steps, steps // 2)
    size = batch_size(denoiser.shape, denoiser.device)
    count = _counter(progress, 4 * sum(runs) * math.ceil(n / size))
    log_p = np.empty((2, n))
    for k, seats in batches(n, size):
        vectors = _vectors(seed, seats, codec.space.shape, None if exact else probes)
        traced = _traced(denoiser, take(cond, seats), vectors, count)
        for run, found in zip(runs, log_p, strict=True):
            found[k] = _log_p(traced, schedule, x_0[seats], start, run)[: len(k)]
    bits = codec.log2_scale - log_p / (D * math.log(2))
    sigma = tuple(float(np.exp(-schedule.lam_at(start)) * scale) for scale in codec.scale)
    return Likelihood(
        bits_per_dim=float(bits[0].mean()),
        error=float(bits[0].std(ddof=1) / math.sqrt(n)),
        per_image=bits[0],
        integration_error=float(np.abs(bits[0] - bits[1]).mean()),
        what=DEQUANTIZED if codec.space.is_whole else DENSITY,
        start=float(start),
        sigma=sigma[0] if len(set(sigma)) == 1 else sigma,
        steps=steps,
        probes=None if exact else probes,
        n=n,
    )


def _check(schedule: Schedule, steps: int, start: float, exact: bool, probes: int) -> None:
    check_whole("steps", steps, 2)
    check_whole("probes", probes, 1)
    if not 0 < start <= schedule.T:
        raise ValueError(
            f"start must be a time above 0 and at most T = {schedule.T}, got {start}; "
            "1 has the least noise that a network is trained on"
        )
    if exact and probes != 1:
        raise ValueError(f"an exact trace takes no probes, got probes = {probes}: give one or the other")


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """A function to call after each batch."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return count


def _vectors(seed: int, seats: np.ndarray, shape: tuple[int, ...], probes: int | None) -> np.ndarray:
    """The vectors v of sum_v v · J v, (K, B or 1, *shape): Rademacher over sqrt(K), or all unit vectors."""
    if probes is None:
        D = math.prod(shape)
        return np.eye(D).reshape(D, 1, *shape)
    u = rng.uniform(seed, "evaluation", seats, PROBE, shape=(probes, *shape))
    return np.where(u < 0.5, 1, -1).swapaxes(0, 1) / math.sqrt(probes)


def _traced(denoiser: Denoiser, cond: Cond, vectors: np.ndarray, count: Callable[[], None]) -> Traced:
    """(x_t, lambda) → x0_hat and sum_v v · (dx0_hat/dx_t) v, over the vectors (K, B or 1, *shape)."""
    v = torch.from_numpy(vectors.astype(np.float32)).to(denoiser.device)

    def traced(x_t: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
        t = min(float(denoiser.schedule.time_at(lam)), float(denoiser.schedule.T))
        x = torch.from_numpy(x_t.astype(np.float32)).to(denoiser.device).requires_grad_()
        trace = np.zeros(len(x_t))
        with torch.enable_grad():
            x0_hat = denoiser(x, t, cond)
            for i, one in enumerate(v):
                one = one.expand_as(x)
                (product,) = torch.autograd.grad(x0_hat, x, one, retain_graph=i < len(v) - 1)
                trace += (product * one).flatten(1).cpu().numpy().sum(1, dtype=np.float64)
        count()
        return x0_hat.detach().cpu().numpy().astype(np.float64), trace

    return traced


def _log_p(traced: Traced, schedule: Schedule, x_0: np.ndarray, start: float, steps: int) -> np.ndarray:
    """log p(y = x_0) at time `start` of each image, in nats, model space.

    The state is x_t, with dx_t / du = alpha_bar x_t - sqrt(alpha_bar) x0_hat for u = log sigma: unlike y it
    doesn't grow with sigma. Beside the trace, y's divergence is the constant D.
    """
    first, last = -schedule.lam_at([start, schedule.T])
    u = np.linspace(first, last, 2 * steps + 1)
    bar = 1 / (1 + np.exp(2 * u))
    h = (last - first) / steps
    D = math.prod(x_0.shape[1:])

    def slope(x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        x0_hat, trace = traced(x, -u[j])
        return bar[j] * x - math.sqrt(bar[j]) * x0_hat, math.sqrt(bar[j]) * trace

    x = math.sqrt(bar[0]) * x_0.astype(np.float64)
    trace = np.zeros(len(x))
    for j in range(0, 2 * steps, 2):
        x_1, trace_1 = slope(x, j)
        x_2, trace_2 = slope(x + h / 2 * x_1, j + 1)
        x_3, trace_3 = slope(x + h / 2 * x_2, j + 1)
        x_4, trace_4 = slope(x + h * x_3, j + 2)
        x = x + h / 6 * (x_1 + 2 * x_2 + 2 * x_3 + x_4)
        trace += h / 6 * (trace_1 + 2 * trace_2 + 2 * trace_3 + trace_4)
    log_p_T = -(np.square(x).reshape(len(x), -1).sum(1) + D * math.log(2 * math.pi)) / 2
    return log_p_T + D / 2 * math.log(bar[-1]) + D * (last - first) - trace


# --- shared with the bound -----------------------------------------------------------------------


def prepared(
    denoiser: Denoiser, images: np.ndarray, values: Mapping[str, Any] | None
) -> tuple[np.ndarray, Cond]:
    """(x_0, the network's conditions), or ValueError unless the images are data of this model."""
    space, images = denoiser.space, np.asarray(images)
    if images.shape[1:] != space.shape or len(images) < 2:
        raise ValueError(f"give 2 images or more of shape {space.shape}, in one array, got {images.shape}")
    if images.dtype.kind not in "uif":
        raise ValueError(f"images must be whole or floating-point numbers, got {images.dtype}")
    if not np.all(np.isfinite(images)):
        raise ValueError(f"images must be finite, got {np.sum(~np.isfinite(images))} numbers that are not")
    if denoiser.codec.no_density:
        raise ValueError(denoiser.codec.no_density)
    if space.is_whole:
        low, high = space.bounds or (-np.inf, np.inf)
        if np.any(images != np.rint(images)) or np.any(images < low) or np.any(images > high):
            raise ValueError(
                f"this model's data are whole numbers within {space.shown_range()}, got numbers from "
                f"{images.min():g} to {images.max():g}; give images in the data's own range, not rescaled"
            )
    return denoiser.codec.encode(images), denoiser.told(values, len(images))
