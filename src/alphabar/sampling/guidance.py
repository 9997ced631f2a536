"""Guidance: x0_hat pushed away from what a worse model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser
from .executor import Denoise

NO_CLASS = -1


@dataclass(frozen=True)
class Guidance:
    """x0_hat <- x0_bad + scale (x0_good - x0_bad).

    x0_good is the model's, given the class. x0_bad is the same model's without the class
    (classifier-free guidance, arXiv 2207.12598, whose w is scale - 1), or that of another, worse
    model `by` for the same class (autoguidance, arXiv 2406.02507). As x0_hat, eps_hat and the score
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

    def acts_at(self, t: float) -> bool:
        """Whether a second network is asked at time t."""
        low, high = self.interval or (0.0, np.inf)
        return self.scale != 1 and low < t <= high

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        by = None if self.by is None else self.by.digest
        interval = None if self.interval is None else list(self.interval)
        return {"scale": self.scale, "interval": interval, "rescale": self.rescale, "by": by}


def guided(denoiser: Denoiser, guidance: Guidance) -> Denoise:
    """The model under guidance, as a function (x_t, t, label) → x0_hat for any plan."""
    if guidance.scale == 1:
        return denoiser
    other = guidance.by
    if other is None:
        check_knows_no_class(denoiser, "guidance")
    else:
        _check_alike(denoiser, other)
        other = other.in_precision(denoiser.precision)

    def x0_hat(x_t: Tensor, t: float, label: Tensor | None) -> Tensor:
        if not guidance.acts_at(t):
            return denoiser(x_t, t, label)
        if other is not None:
            if label is not None and bool((label < 0).any()):
                check_knows_no_class(other, "label -1, no class,")
            good, bad = denoiser(x_t, t, label), other(x_t, t, label)
        else:  # both in one batch
            assert label is not None
            labels = torch.cat([label, torch.full_like(label, NO_CLASS)])
            good, bad = denoiser(torch.cat([x_t, x_t]), t, labels).chunk(2)
        out = bad + guidance.scale * (good - bad)
        if guidance.rescale:
            dims = tuple(range(1, out.ndim))
            ratio = good.std(dims, keepdim=True) / out.std(dims, keepdim=True).clamp(min=1e-8)
            out = out * (1 + guidance.rescale * (ratio - 1))
        return out

    return x0_hat


def check_knows_no_class(denoiser: Denoiser, what: str) -> None:
    """Raise ValueError unless the model has classes and was also trained without them."""
    if not denoiser.data.classes:
        raise ValueError(f"{what} needs a model with classes, and this one has none")
    if not denoiser.label_dropout:
        raise ValueError(
            f"{what} needs a model that also knows no class: train one with label_dropout above 0 "
            "(--set label_dropout=0.1), or guide by an earlier or smaller model"
        )


def _check_alike(good: Denoiser, bad: Denoiser) -> None:
    for what, a, b in (
        ("shape of samples", good.data.shape, bad.data.shape),
        ("normalisation", (good.data.offset, good.data.scale), (bad.data.offset, bad.data.scale)),
        ("classes", good.data.classes, bad.data.classes),
    ):
        if a != b:
            raise ValueError(f"the model to guide by has another {what}: {b}, not {a}")
    if not np.array_equal(good.schedule.alpha_bar, bad.schedule.alpha_bar):
        raise ValueError("the model to guide by has another schedule")
