"""Guidance: x0_hat pushed away from what a worse model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import unknown
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

    With scales w_1, w_2, … of several conditions by name, in their order,

        x0_hat <- x0^0 + w_1 (x0^1 - x0^0) + w_2 (x0^2 - x0^1) + …

    where x0^0 is told all that has no scale, or the scale 1, and x0^i the first i others as well (eq. 3 of
    arXiv 2211.09800). Its score is that of p(x given the rest) p(c_1 given x)^w_1 p(c_2 given x, c_1)^w_2 …;
    for equal scales it is the formula above, and for 1 the model itself, however the conditions go together.

    Attributes:
        scale: 1 is the model itself, exactly; 0 is x0_bad. Or name → scale.
        interval: (low, high): guide at times low < t <= high only (arXiv 2404.07724).
        rescale: how far, 0..1, each guided x0_hat is brought back to the standard deviation (over
            the sample) of x0_good: phi of sec. 3.4 of arXiv 2305.08891.
        by: an earlier or a smaller model, for autoguidance.
    """

    scale: float | Mapping[str, float] = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    by: Denoiser | None = None

    def __post_init__(self) -> None:
        if isinstance(self.scale, Mapping):
            object.__setattr__(self, "scale", dict(self.scale))
        for scale in self._scales():
            if not (np.isfinite(scale) and scale >= 0):
                raise ValueError(f"the guidance scale must be at least 0 (1: none), got {scale}")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"the guidance's rescale must lie within 0..1, got {self.rescale}")
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            raise ValueError(f"the guidance interval must be two rising times, got {self.interval}")
        if not self.acts and (self.interval or self.rescale or self.by is not None):
            raise ValueError("interval, rescale and another model act only where the guidance scale is not 1")
        if self.by is not None and isinstance(self.scale, dict):
            raise ValueError(
                f"another model guides by all conditions at once: give one scale, got {self.scale}"
            )

    def _scales(self) -> list[float]:
        return list(self.scale.values()) if isinstance(self.scale, Mapping) else [self.scale]

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return any(scale != 1 for scale in self._scales())

    def steps(self, names: Sequence[str]) -> list[tuple[float, list[str]]]:
        """(scale, conditions that are told with it), one after another; of `names` for one scale of all."""
        if not isinstance(self.scale, Mapping):
            return [(self.scale, list(names))] if self.acts else []
        found: list[tuple[float, list[str]]] = []
        for name, scale in self.scale.items():
            if found and found[-1][0] == scale:
                found[-1][1].append(name)
            elif scale != 1:
                found.append((scale, [name]))
        return found

    def acts_at(self, t: ArrayLike) -> np.ndarray:
        """Whether more than one network is asked at time t, or at each of several."""
        low, high = self.interval or (0.0, np.inf)
        t = np.asarray(t)
        return self.acts & (low < t) & (t <= high)

    def evaluations(self, times: Sequence[float]) -> int:
        """How many networks are asked at these times, all together."""
        return sum(1 + len(self.steps(())) * int(self.acts_at(t)) for t in times)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        by = None if self.by is None else self.by.digest
        interval = None if self.interval is None else list(self.interval)
        return {"scale": self.scale, "interval": interval, "rescale": self.rescale, "by": by}


def guided(denoiser: Denoiser, guidance: Guidance) -> Denoise:
    """The model under guidance, as a function (x_t, t, cond) → x0_hat for any plan."""
    if not guidance.acts:
        return denoiser
    other, steps = guidance.by, guided_steps(denoiser, guidance)
    scales = [scale for scale, _ in steps]
    if other is not None:
        _check_alike(denoiser, other)
        other = other.in_precision(denoiser.precision)

    def x0_hat(x_t: Tensor, t: ArrayLike, cond: Cond | None = None) -> Tensor:
        acts = guidance.acts_at(t)
        if not acts.any():
            return denoiser(x_t, t, cond)
        if other is None:
            seen = _told_more_and_more(denoiser, x_t, t, cond or {}, [names for _, names in steps])
        else:
            seen = [other(x_t, t, cond), denoiser(x_t, t, cond)]
        out = _combined(seen, scales, guidance.rescale)
        if acts.all():
            return out
        # those outside the interval get the bytes that they would get without those inside
        acting = torch.from_numpy(acts).to(x_t.device).reshape(-1, *[1] * (x_t.ndim - 1))
        return torch.where(acting, out, denoiser(x_t, t, cond))

    return x0_hat


