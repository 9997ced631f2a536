"""What training minimizes, and how it draws the times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..model.conditions import Cond, take
from ..model.denoiser import Denoiser
from ..theory.at import At, namespace
from ..theory.gaussian import column, q_sample, x0_among
from ..theory.losses import loss_weight
from ..theory.parametrization import coefficients, target_coefficients
from ..theory.schedule import Schedule


class References(NamedTuple):
    """Samples that a batch is among: x_0 (n, …), |x_0|^2 (n,), and what the network is told of them."""

    x_0: Tensor
    squares: Tensor
    cond: Cond


class Draws(NamedTuple):
    """What is drawn for a batch: times t (B,), float64 or `At`, and noise eps of x_0's shape.

    Beside it, what is `known` of each sample if that differs, 1 and 0 of x_0's shape; and the references.
    """

    t: np.ndarray | At
    eps: Tensor
    known: Tensor | None = None
    references: References | None = None


CLEAR = 0.2
"""alpha_bar from which on a target is its own sample: there it has nine tenths of the weight among 4096
digits, and all of it among photographs (docs/log.md)."""

Objective = Callable[[Denoiser, str, Tensor, Cond, Draws], dict[str, Tensor]]


def denoise(denoiser: Denoiser, loss: str, x_0: Tensor, cond: Cond, draws: Draws) -> dict[str, Tensor]:
    """w(t) · mean (target - net)^2 for each sample, (B,): Algorithm 1 of arXiv 2006.11239.

    The target is the prediction's p x_0 + q eps, and w(t) the loss's weight in the network's space. The mean
    is over the numbers that samples have (`Denoiser.mean`); where one has none, the network sees 0. With
    references its gradient is that of the stable target, in which `stable_x0` is in the place of x_0.
    """
    schedule, prediction, eps = denoiser.schedule, denoiser.prediction, draws.eps
    at = schedule.at(draws.t)
    x_t = q_sample(schedule, x_0, at, eps)
    x_t = x_t if draws.known is None else x_t * draws.known
    p, q = target_coefficients(prediction, schedule, at)
    target = column(p, x_0) * x_0 + column(q, x_0) * eps
    net = denoiser.predict(x_t, at, cond)
    error = denoiser.mean((target - net).square(), draws.known)
    if draws.references is not None:
        moved = stable_x0(schedule, x_t, at, x_0, cond, draws.references) - x_0
        target = target + moved / column(coefficients(prediction, schedule, at).c_out, x_0)
        stable = denoiser.mean((target - net).square(), draws.known)
        error = stable + (error - stable).detach()
    return {"loss": column(loss_weight(loss, schedule, at, prediction), error) * error}


def stable_x0(
    schedule: Schedule, x_t: Tensor, at: At, x_0: Tensor, cond: Cond, references: References
) -> Tensor:
    """E[x_0 | x_t] of x_0 among the references that are told the same: STF (arXiv 2302.00670).

    x_0 is to be among them, and no more likely than others: then the mean of this given x_t is that of x_0,
    and its variance is smaller, most of all where noise hides which one it was. Where alpha_bar is `CLEAR` or
    more it is x_0: hardly another comes into question. What is told is to be encoded as zeros and ones.
    """
    noisy = at.alpha_bar < CLEAR
    if isinstance(noisy, Tensor):
        found = x0_among(schedule, x_t, at, references.x_0, _same(cond, references), references.squares)
        return torch.where(noisy.reshape(-1, *[1] * (x_0.ndim - 1)), found, x_0)
    found, rows = x_0.clone(), np.flatnonzero(noisy)
    if len(rows):
        some = _same(take(cond, rows), references)
        found[rows] = x0_among(schedule, x_t[rows], at.part(rows), references.x_0, some, references.squares)
    return found


def _same(cond: Cond, references: References) -> Tensor | None:
    """Whether each is told the same as each reference, (B, n): |c - c'|^2 = 0; None: nothing is told."""
    if not cond:
        return None
    ours, theirs = (torch.cat([of[name].flatten(1) for name in cond], 1) for of in (cond, references.cond))
    return ours.square().sum(1)[:, None] + theirs.square().sum(1) == 2 * ours @ theirs.T


OBJECTIVES: dict[str, Objective] = {"denoise": denoise}
"""By name: (denoiser, loss, x_0, cond, draws) → losses of each sample, by name; their sum is minimized."""


def uniform(u: Any, schedule: Schedule) -> Any:
    """Whole times, uniform on 1..T: floor(u T) + 1."""
    xp = namespace(u)
    return xp.clip(xp.floor(u * schedule.T), None, schedule.T - 1) + 1


TIMES: dict[str, Callable[[Any, Schedule], Any]] = {"uniform": uniform}
"""Densities of t by name: (u, uniform in [0, 1), and the schedule) → times; of arrays or of tensors."""
