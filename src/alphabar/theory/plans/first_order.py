"""Samplers that use the newest prediction alone: the notes' own, and DDIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from ...errors import brief
from ..gaussian import posterior, step_variance
from ..schedule import Schedule
from .plan import Plan
from .spacing import check_times

Times = Sequence[float] | np.ndarray
ETA_HELP = "randomness: 0 is deterministic, 1 as much as in DDPM's ancestral sampling"


def ancestral(
    schedule: Schedule,
    times: Times,
    variance: Annotated[
        Literal["posterior", "beta", "optimal"],
        "variance of each step: posterior (diffusers' fixed_small), beta (fixed_large) or optimal (run "
        "fit-sampler --variance first)",
    ] = "posterior",
    x0_mse: Annotated[
        tuple[Sequence[float], Sequence[float]] | None, "times and E (x_0 - x0_hat)^2 there, for optimal"
    ] = None,
) -> Plan:
    """The paper's own, DDPM: x_s ~ N(posterior mean at x0_hat, sigma^2), between any two times.

    Algorithm 2 of arXiv 2006.11239, with sigma^2 by either of its choices (`step_variance`), or the
    `optimal` one of arXiv 2201.06503,

        sigma^2 = C^2 + B^2 E (x_0 - x0_hat)^2,    with B and C of the posterior,

    which needs x0_mse = (times, E (x_0 - x0_hat)^2 per dimension there); it is interpolated.
    """
    t, s = pairs(times)
    A, B, C = posterior(schedule, t, s)
    if variance == "optimal":
        if x0_mse is None:
            raise ValueError("the optimal variance needs x0_mse, as `estimate_x0_mse` finds it")
        C = np.where(s > 0, np.sqrt(C**2 + B**2 * _interpolated(schedule, x0_mse, t)), 0.0)
    else:
        if x0_mse is not None:
            raise ValueError(f"x0_mse is for the optimal variance, got {variance}")
        C = np.sqrt(step_variance(schedule, t, s, variance))
    made_by = {"sampler": "ddpm", "variance": variance}
    return Plan(np.asarray(times), schedule.alpha_bar_at(times), A, B[:, None], C, made_by=made_by)


def ddim(schedule: Schedule, times: Times, eta: Annotated[float, ETA_HELP] = 0.0) -> Plan:
    """DDIM: x_s = sqrt(alpha_bar_s) x0_hat + sqrt(1 - alpha_bar_s - sigma^2) eps_hat + sigma z.

    sigma = eta times the posterior's standard deviation (eqs. 12 and 16 of arXiv 2010.02502).
    eta = 0 adds no noise and is Euler's method in x / sqrt(alpha_bar) over exp(-lambda); eta = 1 is
    `ancestral` with the posterior's variance, exactly.
    """
    check_eta(eta)
    t, s = pairs(times)
    C = eta * posterior(schedule, t, s)[2]
    A, B = towards_x0(schedule, t, s, C)
    made_by = {"sampler": "ddim", "eta": float(eta)}
    return Plan(np.asarray(times), schedule.alpha_bar_at(times), A, B[:, None], C, made_by=made_by)


def towards_x0(
    schedule: Schedule, t: np.ndarray, s: np.ndarray, C: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(A, B) of sqrt(bar_s) x0_hat + sqrt(1 - bar_s - C^2) eps_hat = A x_t + B x0_hat; s may exceed t."""
    bar_t, bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    A = np.sqrt((1 - bar_s - C**2) / (1 - bar_t))  # eps_hat = (x - sqrt(bar_t) x0_hat) / sqrt(1 - bar_t)
    return A, np.sqrt(bar_s) - A * np.sqrt(bar_t)


def pairs(times: Times) -> tuple[np.ndarray, np.ndarray]:
    """(t, s) of each row, after a check that the times fall."""
    times = np.asarray(times, dtype=np.float64)
    check_times(times)
    return times[:-1], times[1:]


def check_eta(eta: float) -> None:
    """Raise ValueError unless eta lies within 0..1."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie within 0..1, got {eta}")


def _interpolated(
    schedule: Schedule, table: tuple[Sequence[float], Sequence[float]], t: np.ndarray
) -> np.ndarray:
    """The table's values at times t, linear in lambda; constant beyond its ends."""
    try:
        times, values = (np.asarray(row, dtype=np.float64) for row in table)
    except TypeError:
        raise ValueError(f"x0_mse must be two rows, times and numbers, got {brief(table)}") from None
    if times.ndim != 1 or not len(times) or times.shape != values.shape or not np.all(values >= 0):
        raise ValueError("x0_mse must be two rows of equal length, times and numbers of at least 0")
    order = np.argsort(times)[::-1]
    return np.interp(schedule.lam_at(t), schedule.lam_at(times)[order], values[order])