LEARNED, MOST = 7e12, 3.0
"""Images trained on times parameters that make the scale 2, and the scale of young models (docs/log.md)."""
LEAST = 1.1  # is not worth its evaluations
BELOW = 0.8
"""The share of T above which guidance makes all samples of a class alike (arXiv 2404.07724)."""


def own_guidance(denoiser: Denoiser) -> dict[str, Any] | None:
    """The guidance that suits a model of color pictures told a class, by what its training took.

    A model that has learned little draws what is vague, and guidance makes up for it: less the longer it
    was trained and the larger it is, as 1 + (7 10^12 / (images · parameters))^(1/4), at most 3. Others have
    none; digits lose by it (docs/log.md).

    Returns:
        `scale` and `interval`, as of `Guidance`; or None.
    """
    told = {condition.kind for condition in denoiser.conditions.values()}
    images = denoiser.about.get("images", 0)
    if not (denoiser.space.is_color and told == {"class"} and droppable(denoiser) and images):
        return None
    work = images * sum(p.numel() for p in denoiser.net.parameters())
    scale = round(min(1 + (LEARNED / work) ** 0.25, MOST), 1)
    return {"scale": scale, "interval": [0.0, BELOW * denoiser.schedule.T]} if scale >= LEAST else None


def droppable(denoiser: Denoiser) -> list[str]:
    """The conditions that training hid at times, so that the model also works without them."""
    return [name for name, condition in denoiser.conditions.items() if condition.dropout > 0]


def guided_steps(denoiser: Denoiser, guidance: Guidance) -> list[tuple[float, list[str]]]:
    """`Guidance.steps` for a model; ValueError unless it also works without these conditions."""
    if guidance.by is not None:
        return guidance.steps(())
    check_can_be_untold(denoiser, "guidance")
    can = droppable(denoiser)
    for name in guidance.scale if isinstance(guidance.scale, Mapping) else ():
        if name not in denoiser.conditions:
            raise unknown("condition", name, denoiser.conditions)
        if name not in can:
            raise ValueError(
                f"guidance by the {name} needs a model that was also trained without it "
                f"(condition_dropout above 0); this one was without {', '.join(can)}"
            )
    return guidance.steps(can)


def _told_more_and_more(
    denoiser: Denoiser, x_t: Tensor, t: ArrayLike, cond: Cond, steps: Sequence[Sequence[str]]
) -> list[Tensor]:
    """x0_hat told none of the conditions in `steps`, then those of the first, and so on up to all of them.

    From one batch, in which what is told all comes first.
    """
    hidden: list[str] = []
    told = [dict(cond)]
    for names in reversed(steps):
        hidden += names
        told.append({name: torch.zeros_like(v) if name in hidden else v for name, v in cond.items()})
    times = np.concatenate([t] * len(told)) if np.ndim(t) else t
    return [*denoiser(torch.cat([x_t] * len(told)), times, cat(*told)).chunk(len(told))][::-1]


def _combined(seen: Sequence[Tensor], scales: Sequence[float], rescale: float) -> Tensor:
    """x0^0 + sum_i w_i (x0^i - x0^(i - 1)), its deviation brought back to the last one's as far as asked."""
    out = seen[0]
    for scale, bad, good in zip(scales, seen[:-1], seen[1:], strict=True):
        out = out + scale * (good - bad)
    if rescale:
        dims = tuple(range(1, out.ndim))
        ratio = seen[-1].std(dims, keepdim=True) / out.std(dims, keepdim=True).clamp(min=1e-8)
        out = out * (1 + rescale * (ratio - 1))
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
