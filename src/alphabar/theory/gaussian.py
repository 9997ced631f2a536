"""The forward process and its posterior, for any pair of times s < t.

Every function works on NumPy arrays and on torch tensors alike, in the dtype of `x`, which must be
floating-point: model space, not raw bytes. A time is one number, or one a sample (shape (B,)), or
`schedule.at(t)`, which several functions can share, or tensors of times on a device (`At.on_device`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import unknown
from .at import At, is_tensor, namespace
from .schedule import Schedule

VARIANCES = ("posterior", "beta")


def transition(schedule: Schedule, t: ArrayLike | At, s: ArrayLike | At = 0) -> tuple[Any, Any]:
    """(alpha_ts, beta_ts) of q(x_t | x_s) = N(sqrt(alpha_ts) x_s, beta_ts), for 0 <= s < t <= T.

    alpha_ts = alpha_bar_t / alpha_bar_s, beta_ts = 1 - alpha_ts. At s = t - 1 this is the notes'
    one step (eq. 2 of arXiv 2006.11239), at s = 0 their closed form (eq. 4).
    """
    t, s = schedule.at(t), schedule.at(s)
    if not is_tensor(t.t) and not np.all(s.t < t.t):
        hint = "t = 0 is without noise" if np.any(t.t == 0) else "did you swap them?"
        raise ValueError(f"s must be less noisy than t, got s = {s.t}, t = {t.t}; {hint}")
    alpha_ts = t.alpha_bar / s.alpha_bar
    return alpha_ts, 1 - alpha_ts


def posterior(schedule: Schedule, t: ArrayLike | At, s: ArrayLike | At) -> tuple[Any, Any, Any]:
    """(A, B, C) of q(x_s | x_t, x_0) = N(A x_t + B x_0, C^2), for 0 <= s < t <= T.

    A   = sqrt(alpha_ts) (1 - alpha_bar_s) / (1 - alpha_bar_t)
    B   = sqrt(alpha_bar_s) beta_ts / (1 - alpha_bar_t)
    C^2 = beta_ts (1 - alpha_bar_s) / (1 - alpha_bar_t)

    At s = t - 1 these are eqs. 6 and 7 of arXiv 2006.11239; at s = 0 they are (0, 1, 0).
    """
    t, s = schedule.at(t), schedule.at(s)
    (alpha_ts, beta_ts), xp = transition(schedule, t, s), namespace(t.t)
    A = xp.sqrt(alpha_ts) * (1 - s.alpha_bar) / (1 - t.alpha_bar)
    B = xp.sqrt(s.alpha_bar) * beta_ts / (1 - t.alpha_bar)
    C = xp.sqrt(beta_ts * (1 - s.alpha_bar) / (1 - t.alpha_bar))
    return A, B, C


def step_variance(schedule: Schedule, t: ArrayLike | At, s: ArrayLike | At, variance: str) -> np.ndarray:
    """sigma_t^2 of the step from t to s, by either choice of the notes (sec. 3.2 of arXiv 2006.11239).

    `posterior`: the variance of q(x_s | x_t, x_0), best for x_0 at a point; `beta`: beta_ts, best for
    x_0 ~ N(0, I). The last step, to s = 0, adds no noise (Algorithm 2).
    """
    if variance not in VARIANCES:
        raise unknown("variance", variance, VARIANCES)
    t, s = schedule.at(t), schedule.at(s)
    if variance == "posterior":
        return posterior(schedule, t, s)[2] ** 2
    return np.where(s.t > 0, transition(schedule, t, s)[1], 0.0)


def q_sample(schedule: Schedule, x_s: Any, t: ArrayLike | At, eps: Any, s: ArrayLike | At = 0) -> Any:
    """x_t = sqrt(alpha_ts) x_s + sqrt(beta_ts) eps: noise x_s on to time t (eqs. 2 and 4).

    x_s and eps have one shape (B, …); 0 <= s < t <= T, else ValueError.

    >>> import numpy as np
    >>> x_0 = np.ones((2, 3))
    >>> q_sample(Schedule.linear(), x_0, t=1, eps=np.zeros((2, 3)))[0, 0].round(6)
    np.float64(0.99995)
    """
    (alpha_ts, beta_ts), xp = transition(schedule, t, s), namespace(schedule.at(t).t)
    return column(xp.sqrt(alpha_ts), x_s) * x_s + column(xp.sqrt(beta_ts), eps) * eps


def q_posterior(
    schedule: Schedule, x_t: Any, x_0: Any, t: ArrayLike | At, s: ArrayLike | At | None = None
) -> tuple[Any, np.ndarray]:
    """Mean and variance of q(x_s | x_t, x_0), with s = t - 1 unless given (eqs. 6 and 7).

    The mean is A x_t + B x_0, of x_t's shape; the variance is C^2, of t's shape (see `posterior`).
    """
    t = schedule.at(t)
    A, B, C = posterior(schedule, t, t.t - 1 if s is None else s)
    return column(A, x_t) * x_t + column(B, x_0) * x_0, C**2


def mean_from_eps(
    schedule: Schedule, x_t: Any, eps: Any, t: ArrayLike | At, s: ArrayLike | At | None = None
) -> Any:
    """mu_t = (x_t - beta_ts / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_ts), s = t - 1 unless given.

    The posterior's mean with x_0 written in eps (eq. 11 of arXiv 2006.11239).
    """
    t = schedule.at(t)
    alpha_ts, beta_ts = transition(schedule, t, t.t - 1 if s is None else s)
    k = beta_ts / np.sqrt(1 - t.alpha_bar)
    return (x_t - column(k, eps) * eps) / column(np.sqrt(alpha_ts), x_t)


def x0_from_eps(schedule: Schedule, x_t: Any, eps: Any, t: ArrayLike | At) -> Any:
    """x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t): eq. 4 solved for x_0."""
    bar = schedule.at(t).alpha_bar
    return (x_t - column(np.sqrt(1 - bar), eps) * eps) / column(np.sqrt(bar), x_t)


def eps_from_x0(schedule: Schedule, x_t: Any, x_0: Any, t: ArrayLike | At) -> Any:
    """eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t): eq. 4 solved for eps, t > 0."""
    bar = schedule.at(t).alpha_bar
    return (x_t - column(np.sqrt(bar), x_0) * x_0) / column(np.sqrt(1 - bar), x_t)


def x0_among(
    schedule: Schedule, x_t: Any, t: ArrayLike | At, points: Any, among: Any = None, squares: Any = None
) -> Any:
    """E[x_0 | x_t] where x_0 is one of some points, each as likely, of x_t's shape.

        sum_j w_j x_j,
        w = softmax(log q(x_t | x_j))
          = softmax((sqrt(alpha_bar) x_t·x_j - alpha_bar |x_j|^2 / 2) / (1 - alpha_bar))

    Args:
        schedule, x_t, t: as elsewhere here; t > 0.
        points: (n, …), as `x_t` (B, …).
        among: for each of x_t, which points x_0 may be, at least one, bool (B, n); unless given all.
        squares: |x_j|^2, (n,), where they are known.

    >>> import numpy as np
    >>> x0_among(Schedule.linear(), np.zeros((1, 1)), 500, np.array([[-1.0], [3.0]])).round(3)
    array([[0.662]])
    """
    at, xp = schedule.at(t), namespace(x_t)
    x, each = x_t.reshape(len(x_t), -1), points.reshape(len(points), -1)
    bar, scale = column(at.alpha_bar, x), column(1 / (1 - at.alpha_bar), x)
    squares = (each * each).sum(1) if squares is None else squares
    power = (bar**0.5 * (x @ each.T) - bar / 2 * squares) * scale
    if among is not None:
        power = xp.where(among, power, -np.inf)
    share = xp.exp(power - xp.amax(power, 1)[:, None])
    return ((share @ each) / share.sum(1)[:, None]).reshape(x_t.shape)


def column(values: Any, x: Any) -> Any:
    """`values`, one number or one a sample, in a form that multiplies x of shape (B, …).

    A tensor of values must be where x is. x must hold floating-point numbers: whole ones are raw data, which
    no formula here is about.
    """
    if is_tensor(values):
        return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    torch_like = is_tensor(x)
    if not (x.is_floating_point() if torch_like else np.asarray(x).dtype.kind == "f"):
        got = getattr(x, "dtype", type(x).__name__)
        raise ValueError(f"x must hold floating-point numbers (model space), got {got}")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0:
        return float(values)
    values = values.reshape(values.shape + (1,) * (x.ndim - values.ndim))
    return x.new_tensor(values) if torch_like else values.astype(x.dtype)
