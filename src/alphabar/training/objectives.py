"""What training minimizes, and how it draws the times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..model.conditions import Cond
from ..model.denoiser import Denoiser
from ..theory.at import At, namespace
from ..theory.gaussian import column, q_sample
from ..theory.losses import loss_weight
from ..theory.parametrization import target_coefficients
from ..theory.schedule import Schedule


class Draws(NamedTuple):
    """What is drawn for a batch: times t (B,), float64 or `At`, and noise eps of x_0's shape.

    Beside it, what is `known` of each sample if that differs: 1 and 0 of x_0's shape.
    """

    t: np.ndarray | At
    eps: Tensor
    known: Tensor | None = None


Objective = Callable[[Denoiser, str, Tensor, Cond, Draws], dict[str, Tensor]]


def denoise(denoiser: Denoiser, loss: str, x_0: Tensor, cond: Cond, draws: Draws) -> dict[str, Tensor]:
    """w(t) · mean (target - net)^2 for each sample, (B,): Algorithm 1 of arXiv 2006.11239.

    The target is the prediction's p x_0 + q eps, and w(t) the loss's weight in the network's space. The mean
    is over the numbers that samples have (`Denoiser.mean`); where one has none, the network sees 0.
    """
    schedule, prediction, eps = denoiser.schedule, denoiser.prediction, draws.eps
    at = schedule.at(draws.t)
    x_t = q_sample(schedule, x_0, at, eps)
    x_t = x_t if draws.known is None else x_t * draws.known
    p, q = target_coefficients(prediction, schedule, at)
    target = column(p, x_0) * x_0 + column(q, x_0) * eps
    error = denoiser.mean((target - denoiser.predict(x_t, at, cond)).square(), draws.known)
    return {"loss": column(loss_weight(loss, schedule, at, prediction), error) * error}


OBJECTIVES: dict[str, Objective] = {"denoise": denoise}
"""By name: (denoiser, loss, x_0, cond, draws) → losses of each sample, by name; their sum is minimized."""


def uniform(u: Any, schedule: Schedule) -> Any:
    """Whole times, uniform on 1..T: floor(u T) + 1."""
    xp = namespace(u)
    return xp.clip(xp.floor(u * schedule.T), None, schedule.T - 1) + 1


TIMES: dict[str, Callable[[Any, Schedule], Any]] = {"uniform": uniform}
"""Densities of t by name: (u, uniform in [0, 1), and the schedule) → times; of arrays or of tensors."""
