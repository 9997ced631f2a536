"""Heun's method, as EDM uses it."""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np

from ..gaussian import transition
from ..schedule import Schedule
from .first_order import Times, pairs, towards_x0
from .plan import Plan

FAR = 200.0  # linear's sigma_T is 157


def heun(
    schedule: Schedule,
    times: Times,
    evaluations: int | None = None,
    churn: Annotated[float, "EDM's S_churn, noise added on the way"] = 0.0,
    churn_min: Annotated[float, "EDM's S_min, the least sigma at which churn acts"] = 0.0,
    churn_max: Annotated[float, "EDM's S_max, the largest sigma at which churn acts"] = np.inf,
    churn_noise: Annotated[float, "EDM's S_noise, a factor on the noise that churn adds"] = 1.0,
) -> Plan:
    """Heun's method, as EDM uses it.

    Algorithms 1 and 2 of arXiv 2206.00364 in x / sqrt(alpha_bar) over sigma = exp(-lambda).
    From t to s an Euler (DDIM) step, then again with the mean of the slopes at both ends: two rows,
    the second from s to s. A step to 0 stays Euler's.

    Args:
        schedule: the schedule.
        times: of N steps, falling.
        evaluations: 2N - 1 to 0 and 2N to elsewhere, or one less: then the first step is Euler's.
        churn: S_churn; a step begins by raising the noise from sigma to (1 + min(S_churn / N,
            sqrt(2) - 1)) sigma, at most that of T. It acts from the second step on: the first starts
            from noise that was just drawn.
        churn_min, churn_max: S_min and S_max, the sigmas between which churn acts.
        churn_noise: S_noise, a factor on its standard deviation.
    """
    t, s = pairs(times)
    n = len(t)
    corrected = s > 0
    full = n + int(corrected.sum())
    if evaluations == full - 1 and corrected[0]:
        corrected[0] = False
    elif evaluations not in (None, full):
        raise ValueError(f"Heun's method in {n} steps has {full} evaluations, or one less, got {evaluations}")
    _check_churn(churn, churn_min, churn_max, churn_noise)
    sigma = np.exp(-schedule.lam_at(t))
    if corrected[0] and sigma[0] > FAR:
        warnings.warn(
            f"from sigma = {sigma[0]:,.0f} (EDM's own is 80) the first step, corrected, goes far astray: "
            "take an even number of evaluations, of which the first is Euler's, or another sampler",
            stacklevel=3,
        )
    churned = (sigma >= churn_min) & (sigma <= churn_max) & (np.arange(n) > 0) & (churn > 0)
    raised = np.minimum(sigma * (1 + min(churn / n, np.sqrt(2) - 1)), np.exp(-schedule.lam[-1]))
    churned &= raised > sigma
    begin = t.copy()
    begin[churned] = schedule.time_at(-np.log(raised[churned]))

    visited, rows = [begin[0]], []
    for k in range(n):
        A, B = (float(v) for v in towards_x0(schedule, begin[k], s[k]))
        rows.append((A, [B, 0.0], 0.0))
        if corrected[k]:
            visited.append(s[k])
            rows.append((*_correction(schedule, begin[k], s[k]), 0.0))
        if k + 1 < n and churned[k + 1]:
            keep, noise = transition(schedule, begin[k + 1], s[k])
            A, B, _ = rows.pop()
            rows.append((A * np.sqrt(keep), np.sqrt(keep) * np.array(B), churn_noise * np.sqrt(noise)))
        visited.append(begin[k + 1] if k + 1 < n else s[k])
    A, B, C = (np.array([row[i] for row in rows]) for i in range(3))
    made_by = {"sampler": "heun", "churn": float(churn)}
    if churn:
        bounds = {"churn_min": churn_min, "churn_max": min(churn_max, 1e9), "churn_noise": churn_noise}
        made_by |= {name: float(value) for name, value in bounds.items()}
    return Plan(np.array(visited), schedule.alpha_bar_at(visited), A, B, C, made_by=made_by)


def _check_churn(churn: float, low: float, high: float, noise: float) -> None:
    if not (0 <= churn < np.inf and 0 <= noise < np.inf):
        raise ValueError(f"churn and churn_noise must be finite and at least 0, got {churn}, {noise}")
    if not 0 <= low <= high:
        raise ValueError(f"churn_min and churn_max must rise from 0, got {low} and {high}")


def _correction(schedule: Schedule, t: float, s: float) -> tuple[float, list[float]]:
    """(A, B) of x_s = x' + e/2 (eps_s - eps_t), where Euler's step a x_t + e eps_t came to x'.

    Along that step x' = alpha_s h_t + sigma_s eps_t, so eps_s - eps_t = alpha_s (h_t - h_s) / sigma_s.
    """
    bar_t, bar_s = (float(schedule.alpha_bar_at(time)) for time in (t, s))
    alpha_s, sigma_s = bar_s**0.5, (1 - bar_s) ** 0.5
    e = sigma_s - alpha_s * ((1 - bar_t) / bar_t) ** 0.5
    c = e * alpha_s / (2 * sigma_s)
    return 1.0, [-c, c]
