"""What a series is beside its numbers: its rate, and the form of the file that it came from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .columns import Column


@dataclass(frozen=True)
class Timeline:
    """Where a series' numbers stand in time, and what it is written as.

    Attributes:
        rate: numbers a second; None if that is not known.
        depth: of sound, what its numbers are in the file, such as `PCM_16`; "" for all else.
        id: in a table of several rows a series, the column that tells series apart; "" for one row a series.
        order: the columns of a table as they stood; of one row a series, all but the label's are its times.
        columns: what stands in a table's columns: in each channel's, in that of times and in that of classes;
            of one row a series, in all columns of numbers.
        time: the column of times, if there is one.
        times: what stands in it, if that is the same for each series.
        label: the column of classes, if there is one.
    """

    rate: float | None = None
    depth: str = ""
    id: str = ""
    order: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    time: str = ""
    times: tuple[float, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"a rate must be above 0 and finite, got {self.rate}")
        object.__setattr__(self, "order", tuple(map(str, self.order)))
        object.__setattr__(self, "times", tuple(map(float, self.times)))
        columns = tuple(c if isinstance(c, Column) else Column(**c) for c in self.columns)
        object.__setattr__(self, "columns", columns)

    def lasting(self, length: int) -> str:
        """`1.5 s (24,000 numbers at 16,000 a second)`."""
        if self.rate is None:
            return f"{length:,} numbers"
        return f"{length / self.rate:.4g} s ({length:,} numbers at {self.rate:,.6g} a second)"

    def to_dict(self) -> dict[str, Any]:
        """As JSON: what is not usual."""
        usual = asdict(Timeline())
        own = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return own | ({"columns": [c.to_dict() for c in self.columns]} if self.columns else {})


NO_TIMELINE = Timeline()
"""Of what is no series, and of one of which nothing is known."""
