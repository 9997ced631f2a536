"""One executor for every plan."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..theory.plans import Plan, ancestral
from ..theory.schedule import Schedule

OnX0 = Callable[[Tensor], Tensor]
Denoise = Callable[[Tensor, float, Tensor | None], Tensor]


class Step(NamedTuple):
    """One row of a plan, done: from x_t at time t to x_s = mean + std z at time s."""

    t: float
    s: float
    x_t: Tensor
    x0_hat: Tensor
    mean: Tensor
    std: float
    x_s: Tensor


def trajectory(
    denoise: Denoise,
    plan: Plan,
    x: Tensor,
    noise: Callable[[int], Tensor],
    label: Tensor | None = None,
    on_x0: Sequence[OnX0] = (),
) -> Iterator[Step]:
    """Run a plan from x at plan.times[0], yielding each step.

    x <- A[k] x + sum_j B[k, j] h_(k-j) + C[k] noise(k), with h_k = x0_hat at times[k] (see `Plan`).

    Args:
        denoise: (x_t, t, label) → x0_hat; a `Denoiser` or any function.
        x: (B, …), the state at plan.times[0].
        noise: row → standard normal numbers of x's shape; asked only where C is not 0.
        label: passed on to `denoise`.
        on_x0: functions that x0_hat passes through, in order, such as `clip(-1, 1)`; and the result,
            where it is made of more than the last x0_hat.
    """
    history: deque[Tensor] = deque(maxlen=plan.B.shape[1] - 1)
    for k in range(plan.num_evaluations):
        t, s = float(plan.times[k]), float(plan.times[k + 1])
        with torch.no_grad():
            x0_hat = denoise(x, t, label)
            for act in on_x0:
                x0_hat = act(x0_hat)
            mean = float(plan.A[k]) * x + float(plan.B[k, 0]) * x0_hat
            for b, h in zip(plan.B[k, 1:], history, strict=False):
                mean = mean + float(b) * h
            history.appendleft(_remembered(plan, k, x, x0_hat))
            std = float(plan.C[k])
            x_s = mean + std * noise(k) if std else mean
            if s == 0 and (plan.A[k] or np.any(plan.B[k, 1:])):  # the result is not x0_hat itself
                for act in on_x0:
                    x_s = act(x_s)
        yield Step(t, s, x, x0_hat, mean, std, x_s)
        x = x_s


def _remembered(plan: Plan, k: int, x: Tensor, x0_hat: Tensor) -> Tensor:
    """x0_hat, or the eps_hat that goes with it, as the plan's history says."""
    if plan.history == "x0":
        return x0_hat
    bar = float(plan.alpha_bar[k])
    return (x - math.sqrt(bar) * x0_hat) / math.sqrt(1 - bar)


def clip(low: float, high: float) -> OnX0:
    """A function on x0_hat that keeps it within the data's range (in model space)."""
    return lambda x0_hat: x0_hat.clamp(low, high)


def threshold(low: float, high: float, share: float = 0.995) -> OnX0:
    """Dynamic thresholding (sec. 2.3 of arXiv 2205.11487): a function on x0_hat.

    Where more than 1 - share of a sample's values lie outside low..high, the sample is clipped to
    the range, as wide as it takes, that holds `share` of them, and shrunk back into low..high.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of values for thresholding must lie within 0..1, got {share}")
    middle, half = (low + high) / 2, (high - low) / 2

    def act(x0_hat: Tensor) -> Tensor:
        away = x0_hat - middle
        flat = away.flatten(1).abs()
        reach = flat.kthvalue(max(1, math.ceil(share * flat.shape[1] - 1e-9)), dim=1).values.clamp(min=half)
        reach = reach.reshape(-1, *[1] * (x0_hat.ndim - 1))
        return middle + away.clamp(-reach, reach) * (half / reach)

    return act


def p_sample(
    denoise: Denoise,
    schedule: Schedule,
    x_t: Tensor,
    t: float,
    z: Tensor,
    s: float | None = None,
    variance: str = "posterior",
    label: Tensor | None = None,
    on_x0: Sequence[OnX0] = (),
) -> Step:
    """One step of the notes' inference: x_t, t → mu_t, sigma_t and x_s = mu_t + sigma_t z.

    s is t - 1 unless given (Algorithm 2 of arXiv 2006.11239): a plan of one row.
    """
    plan = ancestral(schedule, (t, t - 1 if s is None else s), variance)
    return next(trajectory(denoise, plan, x_t, lambda _: z, label, on_x0))
