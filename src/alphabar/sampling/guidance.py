"""Guidance: x0_hat pushed away from what a worse model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..model import Cond, Denoiser
from ..model.conditions import cat
from .executor import Denoise


@dataclass(frozen=True)
class Guidance:
    """x0_hat <- x0_bad + scale (x0_good - x0_bad).

    x0_good is the model's, told its conditions. x0_bad is the same model's, told nothing that training hid at
    times (classifier-free guidance, arXiv 2207.12598, whose w is scale - 1), or that of another, worse
    model `by`, told the same (autoguidance, arXiv 2406.02507). As x0_hat, eps_hat and the score
    are the same up to what depends on x_t and t alone, it is the same formula in each of them.

    Attributes:
        scale: 1 is the model itself, exactly; 0 is x0_bad.
        interval: (low, high): guide at times low < t <= high only (arXiv 2404.07724).
        rescale: how far, 0..1, each guided x0_hat is brought back to the standard deviation (over
            the sample) of x0_good: phi of sec. 3.4 of arXiv 2305.08891.
        by: an earlier or a smaller model, for autoguidance.
    """

    scale: float = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    by: Denoiser | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"the guidance scale must be at least 0 (1: none), got {self.scale}")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"the guidance's rescale must lie within 0..1, got {self.rescale}")
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            raise ValueError(f"the guidance interval must be two rising times, got {self.interval}")
        if self.scale == 1 and (self.interval or self.rescale or self.by is not None):
            raise ValueError("interval, rescale and another model act only where the guidance scale is not 1")

    def acts_at(self, t: ArrayLike) -> np.ndarray:
        """Whether a second network is asked at time t, or at each of several."""
        low, high = self.interval or (0.0, np.inf)
        t = np.asarray(t)
        return (self.scale != 1) & (low < t) & (t <= high)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        by = None if self.by is None else self.by.digest
        interval = None if self.interval is None else list(self.interval)
        return {"scale": self.scale, "interval": interval, "rescale": self.rescale, "by": by}


def guided(denoiser: Denoiser, guidance: Guidance) -> Denoise:
    """The model under guidance, as a function (x_t, t, cond) → x0_hat for any plan."""
    if guidance.scale == 1:
        return denoiser
    other = guidance.by
    if other is None:
        check_can_be_untold(denoiser, "guidance")
    else:
        _check_alike(denoiser, other)
        other = other.in_precision(denoiser.precision)

    def x0_hat(x_t: Tensor, t: ArrayLike, cond: Cond | None = None) -> Tensor:
        acts = guidance.acts_at(t)
        if not acts.any():
            return denoiser(x_t, t, cond)
        if other is None:
            good, bad = _told_and_untold(denoiser, x_t, t, cond or {})
        else:
            good, bad = denoiser(x_t, t, cond), other(x_t, t, cond)
        out = _combined(good, bad, guidance)
        if acts.all():
            return out
        # those outside the interval get the bytes that they would get without those inside
        acting = torch.from_numpy(acts).to(x_t.device).reshape(-1, *[1] * (x_t.ndim - 1))
        return torch.where(acting, out, denoiser(x_t, t, cond))

    return x0_hat


def droppable(denoiser: Denoiser) -> list[str]:
    """The conditions that training hid at times, so that the model also works without them."""
    return [name for name, condition in denoiser.conditions.items() if condition.dropout > 0]


def _told_and_untold(denoiser: Denoiser, x_t: Tensor, t: ArrayLike, cond: Cond) -> tuple[Tensor, Tensor]:
    """x0_hat with and without all that can be left untold, from one batch of both."""
    hidden = droppable(denoiser)
    untold = {name: torch.zeros_like(v) if name in hidden else v for name, v in cond.items()}
    times = np.concatenate([t, t]) if np.ndim(t) else t
    good, bad = denoiser(torch.cat([x_t, x_t]), times, cat(cond, untold)).chunk(2)
    return good, bad


def _combined(good: Tensor, bad: Tensor, guidance: Guidance) -> Tensor:
    """bad + scale (good - bad), with its deviation brought back as far as asked."""
    out = bad + guidance.scale * (good - bad)
    if guidance.rescale:
        dims = tuple(range(1, out.ndim))
        ratio = good.std(dims, keepdim=True) / out.std(dims, keepdim=True).clamp(min=1e-8)
        out = out * (1 + guidance.rescale * (ratio - 1))
    return out


def check_can_be_untold(denoiser: Denoiser, what: str) -> None:
    """Raise ValueError unless the model has a condition that training hid at times."""
    if not denoiser.conditions:
        raise ValueError(f"{what} needs a model that is told something, such as a class, and this one is not")
    if not droppable(denoiser):
        names = " and ".join(denoiser.conditions)
        raise ValueError(
            f"{what} needs a model that was also trained without the {names}: train one with "
            "condition_dropout above 0 (--set condition_dropout=0.1), or guide by an earlier or smaller model"
        )


def _check_alike(good: Denoiser, bad: Denoiser) -> None:
    for what, a, b in (
        ("another shape of samples", good.space.shape, bad.space.shape),
        ("another normalization", good.codec.to_dict(), bad.codec.to_dict()),
        ("other conditions", _meanings(good), _meanings(bad)),
    ):
        if a != b:
            raise ValueError(f"the model to guide by has {what}: {b}, not {a}")
    if not np.array_equal(good.schedule.alpha_bar, bad.schedule.alpha_bar):
        raise ValueError("the model to guide by has another schedule")


def _meanings(denoiser: Denoiser) -> dict[str, Any]:
    return {name: condition.encoding() for name, condition in denoiser.conditions.items()}
