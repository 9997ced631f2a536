"""One executor for every plan: the arithmetic of a row, and a run of all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..model.conditions import Cond
from ..theory.plans import Plan, ancestral
from ..theory.schedule import Schedule

OnX0 = Callable[[Tensor], Tensor]
Denoise = Callable[[Tensor, Any, Cond], Tensor]
"""(x_t (B, …), t: one time or one a sample, what is told) → x0_hat; a `Denoiser` or any function."""
Factor = float | Tensor


class NotFinite(ValueError):
    """A sample that the network, or a plan, took beyond all numbers."""


class Row(NamedTuple):
    """What a row of a plan multiplies by: numbers, or columns (B, 1, …) of a row for each sample.

    Attributes:
        A, C: of x and of the noise.
        B: of the predictions, the newest first.
        p, q: the prediction is remembered as p x + q x0_hat.
    """

    A: Factor
    B: tuple[Factor, ...]
    C: Factor
    p: Factor
    q: Factor


def row_of(plan: Plan, k: int) -> Row:
    """Row k of a plan as numbers. Of the predictions before the first row there is nothing to add."""
    p, q = 0.0, 1.0
    if plan.history == "eps":  # eps_hat = (x - sqrt(alpha_bar) x0_hat) / sqrt(1 - alpha_bar)
        bar = float(plan.alpha_bar[k])
        p, q = 1 / math.sqrt(1 - bar), -math.sqrt(bar / (1 - bar))
    return Row(float(plan.A[k]), tuple(plan.B[k, : k + 1].tolist()), float(plan.C[k]), p, q)


def as_columns(rows: Sequence[Row | None], x: Tensor) -> Row:
    """A row for each sample of x (B, …), as columns; None is a row of zeros."""
    blank = Row(0.0, (0.0,), 0.0, 0.0, 0.0)
    rows = [row or blank for row in rows]
    longest = max(len(row.B) for row in rows)

    def column(values: Iterable[Factor]) -> Tensor:
        return x.new_tensor(list(values)).reshape(-1, *[1] * (x.ndim - 1))

    B = tuple(column(row.B[j] if j < len(row.B) else 0.0 for row in rows) for j in range(longest))
    A, C, p, q = (column(getattr(row, name) for row in rows) for name in ("A", "C", "p", "q"))
    return Row(A, B, C, p, q)


def advance(
    x: Tensor, x0_hat: Tensor, history: Sequence[Tensor], row: Row, z: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, x_s, h): one row, x_s = mean + C z with mean = A x + B_0 x0_hat + sum_j B_j history_(j-1).

    h is what to put in front of the history. Numbers and columns give the same bits.

    Args:
        x: (B, …), the state at time t.
        x0_hat: the prediction from it.
        history: what was remembered of the predictions before, the newest first.
        row: the factors.
        z: standard normal numbers of x's shape, where C is not 0.
    """
    mean = row.A * x + row.B[0] * x0_hat
    for b, h in zip(row.B[1:], history, strict=False):
        mean = _plus(mean, b, h)
    x_s = mean if z is None else _plus(mean, row.C, z)
    return mean, x_s, _plus(row.q * x0_hat, row.p, x)


def _plus(y: Tensor, factor: Factor, h: Tensor) -> Tensor:
    """y + factor h; y itself, to the bit, where the factor is 0, whatever h is."""
    if isinstance(factor, Tensor):
        return torch.where(factor != 0, y + factor * h, y)
    return y + factor * h if factor else y


