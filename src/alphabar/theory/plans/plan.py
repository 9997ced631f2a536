"""The table that every sampler is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import brief, unknown
from ..schedule import Schedule

HISTORIES = ("x0", "eps")
TABLE = ("times", "alpha_bar", "A", "B", "C")


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A sampler's table.

    Row k evaluates the network at times[k], which gives h_k = x0_hat, and goes to times[k + 1]:

        x <- A[k] x + sum_j B[k, j] h_(k-j) + C[k] z,    z ~ N(0, I)

    In a plan whose history is `eps`, the predictions before (j >= 1) are remembered as
    eps_hat = (x_t - sqrt(alpha_bar_t) x0_hat) / sqrt(1 - alpha_bar_t).

    Attributes:
        times: t_0 … t_N, shape (N + 1,), real numbers from 0. They fall, but where noise is added
            in between or a time is visited twice.
        alpha_bar: of the schedule that it was made for, at these times, shape (N + 1,).
        A: what is kept of x, shape (N,).
        B: what is added of the last J predictions, the newest first, shape (N, J).
        C: the standard deviation of the noise that is added, shape (N,).
        history: what the predictions before are remembered as, `x0` or `eps`.
        made_by: how it was made, for people and programs.
    """

    times: np.ndarray
    alpha_bar: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    history: str = "x0"
    made_by: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        name = self.made_by.get("sampler", "as given")
        first, last = self.times[0], self.times[-1]
        return f"Plan({name}, {self.num_evaluations} evaluations, t = {first:g} to {last:g})"

    def __post_init__(self) -> None:
        for name in TABLE:
            try:
                array = np.asarray(getattr(self, name), dtype=np.float64)
            except (TypeError, ValueError):
                raise ValueError(f"{name} of a plan must be a table of numbers") from None
            if not np.all(np.isfinite(array)):
                raise ValueError(f"{name} of a plan must be finite numbers, got {brief(array.tolist())}")
            object.__setattr__(self, name, array)
        n = len(self.times) - 1 if self.times.ndim == 1 else 0
        wanted = {"times": (n + 1,), "alpha_bar": (n + 1,), "A": (n,), "C": (n,), "B": (n, *self.B.shape[1:])}
        found = {name: getattr(self, name).shape for name in wanted}
        if n < 1 or found != wanted or self.B.ndim != 2 or not self.B.shape[1]:
            raise ValueError(
                f"a plan of {n} rows needs times ({n + 1},), alpha_bar ({n + 1},), A ({n},), B ({n}, J), "
                f"C ({n},), got {', '.join(f'{name} {shape}' for name, shape in found.items())}"
            )
        if np.any(self.alpha_bar <= 0) or np.any(self.alpha_bar[:-1] >= 1) or self.alpha_bar[-1] > 1:
            raise ValueError("alpha_bar of a plan must lie within 0 and 1, and below 1 where it evaluates")
        if np.any(self.times < 0) or np.any(self.times[:-1] == 0) or np.any(self.C < 0):
            raise ValueError("a plan evaluates at times above 0, ends at one of at least 0, and has C >= 0")
        if not isinstance(self.made_by, dict):
            raise ValueError(f"made_by of a plan must name what made it, got {brief(self.made_by)}")
        if self.history not in HISTORIES:
            raise unknown("history", self.history, HISTORIES)

    @property
    def num_evaluations(self) -> int:
        """How often x0_hat is asked for (guidance may need two networks for it)."""
        return len(self.A)

    @property
    def stochastic(self) -> bool:
        """Whether noise is added on the way."""
        return bool(np.any(self.C > 0))

    def check_fits(self, schedule: Schedule) -> None:
        """Raise ValueError if the plan was made for another schedule."""
        if np.max(self.times) > schedule.T or not np.allclose(
            schedule.alpha_bar_at(self.times), self.alpha_bar, rtol=1e-6, atol=1e-9
        ):
            raise ValueError(
                "this plan was made for another schedule: its alpha_bar is not the model's at the same times"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON: how it was made, and all its numbers."""
        table = {name: getattr(self, name).tolist() for name in TABLE}
        return {"made_by": self.made_by, "history": self.history, **table}

    @classmethod
    def from_dict(cls, entry: Any) -> Plan:
        """The plan that `to_dict` described; ValueError if it describes none."""
        wanted = {"made_by", "history", *TABLE}
        if not isinstance(entry, dict) or set(entry) != wanted:
            got = ", ".join(sorted(entry)) if isinstance(entry, dict) else type(entry).__name__
            raise ValueError(f"a plan has the entries {', '.join(sorted(wanted))}, got {got}")
        return cls(**entry)

    def __str__(self) -> str:
        others = self.B.shape[1] - 1
        titles = ["B · x0_hat", *(f"B · {self.history}_hat −{j}" for j in range(1, others + 1))]
        lines = [f"{'t':>9} {'→ s':>9} {'A · x':>12} {' '.join(f'{h:>13}' for h in titles)} {'C · z':>12}"]
        for t, s, a, b, c in zip(self.times, self.times[1:], self.A, self.B, self.C, strict=False):
            history = " ".join(f"{value:13.8f}" for value in b)
            lines.append(f"{t:9.2f} {s:9.2f} {a:12.8f} {history} {c:12.8f}")
        return "\n".join(lines)
