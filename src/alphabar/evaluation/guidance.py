"""The guidance of a model by which its samples come nearest to the data."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from .. import rng
from ..data import Dataset
from ..data.dataset import spread
from ..model import Denoiser
from ..model.batched import batch_size, batches
from ..nn import UNet, ViT, blocks_of
from ..sampling.choices import choose_plan, usual_precision
from ..sampling.config import SampleConfig
from ..sampling.guidance import droppable
from ..sampling.sampler import stream_samples
from ..sampling.slots import Progress
from ..theory.gaussian import q_sample
from .keys import OWN_FEATURES
from .scores import frechet_distance

SCALES = (1.0, 1.5, 2.0)
"""Those that are measured; the last is the largest that is given."""
LEAST, LEAST_BY_FEW, FEW = 1.1, 1.2, 512
"""Less is none, for guidance takes evaluations; fewer samples than `FEW` err by 0.1 (docs/log.md)."""
WITHIN = (0.0, 0.7)
"""Shares of T between which it acts: in more noise it harms (arXiv 2404.07724, docs/sampling.md)."""
TOLD = {"class"}
"""The kinds of what color pictures are told for which it was shown to help (docs/log.md)."""
REFERENCE = 3000  # training samples
NOISED = 0.3  # the share of T at which the model looks at pictures


def evaluations(n: int) -> int:
    """How many `match_guidance` takes with n samples at each scale, at most."""
    return n * (14 + 20 + 20 + 20 + len(SCALES) + 1) + REFERENCE


def can_be_matched(denoiser: Denoiser) -> bool:
    """Whether it is a U-Net or ViT of color pictures that are told classes, and was also trained without.

    Digits lose by what is found for them (docs/log.md).
    """
    told = {condition.kind for condition in denoiser.conditions.values()}
    alike = denoiser.space.is_color and told == TOLD and isinstance(denoiser.net, UNet | ViT)
    return alike and bool(droppable(denoiser))


def match_guidance(
    denoiser: Denoiser, data: Dataset, n: int = 1024, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """The settings `scale` and `interval` of guidance by which samples come nearest to training samples.

    A model that has not learned enough draws samples that are too vague, and guidance makes up for that; of
    one that has, it would only take variety away. So the Fréchet distance in what the model itself sees in
    pictures (`own_features`) is measured at three scales, of samples from the same noises in as many steps,
    told the same, and the scale is where a parabola through the three is least. It is taken if that is nearer
    than without guidance, which leaves more steps for as many evaluations. No classifier is asked.

    Args:
        denoiser: the model.
        data: what it was trained on.
        n: samples at each scale.
        seed: of their noises.
        progress: as of `sample`.

    Returns:
        `scale`, from 1 (none) to 2, and `interval`, None where the scale is 1.
    """
    T = denoiser.schedule.T
    interval = [WITHIN[0] * T, WITHIN[1] * T]
    real = own_features(denoiser, data.take(spread(data.training, REFERENCE)).images)
    widths = real.std(0) + 1e-6 * real.std()
    real = real / widths
    told = data.values_at(spread(data.training, n), denoiser.conditions)

    def guided(scale: float) -> Denoiser:
        model = copy.copy(denoiser)
        model.guidance = {"scale": scale, "interval": None if scale == 1 else interval}
        return model

    # as many as `sample` would take by itself
    more, steps = (choose_plan(guided(s), SampleConfig()).num_evaluations for s in (1.0, SCALES[-1]))

    def distance(scale: float, steps: int) -> float:
        how = {"seed": seed, "cond": dict(told), "evaluations": steps, "progress": progress}
        drawn = stream_samples(guided(scale), len(next(iter(told.values()))), **how).collected()
        return frechet_distance(own_features(denoiser, drawn.images) / widths, real)

    scale, least = least_at([distance(scale, steps) for scale in SCALES])
    scale = round(scale, 1)
    if scale < (LEAST if n >= FEW else LEAST_BY_FEW) or distance(1.0, more) < least:
        scale = 1.0
    return guided(scale).guidance or {}


def own_features(denoiser: Denoiser, images: np.ndarray) -> np.ndarray:
    """What the middle one of a network's blocks makes of pictures noised to t = 0.3 T, told nothing.

    Returns:
        (n, channels): means over all places, or tokens. Such features tell what is where in a picture (arXiv
        2112.03126).
    """
    model = denoiser.in_precision(usual_precision(denoiser))
    t, x_0 = NOISED * denoiser.schedule.T, denoiser.codec.encode(images)
    eps = rng.normal(0, "evaluation", np.arange(len(x_0)), OWN_FEATURES, shape=denoiser.shape)
    seen: list[Any] = []
    rows: list[np.ndarray] = []
    hooks = [one.register_forward_hook(lambda _, __, out: seen.append(out)) for one in blocks_of(model.net)]
    try:
        for k, seats in batches(len(x_0), batch_size(denoiser.shape, denoiser.device)):
            seen.clear()
            x_t = torch.from_numpy(q_sample(denoiser.schedule, x_0[seats], t, eps[seats]).astype(np.float32))
            with torch.no_grad():
                model(x_t.to(denoiser.device), t, denoiser.told(None, len(seats)))
            middle = seen[len(seen) // 2].float()
            rows.append(middle.mean(1 if middle.ndim == 3 else (2, 3)).cpu().numpy()[: len(k)])
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(rows).astype(np.float64)


def least_at(distances: list[float]) -> tuple[float, float]:
    """Where within `SCALES` a parabola through distances at these is least, and what it is there; of one that
    has no valley the least of the three.

    >>> least_at([4.0, 1.0, 4.0]), least_at([1.0, 2.0, 2.5]), least_at([2.0, 1.0, 0.5])
    ((1.5, 1.0), (1.0, 1.0), (2.0, 0.5))
    """
    a, b, c = distances
    if (bend := a - 2 * b + c) <= 0:
        i = int(np.argmin(distances))
        return SCALES[i], distances[i]
    x = float(np.clip((a - c) / 2 / bend, -1, 1))  # in steps of the scale, from the middle one on
    return SCALES[1] + x * (SCALES[1] - SCALES[0]), b + x * (c - a) / 2 + x**2 * bend / 2
