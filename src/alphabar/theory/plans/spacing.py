"""The times that a sampler visits: falling, from where it starts to 0, the clean sample.

A spacing is a function of (schedule, start, intervals) that gives intervals + 1 times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import check_whole
from ..scales import USUAL, Scales
from ..schedule import Schedule

REACH, COARSE_ENOUGH = 0.32, 0.4  # few intervals leave finer scales than these alone: docs/log.md
LEAST = 1.0  # below it no network was trained; the last interval goes from there to 0


def check_times(times: Sequence[float] | np.ndarray) -> None:
    """Raise ValueError unless there are two times or more, finite, falling, and none below 0."""
    times = np.asarray(times, dtype=np.float64)
    shown = f"({', '.join(f'{t:g}' for t in times.ravel()[:6])}{', …' if times.size > 6 else ''})"
    if times.ndim != 1 or len(times) < 2 or not np.all(np.isfinite(times)):
        raise ValueError(f"times must be a row of two or more finite numbers, got {shown}")
    if not np.all(np.diff(times) < 0):
        hint = "; did you mean reversed(times)?" if np.all(np.diff(times) > 0) else ""
        raise ValueError(f"times must fall strictly, got {shown}{hint}")
    if times[-1] < 0:
        raise ValueError(f"times must not fall below 0, the clean sample, got {shown}")


def scales(schedule: Schedule, start: float, intervals: int, data: Scales = USUAL) -> np.ndarray:
    """Even in how many of the data's scales are settled.

    N + 1 times from `start` to 0, evenly spaced in the mean of sigma / (s + sigma) over all scales s from
    the data's coarsest S to their finest f, evenly in log s:

        u = 1 - log((S + sigma) / (f + sigma)) / log(S / f),    sigma = exp(-lambda).

    sigma / (s + sigma) is flow matching's time for data of standard deviation s (`flow`), and falls while
    detail of that size takes shape: so each scale gets its share of the times, and the last time above 0
    is as near to the clean sample as the finest needs. What lies below t = 1, which no network was trained
    on, is left out: f is at least the sigma of t = 1, and where the last time would be below t = 1, it is
    t = 1 and u is even down to there.
    Few intervals are spent on coarse scales: f is at least S exp(-0.32 N), or 0.4 if that is less.
    """
    first, least = np.exp(-schedule.lam_at([start, _least(start, intervals)]))
    coarse = max(data.coarsest, 2 * least)
    reached = min(coarse * np.exp(-REACH * intervals), COARSE_ENOUGH)
    fine = min(max(data.finest, least, reached), coarse / 2)
    span = np.log(coarse / fine)
    v_first, v_least = (np.log((coarse + sigma) / (fine + sigma)) for sigma in (first, least))
    v = np.linspace(v_first, min(span - (span - v_first) / intervals, v_least), intervals)
    return _to_zero(schedule, start, -np.log((coarse - fine * np.exp(v)) / np.expm1(v)))


def flow(schedule: Schedule, start: float, intervals: int, shift: float = 2.0) -> np.ndarray:
    """Even in sigma / (2 + sigma), flow matching's time, shifted.

    N + 1 times from `start` to 0, evenly spaced in u = sigma / (shift + sigma), sigma = exp(-lambda) as in
    `karras`. With shift 1, u is the time of flow matching, in which the clean sample weighs 1 - u and the
    noise u (arXiv 2210.02747); a larger shift puts more times where noise prevails (eq. 23 of arXiv
    2403.03206). Whatever the schedule, from T the noise levels are nearly the same. Where the last time
    above 0 would lie below t = 1, which no network was trained on, it is t = 1 and u is even down to there.

    Few of the times are near the clean sample. Without noise on the way and without clipping, the errors
    that an `eps` network makes at the noisiest times are then carried to the end many times over (a
    hundredfold for `unipc` on the cosine schedule, 20 evaluations). From about 10 evaluations on `log_snr`
    doesn't carry them, nor do samplers with noise.
    """
    least = _least(start, intervals)
    if not shift > 0:
        raise ValueError(f"shift must be above 0, got {shift}")
    first, last = (sigma / (shift + sigma) for sigma in np.exp(-schedule.lam_at([start, least])))
    u = np.linspace(first, max(first / intervals, last), intervals)
    return _to_zero(schedule, start, -np.log(shift * u / (1 - u)))


def trailing(schedule: Schedule, start: float, intervals: int) -> np.ndarray:
    """Even in t.

    N + 1 evenly spaced times from `start` down to 0, both included (arXiv 2305.08891). Rounded to whole
    numbers, which the network was trained on, where `start` is one and intervals <= start; real numbers
    otherwise.

    >>> trailing(Schedule.linear(), 1000, 3)
    array([1000.,  667.,  333.,    0.])
    """
    schedule.alpha_bar_at(start)  # raises if it lies outside
    _least(start, intervals)
    left = np.arange(intervals, -1, -1)
    if float(start).is_integer() and intervals <= start:
        return ((2 * int(start) * left + intervals) // (2 * intervals)).astype(np.float64)
    return start * (left / intervals)


def log_snr(schedule: Schedule, start: float, intervals: int) -> np.ndarray:
    """Even in lambda, the half log-SNR.

    N times evenly spaced in lambda from `start` down to t = 1, then 0 (arXiv 2206.00927).
    """
    first, last = schedule.lam_at([start, _least(start, intervals)])
    return _to_zero(schedule, start, np.linspace(first, last, intervals))


def karras(schedule: Schedule, start: float, intervals: int, rho: float = 7.0) -> np.ndarray:
    """Even in sigma^(1/7), as EDM.

    N times evenly spaced in sigma^(1/rho) from `start` down to t = 1, then 0 (eq. 5 of arXiv 2206.00364).
    sigma = exp(-lambda) = sqrt(1 - alpha_bar) / sqrt(alpha_bar) is EDM's noise level.
    """
    first, last = np.exp(-schedule.lam_at([start, _least(start, intervals)]) / rho)
    return _to_zero(schedule, start, -rho * np.log(np.linspace(first, last, intervals)))


SPACINGS: dict[str, Callable[..., np.ndarray]] = {
    "scales": scales,
    "flow": flow,
    "trailing": trailing,
    "log_snr": log_snr,
    "karras": karras,
}
"""Spacings by name: functions of (schedule, start, intervals); `scales` takes the data's as well."""


def _least(start: float, intervals: int) -> float:
    """The last time above 0: t = 1, or half of a start that is hardly above it."""
    check_whole("intervals", intervals, 1)
    if not start > 0:
        raise ValueError(f"start must be above 0, the clean sample, got {start}")
    return min(LEAST, start / 2)


def _to_zero(schedule: Schedule, start: float, lam: np.ndarray) -> np.ndarray:
    return np.concatenate([[start], schedule.time_at(lam[1:]), [0.0]])
