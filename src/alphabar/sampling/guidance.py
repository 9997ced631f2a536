"""Guidance: x0_hat pushed away from what a worse model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import check_whole, unknown
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

    The difference to the model itself, x0_hat - x0_good, changes slowly on the way: asked for anew at one in
    `every` of the times where guidance acts, and kept in between, it leaves evaluations for more steps (arXiv
    2408.11194).

    Attributes:
        scale: 1 is the model itself, exactly; 0 is x0_bad. Or name → scale.
        interval: (low, high): guide at times low < t <= high only (arXiv 2404.07724).
        rescale: how far, 0..1, each guided x0_hat is brought back to the standard deviation (over
            the sample) of x0_good: phi of sec. 3.4 of arXiv 2305.08891.
        by: an earlier or a smaller model, for autoguidance.
        every: 1 asks for x0_bad wherever guidance acts; n at the first of a plan's times where it does, and
            then at each n-th.
    """

    scale: float | Mapping[str, float] = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    by: Denoiser | None = None
    every: int = 1

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
        check_whole("the guidance's every", self.every, 1)
        if not self.acts and (self.interval or self.rescale or self.by is not None or self.every > 1):
            raise ValueError(
                "interval, rescale, every and another model act only where the guidance scale is not 1"
            )
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
        """Whether anything is changed at time t, or at each of several."""
        low, high = self.interval or (0.0, np.inf)
        t = np.asarray(t)
        return self.acts & (low < t) & (t <= high)

    def asks_at(self, times: Sequence[float]) -> np.ndarray:
        """At which of a plan's times x0_bad is asked for."""
        acts = self.acts_at(times)
        return acts & np.isin(times, np.asarray(times)[acts][:: self.every])

    def evaluations(self, times: Sequence[float]) -> int:
        """How many networks are asked at a plan's times, all together."""
        return len(times) + len(self.steps(())) * int(self.asks_at(times).sum())

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        by = None if self.by is None else self.by.digest
        interval = None if self.interval is None else list(self.interval)
        return {
            "scale": self.scale,
            "interval": interval,
            "rescale": self.rescale,
            "by": by,
            "every": self.every,
        }


def guided(denoiser: Denoiser, guidance: Guidance, times: Sequence[float] | None = None) -> Denoise:
    """The model under guidance, as a function (x_t, t, cond) → x0_hat for any plan.

    Args:
        denoiser: the model.
        guidance: the rule.
        times: of a plan, for `guidance.every`: the function is then for runs of this plan alone, each at a
            place of its own in batches of one size, and remembers the last difference at each place. Unless
            given, it asks anew wherever guidance acts.
    """
    if not guidance.acts:
        return denoiser
    other, steps = guidance.by, guided_steps(denoiser, guidance)
    scales = [scale for scale, _ in steps]
    if other is not None:
        _check_alike(denoiser, other)
        other = other.in_precision(denoiser.precision)

    anew = None if times is None or guidance.every == 1 else np.asarray(times)[guidance.asks_at(times)]
    kept: Tensor | float = 0.0

    def ask(x_t: Tensor, t: ArrayLike, cond: Cond) -> tuple[Tensor, Tensor]:
        """(x0_good, how far guidance takes x0_hat from it)."""
        if other is None:
            seen = _told_more_and_more(denoiser, x_t, t, cond, [names for _, names in steps])
        else:
            seen = [other(x_t, t, cond), denoiser(x_t, t, cond)]
        return seen[-1], _push(seen, scales)

    def x0_hat(x_t: Tensor, t: ArrayLike, cond: Cond | None = None) -> Tensor:
        nonlocal kept
        acts = guidance.acts_at(t)
        asks = acts if anew is None else acts & np.isin(t, anew)
        if asks.all():
            good, push = ask(x_t, t, cond or {})
        else:
            good, push = denoiser(x_t, t, cond), kept
            if asks.any():  # of a batch at several times: each gets the bytes that it would get alone
                at, asked = _column(asks, x_t), ask(x_t, t, cond or {})
                good, push = torch.where(at, asked[0], good), torch.where(at, asked[1], push)
        if not acts.any():
            return good
        if anew is not None and isinstance(push, Tensor):
            kept = push.detach()
        out = _rescaled(good + push, good, guidance.rescale)
        return out if acts.all() else torch.where(_column(acts, x_t), out, good)

    return x0_hat


def _column(which: np.ndarray, x: Tensor) -> Tensor:
    return torch.from_numpy(which).to(x.device).reshape(-1, *[1] * (x.ndim - 1))


LEARNED, MOST = 2.8e12, 3.0
"""Images trained on times parameters that make the scale 2, and the scale of young models (docs/log.md)."""
LEAST = 1.1  # is not worth its evaluations
BELOW = 0.8
"""The share of T above which guidance makes all samples of a class alike (arXiv 2404.07724)."""
EVERY = 5
"""One in how many of its times asks anew: the evaluations are worth more as steps (docs/log.md)."""


def own_guidance(denoiser: Denoiser) -> dict[str, Any] | None:
    """The guidance that suits a model of color pictures told a class, by what its training took.

    A model that has learned little draws what is vague, and guidance makes up for it: less the longer it
    was trained and the larger it is, as 1 + (2.8 10^12 / (images · parameters))^(1/4), at most 3. Others have
    none; digits lose by it (docs/log.md).

    Returns:
        `scale`, `interval` and `every`, as of `Guidance`; or None.
    """
    told = {condition.kind for condition in denoiser.conditions.values()}
    images = denoiser.about.get("images", 0)
    if not (denoiser.space.is_color and told == {"class"} and droppable(denoiser) and images):
        return None
    work = images * denoiser.num_parameters
    scale = round(min(1 + (LEARNED / work) ** 0.25, MOST), 1)
    if scale < LEAST:
        return None
    return {"scale": scale, "interval": [0.0, BELOW * denoiser.schedule.T], "every": EVERY}


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


def _push(seen: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
    """sum_i (w_i - 1) (x0^i - x0^(i - 1))."""
    push = torch.zeros_like(seen[0])
    for scale, bad, good in zip(scales, seen[:-1], seen[1:], strict=True):
        push = push + (scale - 1) * (good - bad)
    return push


def _rescaled(out: Tensor, good: Tensor, rescale: float) -> Tensor:
    """`out`, its deviation brought back to that of `good` as far as asked."""
    if not rescale:
        return out
    dims = tuple(range(1, out.ndim))
    ratio = good.std(dims, keepdim=True) / out.std(dims, keepdim=True).clamp(min=1e-8)
    return out * (1 + rescale * (ratio - 1))


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
