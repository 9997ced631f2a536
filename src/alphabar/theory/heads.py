"""What a network predicts, as four numbers a time.

x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise)

A head is a function of (alpha_bar_t, t) that returns the row (c_in, c_skip, c_out, c_noise).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import unknown
from .schedule import Schedule

EDM_SIGMA_DATA = 0.5


class Row(NamedTuple):
    """Coefficients of x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise), each of t's shape."""

    c_in: np.ndarray
    c_skip: np.ndarray
    c_out: np.ndarray
    c_noise: np.ndarray


def _eps(bar: np.ndarray, t: np.ndarray) -> Row:
    return Row(np.ones_like(bar), 1 / np.sqrt(bar), -np.sqrt(1 - bar) / np.sqrt(bar), t - 1)


def _x0(bar: np.ndarray, t: np.ndarray) -> Row:
    return Row(np.ones_like(bar), np.zeros_like(bar), np.ones_like(bar), t - 1)


def _v(bar: np.ndarray, t: np.ndarray) -> Row:
    return Row(np.ones_like(bar), np.sqrt(bar), -np.sqrt(1 - bar), t - 1)


def _edm(bar: np.ndarray, t: np.ndarray) -> Row:
    # EDM's own process is x_t / sqrt(bar) = x_0 + sigma eps.
    sd, sigma = EDM_SIGMA_DATA, np.sqrt((1 - bar) / bar)
    total = sigma**2 + sd**2
    with np.errstate(divide="ignore"):
        c_noise = np.log(sigma) / 4
    scale = 1 / np.sqrt(bar)
    return Row(scale / np.sqrt(total), scale * sd**2 / total, sigma * sd / np.sqrt(total), c_noise)


def _flow(bar: np.ndarray, t: np.ndarray) -> Row:
    # The straight path is x_t / scale = (1 - tau) x_0 + tau eps, and the network its velocity.
    scale = np.sqrt(bar) + np.sqrt(1 - bar)
    tau = np.sqrt(1 - bar) / scale
    return Row(1 / scale, 1 / scale, -tau, 1000 * tau)


HEADS: dict[str, Callable[[np.ndarray, np.ndarray], Row]] = {
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
only place that knows it.
"""


def head_row(head: str, schedule: Schedule, t: ArrayLike) -> Row:
    """The row (c_in, c_skip, c_out, c_noise) of a head at times t in (0, T]."""
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    t = np.asarray(t, dtype=np.float64)
    return HEADS[head](schedule.alpha_bar_at(t), t)


def head_target(head: str, schedule: Schedule, t: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) such that the network's target is p x_0 + q eps.

    Solves x_0 = c_skip x_t + c_out target for x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
    """
    bar = schedule.alpha_bar_at(t)
    row = head_row(head, schedule, t)
    return (1 - row.c_skip * np.sqrt(bar)) / row.c_out, -row.c_skip * np.sqrt(1 - bar) / row.c_out
