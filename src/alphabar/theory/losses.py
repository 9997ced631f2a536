"""The notes' two losses and their relatives as weights of t, and the terms of the bound.

Every loss here is w(t) ‖x_0 - x0_hat‖^2 for some table w; in terms of another quantity of the same
network it is the same loss with another weight:

    eps:  ‖eps - eps_hat‖^2 = SNR ‖x_0 - x0_hat‖^2,              SNR = alpha_bar / (1 - alpha_bar)
    mu:   ‖mu - mu_hat‖^2 = B^2 ‖x_0 - x0_hat‖^2,                B of q(x_{t-1} | x_t, x_0)
    net:  ‖target - net‖^2 = ‖x_0 - x0_hat‖^2 / c_out^2,         c_out of the prediction
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import unknown
from .at import At, namespace
from .gaussian import posterior, step_variance, transition
from .parametrization import EDM_SIGMA_DATA, coefficients
from .schedule import Schedule

MIN_SNR_GAMMA = 5.0
CLIPPED_AT = 0.2


def _simple(schedule: Schedule, at: At) -> Any:
    """‖eps - eps_hat‖^2, as in DDPM."""
    return at.snr


def _kl(schedule: Schedule, at: At) -> Any:
    """The KL term of the variational bound."""
    before = at.before(schedule)
    B, beta = posterior(schedule, at, before)[1], transition(schedule, at, before)[1]
    return B**2 / (2 * beta)


def _mu(schedule: Schedule, at: At) -> Any:
    """The error of the posterior's mean, ‖mu - mu_hat‖^2."""
    return posterior(schedule, at, at.before(schedule))[1] ** 2


def _x0(schedule: Schedule, at: At) -> Any:
    """The error of the clean sample, ‖x_0 - x0_hat‖^2."""
    return namespace(at.t).ones_like(at.t)


def _v(schedule: Schedule, at: At) -> Any:
    """The error of the velocity, ‖v - v_hat‖^2."""
    return at.snr + 1


def _edm(schedule: Schedule, at: At) -> Any:
    """EDM's, which weighs its network's output evenly."""
    return at.snr + EDM_SIGMA_DATA**-2


def _min_snr(schedule: Schedule, at: At) -> Any:
    """`x0` weighted by the signal-to-noise ratio, at most 5."""
    return namespace(at.t).clip(at.snr, None, MIN_SNR_GAMMA)


def _clipped(schedule: Schedule, at: At) -> Any:
    """`v` as if 1 - alpha_bar were at least 0.2."""
    return namespace(at.t).clip(at.snr + 1, None, 1 / CLIPPED_AT)


LOSSES: dict[str, Callable[[Schedule, At], Any]] = {
    "simple": _simple,
    "kl": _kl,
    "mu": _mu,
    "x0": _x0,
    "v": _v,
    "edm": _edm,
    "min_snr": _min_snr,
    "clipped": _clipped,
}
"""w(t) in x_0-space, t in 1..T:

- `simple`: ‖eps - eps_hat‖^2 (eq. 14 of arXiv 2006.11239)
- `kl`: the KL term of the bound, ‖mu - mu_hat‖^2 / (2 sigma_t^2) with sigma_t^2 = beta_t (eq. 8)
- `mu`: ‖mu - mu_hat‖^2 without its weight
- `x0`: ‖x_0 - x0_hat‖^2
- `v`: ‖v - v_hat‖^2 (arXiv 2202.00512)
- `edm`: 1 in EDM's network space (arXiv 2206.00364)
- `min_snr`: min(SNR, 5) (arXiv 2303.09556)
- `clipped`: 1 / max(1 - alpha_bar, 0.2), `v` but for the least noise, where errors of x_0 would count without
  bounds (as arXiv 2511.13720 clips its denominators)
"""


def loss_weight(loss: str, schedule: Schedule, t: ArrayLike | At, prediction: str | None = None) -> Any:
    """w(t) of a loss for squared errors of x_0, or of the network's output if `prediction` is given."""
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    at = schedule.at(t)
    weight = LOSSES[loss](schedule, at)
    return weight if prediction is None else weight * coefficients(prediction, schedule, at).c_out ** 2


def bound_terms(
    schedule: Schedule,
    x0_mean_square: float,
    x0_mse: ArrayLike,
    variance: str = "beta",
    decoder_nll: float | None = None,
) -> np.ndarray:
    """L_0 … L_T of the variational bound, in nats per dimension (eq. 5 of arXiv 2006.11239).

    -E log p(x_0) <= sum of the terms. Shape (T + 1,): [0] is L_0 = -E log p(x_0 | x_1), [T] is
    L_T = KL(q(x_T | x_0) ‖ N(0, 1)), and [t - 1] between them L_{t-1} = KL(q(x_{t-1} | x_t, x_0) ‖
    p(x_{t-1} | x_t)).

    Args:
        x0_mean_square: E x_0^2 per dimension, model space.
        x0_mse: E (x_0 - x0_hat(x_t, t))^2 per dimension for t = 1..T, shape (T,).
        variance: sigma_t^2 of the model's steps, `posterior` or `beta`.
        decoder_nll: L_0 if another decoder is meant (see `discretized_nll`); else the density
            N(x0_hat(x_1, 1), beta_1), for continuous data.
    """
    mse = np.asarray(x0_mse, dtype=np.float64)
    if mse.shape != (schedule.T,):
        raise ValueError(f"x0_mse needs one number for each t = 1..{schedule.T}, got {mse.shape}")
    terms = np.empty(schedule.T + 1)
    if decoder_nll is None:
        beta_1 = schedule.beta[1]
        decoder_nll = 0.5 * math.log(2 * math.pi * beta_1) + mse[0] / (2 * beta_1)
    terms[0] = decoder_nll

    t = np.arange(2, schedule.T + 1)
    _, B, C = posterior(schedule, t, t - 1)
    sigma2 = step_variance(schedule, t, t - 1, variance)
    ratio = C**2 / sigma2
    terms[1:-1] = 0.5 * (ratio - 1 - np.log(ratio)) + B**2 * mse[1:] / (2 * sigma2)

    bar = schedule.alpha_bar[-1]
    terms[-1] = 0.5 * (bar * x0_mean_square - bar - math.log1p(-bar))
    return terms


def discretized_nll(x_0: np.ndarray, mean: np.ndarray, std: float, bin_width: float) -> np.ndarray:
    """-log P(x_0's bin) under N(mean, std^2), in nats, elementwise (eq. 13 of arXiv 2006.11239).

    Bins have the width `bin_width` (2/255 for bytes scaled to [-1, 1]); the outermost reach to
    infinity.
    """
    cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[np.float64])
    upper = np.where(x_0 > 1 - bin_width / 2, np.inf, (x_0 - mean + bin_width / 2) / std)
    lower = np.where(x_0 < -1 + bin_width / 2, -np.inf, (x_0 - mean - bin_width / 2) / std)
    # By symmetry the difference is taken in the tail that is small, where it keeps its digits.
    flip = lower > 0
    lower, upper = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    return -np.log(np.maximum(cdf(upper) - cdf(lower), 1e-300))
