"""The variational bound on the bits per dimension of given images under the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rng
from ..errors import check_whole, unknown
from ..model import Batched, Codec, Denoiser, batch_size
from ..model.batched import Progress
from ..theory.gaussian import VARIANCES, q_sample, step_variance
from ..theory.losses import bound_terms, discretized_nll
from ..theory.schedule import Schedule
from .keys import BOUND_NOISE, BOUND_ORDER
from .likelihood import DENSITY, prepared

AT_ONCE = 256  # pairs in memory
MASS = "probability mass of whole numbers"


@dataclass(frozen=True, eq=False)
class Bound:
    """What `variational_bound` found, in bits per dimension.

    Attributes:
        bits_per_dim: the sum of `terms`.
        error: its standard error, over images and noise.
        terms: L_0 … L_T, shape (T + 1,), in the order of `bound_terms`.
        prior, between, decoder: L_T, the sum of L_1 … L_{T-1}, and L_0.
        variance: the choice of sigma_t^2 of the model's steps.
        what: whether the bits are of a probability mass, or of a density in units of data space.
        n: how many images.
        draws: (image, noise) pairs for each time, on average.
    """

    bits_per_dim: float
    error: float
    terms: np.ndarray
    prior: float
    between: float
    decoder: float
    variance: str
    what: str
    n: int
    draws: float


def variational_bound(
    denoiser: Denoiser,
    images: np.ndarray,
    values: Mapping[str, Any] | None = None,
    *,
    draws: int = 4,
    variance: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Bound:
    """The variational bound on -log2 p(image) per dimension (eq. 5 of arXiv 2006.11239).

    L_0 + … + L_T of `bound_terms`, with E (x_0 - x0_hat)^2 estimated at every t = 1..T. The images are
    spread evenly over the times; each time gets at least two pairs (image, noise), and the rest go where the
    terms are large, to small t.

    For whole numbers L_0 comes from the probability mass of N(x0_hat(x_1, 1), sigma_1^2) in each number's
    bin, the outermost bins reaching to infinity (eq. 13), with the posterior's variance at t = 2 as in the
    paper's code. For other data it comes from the density of N(x0_hat(x_1, 1), beta_1), and log2(scale)
    takes it to data space.

    Args:
        denoiser: the model.
        images: (n, *shape) in data space, such as held-out ones; 2 or more.
        values: those of the conditions, as for `Denoiser.told`.
        draws: pairs for each time, on average; 2 or more.
        variance: sigma_t^2 of the model's steps, `posterior` or `beta`; the better one unless given.
        seed: of the noise and of the order of the images.
        progress: called with (done, total) batches of 16 evaluations of x0_hat.
    """
    check_whole("draws", draws, 2)
    if variance is not None and variance not in VARIANCES:
        raise unknown("variance", variance, VARIANCES)
    rng.check_seed(seed)
    x_0, _ = prepared(denoiser, images, values)
    pairs = _measure(denoiser, x_0, values or {}, draws, seed, progress)
    names = VARIANCES if variance is None else (variance,)
    return min((_summed(denoiser, x_0, pairs, name) for name in names), key=lambda b: b.bits_per_dim)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The time, image and mean (x_0 - x0_hat)^2 of each pair; and L_0, in nats, of those at t = 1."""

    time: np.ndarray
    image: np.ndarray
    mse: np.ndarray
    decoder_nll: np.ndarray


