"""Samplers as tables.

Row k of a plan evaluates the network at times[k], which gives h_k = x0_hat, and goes to times[k+1]:

    x <- A[k] x + sum_j B[k, j] h_(k-j) + C[k] z,    z ~ N(0, I)

Every sampler is a function of a schedule and falling times that returns such a table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import unknown
from .gaussian import posterior
from .losses import step_variance
from .schedule import Schedule


@dataclass(frozen=True, eq=False)
class Plan:
    """A sampler's table.

    Attributes:
        times: t_0 > t_1 > … > t_N, shape (N + 1,); real numbers within 0..T.
        A: what is kept of x, shape (N,).
        B: what is added of the last J predictions of x_0, the newest first, shape (N, J).
        C: the standard deviation of the noise that is added, shape (N,).
        made_by: how it was made, for people and programs.
    """

    times: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    made_by: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("times", "A", "B", "C"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        check_times(self.times)
        n = self.num_evaluations
        if self.A.shape != (n,) or self.C.shape != (n,) or self.B.ndim != 2 or len(self.B) != n:
            raise ValueError(
                f"a plan of {n} rows needs A ({n},), B ({n}, J), C ({n},), got "
                f"{self.A.shape}, {self.B.shape}, {self.C.shape}"
            )

    @property
    def num_evaluations(self) -> int:
        """How often the network is evaluated."""
        return len(self.times) - 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON: how it was made, and all its numbers."""
        table = {name: getattr(self, name).tolist() for name in ("times", "A", "B", "C")}
        return {"made_by": self.made_by, **table}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Plan:
        """The plan that `to_dict` described."""
        return cls(**entry)

    def __str__(self) -> str:
        lines = [f"{'t':>9} {'→ s':>9} {'A':>12} {'B':>12} {'C':>12}"]
        for t, s, a, b, c in zip(self.times, self.times[1:], self.A, self.B, self.C, strict=False):
            history = " ".join(f"{value:12.8f}" for value in b)
            lines.append(f"{t:9.2f} {s:9.2f} {a:12.8f} {history} {c:12.8f}")
        return "\n".join(lines)


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
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if not start > 0:
        raise ValueError(f"start must be above 0, the clean sample, got {start}")
    left = np.arange(steps, -1, -1)
    if float(start).is_integer() and steps <= start:
        return ((2 * int(start) * left + steps) // (2 * steps)).astype(np.float64)
    return start * left / steps


def ancestral(schedule: Schedule, times: Sequence[float] | np.ndarray, variance: str = "posterior") -> Plan:
    """DDPM's sampler, x_s ~ N(posterior mean at x0_hat, sigma^2), between any two times.

    Algorithm 2 of arXiv 2006.11239, with sigma^2 by either of its choices (`step_variance`).
    """
    t, s = _pairs(times)
    A, B, _ = posterior(schedule, t, s)
    C = np.sqrt(step_variance(schedule, t, s, variance))
    return Plan(np.asarray(times), A, B[:, None], C, {"sampler": "ddpm", "variance": variance})


def ddim(schedule: Schedule, times: Sequence[float] | np.ndarray, eta: float = 0.0) -> Plan:
    """DDIM: x_s = sqrt(alpha_bar_s) x0_hat + sqrt(1 - alpha_bar_s - sigma^2) eps_hat + sigma z.

    sigma = eta times the posterior's standard deviation (eqs. 12 and 16 of arXiv 2010.02502).
    eta = 0 adds no noise; eta = 1 is `ancestral` with the posterior's variance, exactly.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie within 0..1, got {eta}")
    t, s = _pairs(times)
    bar_t, bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
    C = eta * posterior(schedule, t, s)[2]
    A = np.sqrt((1 - bar_s - C**2) / (1 - bar_t))  # eps_hat = (x - sqrt(bar_t) x0_hat) / sqrt(1 - bar_t)
    B = np.sqrt(bar_s) - A * np.sqrt(bar_t)
    return Plan(np.asarray(times), A, B[:, None], C, {"sampler": "ddim", "eta": eta})


SAMPLERS: dict[str, Callable[..., Plan]] = {"ddpm": ancestral, "ddim": ddim}


def make_plan(
    schedule: Schedule,
    sampler: str = "ddpm",
    steps: int = 50,
    start: float | None = None,
    **options: Any,
) -> Plan:
    """A sampler by name, in `steps` evaluations from `start` (T unless given) down to 0.

    `options` are the sampler's own: `variance` of ddpm, `eta` of ddim.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    accepted = list(inspect.signature(SAMPLERS[sampler]).parameters)[2:]
    extra = sorted(set(options) - set(accepted))
    if extra:
        raise ValueError(f"{sampler} takes {', '.join(accepted)}, and not {', '.join(extra)}")
    start = schedule.T if start is None else start
    schedule.alpha_bar_at(start)  # raises if it lies outside
    return SAMPLERS[sampler](schedule, trailing(start, steps), **options)


def _pairs(times: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times = np.asarray(times, dtype=np.float64)
    check_times(times)
    return times[:-1], times[1:]
