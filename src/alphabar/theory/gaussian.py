"""The forward process and its posterior, for any pair of times s < t.

Every function works on NumPy arrays and on torch tensors alike, in the dtype of `x`. A time is one
number, or one a sample (shape (B,)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .schedule import Schedule


def transition(schedule: Schedule, t: ArrayLike, s: ArrayLike = 0) -> tuple[np.ndarray, np.ndarray]:
    """(alpha_ts, beta_ts) of q(x_t | x_s) = N(sqrt(alpha_ts) x_s, beta_ts), for 0 <= s < t <= T.

    alpha_ts = alpha_bar_t / alpha_bar_s, beta_ts = 1 - alpha_ts. At s = t - 1 this is the notes'
    one step (eq. 2 of arXiv 2006.11239), at s = 0 their closed form (eq. 4).
    """
    if not np.all(np.asarray(s) < np.asarray(t)):
        raise ValueError(f"s must be less noisy than t, got s = {s}, t = {t}; did you swap them?")
    alpha_ts = schedule.alpha_bar_at(t) / schedule.alpha_bar_at(s)
    return alpha_ts, 1 - alpha_ts


def posterior(schedule: Schedule, t: ArrayLike, s: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, B, C) of q(x_s | x_t, x_0) = N(A x_t + B x_0, C^2), for 0 <= s < t <= T.

    A   = sqrt(alpha_ts) (1 - alpha_bar_s) / (1 - alpha_bar_t)
    B   = sqrt(alpha_bar_s) beta_ts / (1 - alpha_bar_t)
    C^2 = beta_ts (1 - alpha_bar_s) / (1 - alpha_bar_t)

    At s = t - 1 these are eqs. 6 and 7 of arXiv 2006.11239; at s = 0 they are (0, 1, 0).
    """
    alpha_ts, beta_ts = transition(schedule, t, s)
    bar_t, bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    A = np.sqrt(alpha_ts) * (1 - bar_s) / (1 - bar_t)
    B = np.sqrt(bar_s) * beta_ts / (1 - bar_t)
    C = np.sqrt(beta_ts * (1 - bar_s) / (1 - bar_t))
    return A, B, C


def q_sample(schedule: Schedule, x_s: Any, t: ArrayLike, eps: Any, s: ArrayLike = 0) -> Any:
    """x_t = sqrt(alpha_ts) x_s + sqrt(beta_ts) eps: noise x_s on to time t (eqs. 2 and 4).

    x_s and eps have one shape (B, …); 0 <= s < t <= T, else ValueError.

    >>> import numpy as np
    >>> x_0 = np.ones((2, 3))
    >>> q_sample(Schedule.linear(), x_0, t=1, eps=np.zeros((2, 3)))[0, 0].round(6)
    np.float64(0.99995)
    """
    alpha_ts, beta_ts = transition(schedule, t, s)
    return column(np.sqrt(alpha_ts), x_s) * x_s + column(np.sqrt(beta_ts), x_s) * eps


def q_posterior(
    schedule: Schedule, x_t: Any, x_0: Any, t: ArrayLike, s: ArrayLike | None = None
) -> tuple[Any, np.ndarray]:
    """Mean and variance of q(x_s | x_t, x_0), with s = t - 1 unless given (eqs. 6 and 7).

    The mean is A x_t + B x_0, of x_t's shape; the variance is C^2, of t's shape (see `posterior`).
    """
    A, B, C = posterior(schedule, t, np.asarray(t) - 1 if s is None else s)
    return column(A, x_t) * x_t + column(B, x_t) * x_0, C**2


def mean_from_eps(schedule: Schedule, x_t: Any, eps: Any, t: ArrayLike, s: ArrayLike | None = None) -> Any:
    """mu_t = (x_t - beta_ts / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_ts), s = t - 1 unless given.

    The posterior's mean with x_0 written in eps (eq. 11 of arXiv 2006.11239).
    """
    alpha_ts, beta_ts = transition(schedule, t, np.asarray(t) - 1 if s is None else s)
    k = beta_ts / np.sqrt(1 - schedule.alpha_bar_at(t))
    return (x_t - column(k, x_t) * eps) / column(np.sqrt(alpha_ts), x_t)


def x0_from_eps(schedule: Schedule, x_t: Any, eps: Any, t: ArrayLike) -> Any:
    """x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t): eq. 4 solved for x_0."""
    bar = schedule.alpha_bar_at(t)
    return (x_t - column(np.sqrt(1 - bar), x_t) * eps) / column(np.sqrt(bar), x_t)


def eps_from_x0(schedule: Schedule, x_t: Any, x_0: Any, t: ArrayLike) -> Any:
    """eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t): eq. 4 solved for eps, t > 0."""
    bar = schedule.alpha_bar_at(t)
    return (x_t - column(np.sqrt(bar), x_t) * x_0) / column(np.sqrt(1 - bar), x_t)


def column(values: ArrayLike, x: Any) -> Any:
    """`values`, one number or one a sample, in a form that multiplies x of shape (B, …)."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0:
        return float(values)
    values = values.reshape(values.shape + (1,) * (x.ndim - values.ndim))
    torch_like = hasattr(x, "new_tensor")
    if not (x.is_floating_point() if torch_like else x.dtype.kind == "f"):
        raise ValueError(f"x must hold floating-point numbers (model space), got {x.dtype}")
    return x.new_tensor(values) if torch_like else values.astype(x.dtype)
