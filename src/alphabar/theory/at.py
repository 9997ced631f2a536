"""Times with what a schedule says there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class At:
    """A schedule at times t, looked up once: every function that takes times takes this instead.

    Both are NumPy arrays, or torch tensors on a device, where the formulas of t are then worked out as well.

    Attributes:
        t: the times, one number or one a sample, float64.
        alpha_bar: of the schedule at these times, same shape.
        table: all of the schedule's, beside tensors.
    """

    t: Any
    alpha_bar: Any
    table: Any = None

    @property
    def snr(self) -> Any:
        """alpha_bar / (1 - alpha_bar), same shape; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return self.alpha_bar / (1 - self.alpha_bar)

    def part(self, part: slice | np.ndarray) -> At:
        """Some of the times."""
        return At(self.t[part], self.alpha_bar[part], self.table)

    def before(self, schedule: Any) -> At:
        """The times t - 1, of the same schedule."""
        return schedule.at(self.t - 1) if self.table is None else self.on_device(self.t - 1, self.table)

    @classmethod
    def on_device(cls, t: Any, table: Any) -> At:
        """Whole times t, a float64 tensor, looked up where they are; nothing checks them.

        Args:
            t: each within 0..T.
            table: alpha_bar_0 … alpha_bar_T, a float64 tensor there.
        """
        return cls(t, table[t.long()], table)


def is_tensor(x: Any) -> bool:
    """Whether this is a torch tensor, which nothing here imports."""
    return hasattr(x, "new_tensor")


def namespace(x: Any) -> Any:
    """The module that an array's functions are in: numpy or torch.

    >>> namespace(np.ones(2)) is np
    True
    """
    return sys.modules[type(x).__module__.partition(".")[0]]