def ends_in_a_mixture(plan: Plan, k: int) -> bool:
    """Whether row k ends clean with more than the last x0_hat: functions on x0_hat act on it too."""
    return bool(plan.times[k + 1] == 0 and (plan.A[k] or plan.B[k, 1 : k + 1].any()))


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
    cond: Cond | None = None,
    on_x0: Sequence[OnX0] = (),
) -> Iterator[Step]:
    """Run a plan from x at plan.times[0], yielding each step.

    x <- A[k] x + sum_j B[k, j] h_(k-j) + C[k] noise(k), with h_k = x0_hat at times[k] (see `Plan`).

    Args:
        denoise: (x_t, t, cond) → x0_hat.
        plan: the plan.
        x: (B, …), the state at plan.times[0].
        noise: row → standard normal numbers of x's shape; asked only where C is not 0.
        cond: what the samples are told, passed on to `denoise`.
        on_x0: functions that x0_hat passes through, in order, such as `clip(-1, 1)`; and the result,
            where it is made of more than the last x0_hat.
    """
    cond, history = dict(cond or {}), []
    for k in range(plan.num_evaluations):
        t, s = float(plan.times[k]), float(plan.times[k + 1])
        with torch.no_grad():
            predicted = denoise(x, t, cond)
            if not predicted.isfinite().all():
                raise NotFinite(f"x0_hat {not_finite(k, plan)}")
            x0_hat = through(on_x0, predicted)
            row = row_of(plan, k)
            mean, x_s, h = advance(x, x0_hat, history, row, noise(k) if row.C else None)
            history = [h, *history][: plan.B.shape[1] - 1]
            if ends_in_a_mixture(plan, k):
                x_s = through(on_x0, x_s)
        yield Step(t, s, x, x0_hat, mean, float(plan.C[k]), x_s)
        x = x_s


def not_finite(k: int, plan: Plan) -> str:
    """What to say of a prediction that holds NaN or infinity, in row k."""
    return (
        f"is not finite (NaN or infinity) at evaluation {k + 1} of {plan.num_evaluations}, "
        f"t = {plan.times[k]:g}: the model's weights are damaged or have diverged (alphabar diagnose tells "
        "more), or guidance or strength is too large"
    )


def through(acts: Sequence[OnX0], x_0: Tensor) -> Tensor:
    """x_0 after each function in turn."""
    for act in acts:
        x_0 = act(x_0)
    return x_0


def clip(low: Any, high: Any) -> OnX0:
    """A function on x0_hat that keeps it within the data's range in model space: numbers, or (C, 1, …)."""
    if np.ndim(low) == np.ndim(high) == 0:
        return lambda x0_hat: x0_hat.clamp(float(low), float(high))
    return lambda x0_hat: x0_hat.clamp(_like(low, x0_hat), _like(high, x0_hat))


def threshold(low: Any, high: Any, share: float = 0.995) -> OnX0:
    """Dynamic thresholding (sec. 2.3 of arXiv 2205.11487): a function on x0_hat.

    Where more than 1 - share of a sample's values lie outside low..high, the sample is clipped to
    the range, as wide as it takes, that holds `share` of them, and shrunk back into low..high. Where
    channels have ranges of their own, distances count in halves of each.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of values for thresholding must lie within 0..1, got {share}")

    def act(x0_hat: Tensor) -> Tensor:
        bottom, top = _like(low, x0_hat), _like(high, x0_hat)
        middle, half = (bottom + top) / 2, (top - bottom) / 2
        away = (x0_hat - middle) / half
        flat = away.flatten(1).abs()
        reach = flat.kthvalue(max(1, math.ceil(share * flat.shape[1] - 1e-9)), dim=1).values.clamp(min=1)
        reach = reach.reshape(-1, *[1] * (x0_hat.ndim - 1))
        shrunk = middle + away.clamp(-reach, reach) * (half / reach)
        return torch.where(reach > 1, shrunk, x0_hat.clamp(bottom, top))

    return act


def _like(bound: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(bound, dtype=x.dtype, device=x.device)


def p_sample(
    denoise: Denoise,
    schedule: Schedule,
    x_t: Tensor,
    t: float,
    z: Tensor,
    s: float | None = None,
    variance: Literal["posterior", "beta"] = "posterior",
    cond: Cond | None = None,
    on_x0: Sequence[OnX0] = (),
) -> Step:
    """One step of the notes' inference: x_t, t → mu_t, sigma_t and x_s = mu_t + sigma_t z.

    s is t - 1 unless given (Algorithm 2 of arXiv 2006.11239): a plan of one row.
    """
    plan = ancestral(schedule, (t, t - 1 if s is None else s), variance)
    return next(trajectory(denoise, plan, x_t, lambda _: z, cond, on_x0))