def _measure(
    denoiser: Denoiser,
    x_0: np.ndarray,
    values: Mapping[str, Any],
    draws: int,
    seed: int,
    progress: Progress | None,
) -> _Pairs:
    schedule, n = denoiser.schedule, len(x_0)
    # About as large as the terms of data N(0, 1); lambda's fall is infinite at t = 1.
    share = np.minimum(-np.diff(schedule.lam), 1.0) * schedule.alpha_bar[1:]
    counts = 2 + np.rint((draws - 2) * schedule.T * share / share.sum()).astype(np.int64)
    time = np.repeat(np.arange(1, schedule.T + 1), counts)
    rounds = range(math.ceil(len(time) / n))
    orders = [rng.stream(seed, "evaluation", BOUND_ORDER, r).permutation(n) for r in rounds]
    image = np.concatenate(orders)[: len(time)]
    mse, decoder_nll, done = np.empty(len(time)), np.empty(counts[0]), 0

    def count(_: int, __: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, math.ceil(len(time) / batch_size(denoiser.shape, denoiser.device)))

    batched = Batched(denoiser, progress=count)
    for start in range(0, len(time), AT_ONCE):
        k = np.arange(start, min(start + AT_ONCE, len(time)))
        clean, t = x_0[image[k]], time[k]
        told = {name: [given[i] for i in image[k]] for name, given in values.items()}
        eps = rng.normal(seed, "evaluation", k, BOUND_NOISE, shape=x_0.shape[1:])
        x0_hat = batched(q_sample(schedule, clean, t, eps), t, told).astype(np.float64)
        mse[k] = np.square(x0_hat - clean).reshape(len(k), -1).mean(1)
        first = k[k < counts[0]]  # those at t = 1
        decoder_nll[first] = _decoder_nll(denoiser.codec, schedule, clean[: len(first)], x0_hat[: len(first)])
    return _Pairs(time, image, mse, decoder_nll)


def _decoder_nll(codec: Codec, schedule: Schedule, x_0: np.ndarray, x0_hat: np.ndarray) -> np.ndarray:
    """L_0 of each image, in nats per dimension of data space (see `variational_bound`)."""
    if not codec.space.is_whole:
        std = math.sqrt(schedule.beta[1])
        nll = (x_0 - x0_hat) ** 2 / (2 * std**2) + math.log(math.sqrt(2 * math.pi) * std)
        return nll.reshape(len(nll), math.prod(x_0.shape[1:])).mean(1) + codec.log2_scale * math.log(2)
    std = math.sqrt(step_variance(schedule, 2, 1, "posterior") if schedule.T > 1 else schedule.beta[1])
    # `discretized_nll` has its outermost bins at -1 and 1. Numbers without bounds have none: their
    # range is taken one bin wider than these numbers.
    width = 1 / codec.space.column(codec.scale)
    low, high = codec.bounds or (x_0.min(initial=0) - width, x_0.max(initial=0) + width)
    middle: Any = (low + high) / 2  # a number, or one a channel
    half: Any = (high - low) / 2
    nll = discretized_nll((x_0 - middle) / half, (x0_hat - middle) / half, std / half, width / half)
    return nll.reshape(len(nll), math.prod(x_0.shape[1:])).mean(1)


def _summed(denoiser: Denoiser, x_0: np.ndarray, pairs: _Pairs, variance: str) -> Bound:
    """The bound with this variance, and its standard error."""
    schedule, n = denoiser.schedule, len(x_0)
    counts = np.bincount(pairs.time)[1:]
    squares = np.square(x_0.astype(np.float64)).reshape(n, -1).mean(1)

    def terms(x0_mse: np.ndarray) -> np.ndarray:
        return bound_terms(schedule, squares.mean(), x0_mse, variance, pairs.decoder_nll.mean())

    found = terms(np.bincount(pairs.time - 1, pairs.mse) / counts) / math.log(2)
    # What each pair adds to its term beyond the mean one, summed by image: an image's pairs err together.
    weight = terms(np.ones(schedule.T)) - terms(np.zeros(schedule.T))
    added = weight[pairs.time - 1] * pairs.mse
    added[: counts[0]] = pairs.decoder_nll
    mean = np.bincount(pairs.time - 1, added) / counts
    freedom = np.sqrt(counts * (counts - 1.0))
    by_image = np.bincount(pairs.image, (added - mean[pairs.time - 1]) / freedom[pairs.time - 1], n)
    by_image += schedule.alpha_bar[-1] / 2 * (squares - squares.mean()) / n
    error = math.sqrt(n / (n - 1) * np.square(by_image).sum()) / math.log(2)
    return Bound(
        bits_per_dim=float(found.sum()),
        error=error,
        terms=found,
        prior=float(found[-1]),
        between=float(found[1:-1].sum()),
        decoder=float(found[0]),
        variance=variance,
        what=MASS if denoiser.space.is_whole else DENSITY,
        n=n,
        draws=len(pairs.time) / schedule.T,
    )
