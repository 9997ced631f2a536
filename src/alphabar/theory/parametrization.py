"""What a network predicts, as four numbers a time.

x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import unknown
from .at import At, namespace
from .schedule import Schedule

EDM_SIGMA_DATA = 0.5
LEAST_SIGMA = float(np.sqrt(np.finfo(np.float64).eps))  # the least that 1 - alpha_bar can tell from 0


class Coefficients(NamedTuple):
    """Those of x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise), each of t's shape."""

    c_in: Any
    c_skip: Any
    c_out: Any
    c_noise: Any


def _eps(at: At) -> Coefficients:
    """The noise, as in DDPM."""
    bar, xp = at.alpha_bar, namespace(at.alpha_bar)
    return Coefficients(xp.ones_like(bar), 1 / xp.sqrt(bar), -xp.sqrt(1 - bar) / xp.sqrt(bar), at.t - 1)


def _x0(at: At) -> Coefficients:
    """The clean sample."""
    bar, xp = at.alpha_bar, namespace(at.alpha_bar)
    return Coefficients(xp.ones_like(bar), xp.zeros_like(bar), xp.ones_like(bar), at.t - 1)


def _v(at: At) -> Coefficients:
    """The velocity sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0."""
    bar, xp = at.alpha_bar, namespace(at.alpha_bar)
    return Coefficients(xp.ones_like(bar), xp.sqrt(bar), -xp.sqrt(1 - bar), at.t - 1)


def _edm(at: At) -> Coefficients:
    """EDM's preconditioned target."""
    # EDM's own process is x_t / sqrt(bar) = x_0 + sigma eps.
    bar, sd, xp = at.alpha_bar, EDM_SIGMA_DATA, namespace(at.alpha_bar)
    sigma = xp.sqrt((1 - bar) / bar)
    total = sigma**2 + sd**2
    scale = 1 / xp.sqrt(bar)
    c_noise = xp.log(xp.clip(sigma, LEAST_SIGMA, None)) / 4
    return Coefficients(scale / xp.sqrt(total), scale * sd**2 / total, sigma * sd / xp.sqrt(total), c_noise)


def _flow(at: At) -> Coefficients:
    """The velocity eps - x_0 of flow matching's straight path."""
    # The straight path is x_t / scale = (1 - tau) x_0 + tau eps.
    bar, xp = at.alpha_bar, namespace(at.alpha_bar)
    scale = xp.sqrt(bar) + xp.sqrt(1 - bar)
    tau = xp.sqrt(1 - bar) / scale
    return Coefficients(1 / scale, 1 / scale, -tau, 1000 * tau)


PREDICTIONS: dict[str, Callable[[At], Coefficients]] = {
    "eps": _eps,
    "x0": _x0,
    "v": _v,
    "edm": _edm,
    "flow": _flow,
}
"""The network predicts:

- `eps`: the noise (arXiv 2006.11239)
- `x0`: the clean sample
- `v`: sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (arXiv 2202.00512)
- `edm`: F of EDM, for data of standard deviation 0.5 (arXiv 2206.00364); for 1 it would be -v
- `flow`: eps - x_0, the velocity of the straight path (arXiv 2210.02747)

For the first three the network sees the 0-based t - 1, as all public weights do; this file is the
only place that knows it. A row is a function of `schedule.at(t)`.
"""


def coefficients(prediction: str, schedule: Schedule, t: ArrayLike | At) -> Coefficients:
    """(c_in, c_skip, c_out, c_noise) of a prediction at times t in (0, T], or at `schedule.at(t)`.

    >>> [float(c) for c in coefficients("x0", Schedule.linear(), 1000)]
    [1.0, 0.0, 1.0, 999.0]
    """
    if prediction not in PREDICTIONS:
        raise unknown("prediction", prediction, PREDICTIONS)
    return PREDICTIONS[prediction](schedule.at(t))


def target_coefficients(prediction: str, schedule: Schedule, t: ArrayLike | At) -> tuple[Any, Any]:
    """(p, q) such that the network's target is p x_0 + q eps.

    Solves x_0 = c_skip x_t + c_out target for x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
    """
    at = schedule.at(t)
    bar, row, xp = at.alpha_bar, coefficients(prediction, schedule, at), namespace(at.alpha_bar)
    return (1 - row.c_skip * xp.sqrt(bar)) / row.c_out, -row.c_skip * xp.sqrt(1 - bar) / row.c_out
