"""The times that a sampler visits: falling, from where it starts to 0, the clean sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import check_whole
from ..schedule import Schedule

LEAST = 1.0  # below it no network was trained; the last step goes from there to 0


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


def trailing(start: float, steps: int) -> np.ndarray:
    """N + 1 evenly spaced times from `start` down to 0, both included (arXiv 2305.08891).

    Rounded to whole numbers, which the network was trained on, where `start` is one and
    steps <= start; real numbers otherwise.

    >>> trailing(1000, 3)
    array([1000.,  667.,  333.,    0.])
    """
    _check(start, steps)
    left = np.arange(steps, -1, -1)
    if float(start).is_integer() and steps <= start:
        return ((2 * int(start) * left + steps) // (2 * steps)).astype(np.float64)
    return start * left / steps


def log_snr(schedule: Schedule, start: float, steps: int) -> np.ndarray:
    """N times evenly spaced in lambda from `start` down to t = 1, then 0 (arXiv 2206.00927)."""
    first, last = schedule.lam_at([start, _least(start, steps)])
    return _to_zero(schedule, start, np.linspace(first, last, steps))


def karras(schedule: Schedule, start: float, steps: int, rho: float = 7.0) -> np.ndarray:
    """N times evenly spaced in sigma^(1/rho) from `start` down to t = 1, then 0 (eq. 5 of arXiv 2206.00364).

    sigma = exp(-lambda) = sqrt(1 - alpha_bar) / sqrt(alpha_bar) is EDM's noise level.
    """
    first, last = np.exp(-schedule.lam_at([start, _least(start, steps)]) / rho)
    return _to_zero(schedule, start, -rho * np.log(np.linspace(first, last, steps)))


def flow(schedule: Schedule, start: float, steps: int, shift: float = 2.0) -> np.ndarray:
    """N + 1 times from `start` to 0, evenly spaced in u = sigma / (shift + sigma).

    sigma = exp(-lambda) as in `karras`. With shift 1, u is the time of flow matching, in which the clean
    sample weighs 1 - u and the noise u (arXiv 2210.02747); a larger shift puts more times where noise
    prevails (eq. 23 of arXiv 2403.03206). Whatever the schedule, from T the noise levels are nearly the same.
    """
    _check(start, steps)
    if not shift > 0:
        raise ValueError(f"shift must be above 0, got {shift}")
    sigma = np.exp(-schedule.lam_at(start))
    u = sigma / (shift + sigma) * np.arange(steps - 1, 0, -1) / steps
    return np.concatenate([[start], schedule.time_at(-np.log(shift * u / (1 - u))), [0.0]])


GRIDS: dict[str, Callable[[Schedule, float, int], np.ndarray]] = {
    "trailing": lambda schedule, start, steps: trailing(start, steps),
    "log_snr": log_snr,
    "karras": karras,
    "flow": flow,
}
"""Grids by name.

`trailing` is even in t, `log_snr` in lambda, `karras` in sigma^(1/7), `flow` in sigma / (2 + sigma).
"""


def _check(start: float, steps: int) -> None:
    check_whole("steps", steps, 1)
    if not start > 0:
        raise ValueError(f"start must be above 0, the clean sample, got {start}")


def _least(start: float, steps: int) -> float:
    """The last time above 0: t = 1, or half of a start that is hardly above it."""
    _check(start, steps)
    return min(LEAST, start / 2)


def _to_zero(schedule: Schedule, start: float, lam: np.ndarray) -> np.ndarray:
    return np.concatenate([[start], schedule.time_at(lam[1:]), [0.0]])
