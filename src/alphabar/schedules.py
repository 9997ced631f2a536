"""Noise schedules: the table alpha_bar_0 … alpha_bar_T that everything else is a function of.

`SCHEDULES` holds what there is by name: a new one is a function that gives a `Schedule`, and a row there.

>>> cosine(500).T
500
"""

from .theory.at import At
from .theory.schedule import SCHEDULES, Schedule

linear = Schedule.linear
cosine = Schedule.cosine
sigmoid = Schedule.sigmoid
from_betas = Schedule.from_betas
from_alpha_bar = Schedule.from_alpha_bar

__all__ = ["SCHEDULES", "At", "Schedule", "cosine", "from_alpha_bar", "from_betas", "linear", "sigmoid"]
