"""Noise schedules: the table alpha_bar_0 … alpha_bar_T that everything else is a function of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import brief, check_whole, made_from, row_of, row_options, unknown
from .at import At
from .linear_betas import linear_bounds

ADVISED_T = 100
MOST_T = 1_000_000  # a table of 8 MB
MAX_TERMINAL_SIGNAL = 0.03  # sqrt(alpha_bar_T); linear at T = 1000 has 0.0064

NoisingSteps = Annotated[int, "number of noising steps; 100 or more are advised"]
MaxBeta = Annotated[float, "the largest beta"]
Shift = Annotated[float, "what noise over signal is multiplied by at T/2"]


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """How much signal is left at each time: alpha_bar[t] for t = 0..T, with alpha_bar[0] = 1.

    x_t = sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t]) eps     (eq. 4 of arXiv 2006.11239)

    `t = 0` is the clean sample and `t = T` the noisiest one. Every table below has T + 1 entries and is
    indexed by t itself. Make one with `linear`, `cosine`, `sigmoid`, `from_betas` or `from_alpha_bar`.

    >>> schedule = Schedule.linear(1000)
    >>> schedule.T, float(schedule.alpha_bar[0])
    (1000, 1.0)
    """

    alpha_bar: np.ndarray
    formula: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        alpha_bar = np.array(self.alpha_bar, dtype=np.float64)
        if alpha_bar.ndim != 1 or len(alpha_bar) < 2:
            raise ValueError(f"alpha_bar must be one row of T + 1 >= 2 numbers, got shape {alpha_bar.shape}")
        if alpha_bar[0] != 1:
            raise ValueError(f"alpha_bar[0] (the clean sample) must be 1, got {alpha_bar[0]}; give t = 0..T")
        if not (np.all(np.diff(alpha_bar) < 0) and alpha_bar[-1] > 0):
            raise ValueError(
                "alpha_bar must fall strictly from 1 and stay above 0 (each beta within (0, 1)); "
                "end it at a small positive number, not at 0"
            )
        alpha_bar.flags.writeable = False
        object.__setattr__(self, "alpha_bar", alpha_bar)

    def __repr__(self) -> str:
        return f"Schedule({self.formula.get('name', 'as given')}, T = {self.T})"

    # --- the tables that follow from alpha_bar -------------------------------------------------

    @property
    def T(self) -> int:
        """The number of noising steps."""
        return len(self.alpha_bar) - 1

    @property
    def alpha(self) -> np.ndarray:
        """alpha_t = alpha_bar_t / alpha_bar_{t-1}, shape (T + 1,); alpha[0] = 1."""
        return np.concatenate([[1.0], self.alpha_bar[1:] / self.alpha_bar[:-1]])

    @property
    def beta(self) -> np.ndarray:
        """beta_t = 1 - alpha_t, shape (T + 1,); beta[0] = 0 belongs to no step."""
        return 1 - self.alpha

    @cached_property
    def lam(self) -> np.ndarray:
        """Half log-SNR lambda_t = 1/2 log(alpha_bar_t / (1 - alpha_bar_t)); lam[0] = +inf."""
        lam = _half_log_snr(self.alpha_bar)
        lam.flags.writeable = False
        return lam

    @property
    def terminal_signal(self) -> float:
        """sqrt(alpha_bar_T): the share of x_0 left in x_T, where sampling assumes none."""
        return float(np.sqrt(self.alpha_bar[-1]))

    def alpha_bar_at(self, t: ArrayLike) -> np.ndarray:
        """alpha_bar at any real t in [0, T], same shape as `t`.

        The table's own number at integers, and linear in lambda between them. On (0, 1), where
        lambda_0 is infinite, the noise variance 1 - alpha_bar is linear in t instead.
        """
        given = np.asarray(t)
        if given.dtype.kind not in "iuf":
            raise ValueError(f"t must be numbers within 0..{self.T}, got {brief(t)}")
        t = given.astype(np.float64)
        if not np.all((t >= 0) & (t <= self.T)):  # also catches NaN
            bad = t[~((t >= 0) & (t <= self.T))].ravel()[0]
            raise ValueError(f"t must lie within 0..{self.T}, got {bad}")
        i = np.minimum(t.astype(np.int64), self.T - 1)
        f = t - i
        lam = self.lam
        with np.errstate(invalid="ignore"):
            between = (1 - f) * lam[i] + f * lam[i + 1]
        smooth = np.where(i == 0, 1 - f * (1 - self.alpha_bar[1]), 1 / (1 + np.exp(-2 * between)))
        return np.where(f == 0, self.alpha_bar[i], np.where(f == 1, self.alpha_bar[i + 1], smooth))

    def at(self, t: ArrayLike | At) -> At:
        """The times t with alpha_bar there, to be shared by several functions; `At` stays as it is.

        >>> schedule = Schedule.linear()
        >>> at = schedule.at([1, 500])
        >>> at is schedule.at(at)
        True
        """
        if isinstance(t, At):
            return t
        alpha_bar = self.alpha_bar_at(t)
        return At(np.asarray(t, dtype=np.float64)[()], alpha_bar[()])

    def lam_at(self, t: ArrayLike) -> np.ndarray:
        """lambda at any real t in [0, T], same shape as `t`; +inf at 0."""
        return _half_log_snr(self.alpha_bar_at(t))

    def time_at(self, lam: ArrayLike) -> np.ndarray:
        """The real t in (0, T] at which lambda is `lam` (at least lambda_T): the inverse of `lam_at`.

        >>> schedule = Schedule.linear()
        >>> bool(np.isclose(schedule.time_at(schedule.lam_at(12.3)), 12.3))
        True
        """
        lam = np.asarray(lam, dtype=np.float64)
        if not np.all(lam >= self.lam[-1] - 1e-9):
            raise ValueError(f"lambda must be at least lambda_T = {self.lam[-1]:g}, got {np.min(lam):g}")
        table = np.interp(-lam, -self.lam[1:], np.arange(1.0, self.T + 1))
        below = 1 / (1 + np.exp(2 * lam)) / (1 - self.alpha_bar[1])
        return np.where(lam > self.lam[1], below, table)

    # --- ways to make one ----------------------------------------------------------------------

    @classmethod
    def linear(
        cls,
        T: NoisingSteps = 1000,
        beta_min: Annotated[float | None, "the first beta, taken literally"] = None,
        beta_max: Annotated[float | None, "the last beta, taken literally"] = None,
    ) -> Schedule:
        """Beta rises linearly from beta_min to beta_max.

        With neither bound given they are the paper's 1e-4 and 0.02 at T = 1000 (sec. 4 of arXiv
        2006.11239), and for another T both are multiplied by the one factor that keeps alpha_bar_T
        (about 1000 / T for large T; below 50 for every T, so that beta stays under 1). Bounds that
        are given are taken literally.

        >>> bool(np.isclose(Schedule.linear(50).terminal_signal, Schedule.linear().terminal_signal))
        True
        """
        T = check_whole("T", T, 1, MOST_T)
        if (beta_min is None) != (beta_max is None):
            raise ValueError("give both beta_min and beta_max, or neither")
        if beta_min is None or beta_max is None:
            beta_min, beta_max = linear_bounds(T)
        formula = {"name": "linear", "T": T, "beta_min": beta_min, "beta_max": beta_max}
        return cls.from_betas(np.linspace(beta_min, beta_max, T), formula)

    @classmethod
    def cosine(
        cls,
        T: NoisingSteps = 1000,
        s: Annotated[float, "the offset that keeps beta from vanishing near t = 0"] = 0.008,
        max_beta: MaxBeta = 0.999,
        shift: Shift = 1.0,
    ) -> Schedule:
        """alpha_bar falls as a squared cosine of t/T.

        alpha_bar_t = f(t)/f(0), f(t) = cos(((t/T + s)/(1 + s)) pi/2)^2, with beta_t <= max_beta
        (eq. 17 of arXiv 2102.09672). It is a function of t/T, so T needs no scaling. `shift` as in `sigmoid`.
        """
        T = check_whole("T", T, 1, MOST_T)
        if not s >= 0:
            raise ValueError(f"s must be at least 0, got {s}")
        f = np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi / 2) ** 2
        return cls._clipped(f, max_beta, {"name": "cosine", "T": T, "s": s, "max_beta": max_beta}, shift)

    @classmethod
    def sigmoid(
        cls,
        T: NoisingSteps = 1000,
        start: Annotated[float, "where on the sigmoid t = 0 lies"] = -3.0,
        end: Annotated[float, "where on the sigmoid t = T lies"] = 3.0,
        tau: Annotated[float, "the sigmoid's temperature"] = 1.0,
        max_beta: MaxBeta = 0.999,
        shift: Shift = 1.0,
    ) -> Schedule:
        """alpha_bar falls along a sigmoid of t/T.

        alpha_bar_t = (g(T) - g(t)) / (g(T) - g(0)), g(t) = 1 / (1 + exp(-(start + (end - start) t/T) / tau)),
        with beta_t <= max_beta (arXiv 2212.11972). It is a function of t/T, so T needs no scaling.
        Then sigma = sqrt((1 - alpha_bar) / alpha_bar) is multiplied by 1 + 2 (shift - 1) t/T: the shapes in
        large samples show through more noise (sec. 3.1 of arXiv 2301.11093), and their detail does not.
        """
        T = check_whole("T", T, 1, MOST_T)
        if not (tau > 0 and -700 <= start / tau < end / tau <= 700):
            raise ValueError(f"sigmoid needs -700 tau <= start < end <= 700 tau, got {start}, {end}, {tau}")
        g = 1 / (1 + np.exp(-(start + (end - start) * np.arange(T + 1) / T) / tau))
        formula = {"name": "sigmoid", "T": T, "start": start, "end": end, "tau": tau, "max_beta": max_beta}
        return cls._clipped(g[-1] - g, max_beta, formula, shift)

    @classmethod
    def from_betas(cls, betas: ArrayLike, formula: dict[str, Any] | None = None) -> Schedule:
        """alpha_bar_t = prod_{i <= t} (1 - beta_i) from beta_1 … beta_T, rising within (0, 1)."""
        betas = np.asarray(betas, dtype=np.float64)
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas must be one row of T >= 1 numbers, got shape {betas.shape}")
        if not np.all((betas > 0) & (betas < 1)):
            bad = int(np.flatnonzero(~((betas > 0) & (betas < 1)))[0])
            raise ValueError(f"each beta must lie within (0, 1), got beta_{bad + 1} = {betas[bad]}")
        if not np.all(np.diff(betas) > 0):
            bad = int(np.flatnonzero(~(np.diff(betas) > 0))[0])
            raise ValueError(
                f"betas must rise, got beta_{bad + 1} = {betas[bad]} then "
                f"beta_{bad + 2} = {betas[bad + 1]}; did you mean betas[::-1]?"
            )
        return cls._advised(np.concatenate([[1.0], np.cumprod(1 - betas)]), formula or {})

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Annotated[ArrayLike, "alpha_bar_0 = 1, …, alpha_bar_T"]) -> Schedule:
        """A table of your own: alpha_bar_0 = 1, …, alpha_bar_T, falling strictly and staying above 0."""
        return cls._advised(np.asarray(alpha_bar), {})

    @classmethod
    def _clipped(cls, f: np.ndarray, max_beta: float, formula: dict[str, Any], shift: float) -> Schedule:
        """alpha_bar_t = f_t / f_0 with betas of at most `max_beta`, which lifts its end; then shifted."""
        if not (0 < max_beta < 1 and np.all(f[:-1] > 0)):
            raise ValueError(f"max_beta must lie within (0, 1), alpha_bar above 0 before T, got {formula}")
        beta = np.minimum(1 - f[1:] / f[:-1], max_beta)
        alpha_bar = np.concatenate([[1.0], np.cumprod(1 - beta)])
        if not 1 <= shift <= 1e3:
            raise ValueError(f"shift must lie within 1 and 1000, got {shift}")
        if shift != 1:
            times = 1 + 2 * (shift - 1) * np.linspace(0, 1, len(alpha_bar))
            alpha_bar = alpha_bar / (alpha_bar + times**2 * (1 - alpha_bar))
        return cls._advised(alpha_bar, formula | {"shift": shift})

    @classmethod
    def _advised(cls, alpha_bar: np.ndarray, formula: dict[str, Any]) -> Schedule:
        """A new schedule, with the notes' advice as warnings (a loaded one gives none)."""
        schedule = cls(alpha_bar, formula)
        if schedule.T < ADVISED_T:
            warnings.warn(f"T = {schedule.T}: at least {ADVISED_T} steps are advised", stacklevel=3)
        if schedule.terminal_signal > MAX_TERMINAL_SIGNAL:
            warnings.warn(
                f"x_T keeps {schedule.terminal_signal:.1%} of x_0, while sampling starts from pure "
                "noise: raise beta_max or T",
                stacklevel=3,
            )
        return schedule

    # --- as JSON -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The exact formula with all its parameters, or else the numbers."""
        return dict(self.formula) or {"name": "alpha_bar", "alpha_bar": self.alpha_bar.tolist()}

    @classmethod
    def from_dict(cls, entry: dict[str, Any], advise: bool = True) -> Schedule:
        """The schedule that `to_dict` described (or any formula, with defaults for what is absent).

        `advise=False` leaves out the advice on T and the terminal signal, for one that is in use.
        """
        name = entry.get("name")
        accepted = row_options(row_of(SCHEDULES, name, "schedule"))
        given = {argument: value for argument, value in entry.items() if argument != "name"}
        for argument, value in given.items():
            if argument not in accepted:
                raise unknown(f"setting of the {name} schedule", argument, accepted)
            what, parts = ("numbers", value) if isinstance(value, list) else ("a number", [value])
            if any(isinstance(part, bool) or not isinstance(part, int | float | None) for part in parts):
                raise ValueError(f"{argument} of the {name} schedule must be {what}, got {brief(value)}")
        with warnings.catch_warnings():
            if not advise:
                warnings.simplefilter("ignore")
            return made_from(SCHEDULES, entry, "name", "schedule")


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": Schedule.linear,
    "cosine": Schedule.cosine,
    "sigmoid": Schedule.sigmoid,
    "alpha_bar": Schedule.from_alpha_bar,
}
"""Schedules by name. A row's options are its parameters that are annotated with a help text."""


def _half_log_snr(alpha_bar: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))
