"""Does the model use its conditions at all?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rng
from ..data.conditions.base import is_told
from ..data.conditions.place import PlaceCondition
from ..data.dataset import Dataset, spread
from ..errors import unknown
from ..model import Batched, Denoiser
from ..model.whole import of_crops
from ..sampling import sample
from .keys import CONDITIONING, OTHER_VALUE

LEVELS = 8
LEAST_GAIN, LEAST_Z = 0.01, 4.0


@dataclass(frozen=True)
class Conditioning:
    """What `check_conditioning` found out about one condition.

    Attributes:
        name: of the condition.
        n: how many samples were denoised under both values.
        times: the noise levels.
        gain: at each, how much larger E (x_0 - x0_hat)^2 is under a wrong value than under the right one, as
            a share.
        total: the same for all times together.
        z: that difference over its standard error, over samples.
        used: whether the condition clearly matters: total above 1 % and z above 4.
    """

    name: str
    n: int
    times: list[float]
    gain: list[float]
    total: float
    z: float
    used: bool


def check_conditioning(
    denoiser: Denoiser,
    images: np.ndarray | None = None,
    values: Mapping[str, Any] | None = None,
    name: str | None = None,
    n: int = 128,
    seed: int = 0,
) -> Conditioning:
    """Find out whether a condition matters to the model, by giving it wrong values.

    Each sample is noised to times spread over 1..T and denoised twice: under its own value, and under that of
    another sample with a different one. Its other conditions stay. A model that has learned what the values
    mean errs more under a wrong one; a model that ignores them, or was trained with meaningless values, errs
    the same.

    Args:
        denoiser: a model with conditions.
        images: (n, *shape) in data space, such as held-out ones; the model's own samples unless given.
        values: those of the conditions, as for `Denoiser.told`. Samples without a value of this one are left
            out.
        name: of the condition; the model's only one unless given.
        n: how many samples to draw, if no images are given.
        seed: of samples, noise and wrong values.
    """
    name = _name(denoiser, name)
    if (images is None) != (values is None):
        raise ValueError("give both images and the values of their conditions, or neither")
    if images is None or values is None:
        if n < 2:
            raise ValueError(f"the check needs 2 samples or more, got n = {n}")
        drawn = sample(of_crops(denoiser), n, seed=seed)
        images, values = drawn.images, drawn.told
    images, right, wrong = _told_both_ways(denoiser, np.asarray(images), values or {}, name, seed)
    schedule, x_0, batched = denoiser.schedule, denoiser.codec.encode(images), Batched(denoiser)
    times = np.unique(np.ceil((np.arange(LEVELS) + 0.5) / LEVELS * schedule.T))
    errors = np.empty((2, len(times), len(x_0)))
    for level, t in enumerate(times.tolist()):
        places = np.arange(len(x_0))
        eps = rng.normal(seed, "evaluation", places, CONDITIONING + level, shape=x_0.shape[1:])
        for which, told in enumerate((right, wrong)):
            errors[which, level] = batched.square_errors(x_0, t, eps, told)
    more = errors[1] - errors[0]
    by_sample = more.sum(0)
    total = float(more.sum() / errors[0].sum())
    z = float(by_sample.mean() / max(by_sample.std(ddof=1) / math.sqrt(len(by_sample)), 1e-30))
    gain = (more.sum(1) / errors[0].sum(1)).tolist()
    return Conditioning(name, len(x_0), times.tolist(), gain, total, z, total > LEAST_GAIN and z > LEAST_Z)


def check_conditions(
    denoiser: Denoiser, data: Dataset, n: int = 128, say: Callable[[str], None] = lambda text: None
) -> dict[str, Conditioning]:
    """`check_conditioning` of each condition of which the data have several values, by name; but for places,
    which are right by themselves, and may change little.

    Args:
        denoiser: the model.
        data: what it was trained on, or alike; held-out samples where there are 16 or more, else training
            samples.
        n: how many of them.
        say: told what is being done.
    """
    found = {}
    indices = spread(data.held_out if len(data.held_out) >= 16 else data.training, n)
    values = data.values_at(indices, denoiser.conditions)
    for name, own in values.items():
        if isinstance(denoiser.conditions[name], PlaceCondition):
            continue
        if len(np.unique(own[is_told(own)], axis=0)) > 1:
            say(f"what the {name} changes …")
            found[name] = check_conditioning(denoiser, data.images[indices], values, name)
    return found


def _name(denoiser: Denoiser, name: str | None) -> str:
    known = list(denoiser.conditions)
    if not known:
        raise ValueError("the check needs a model with conditions, and this one has none")
    if name is None and len(known) > 1:
        raise ValueError(f"say which condition to check: {', '.join(known)}")
    if name is not None and name not in known:
        raise unknown("condition", name, known)
    return known[0] if name is None else name


def _told_both_ways(
    denoiser: Denoiser, images: np.ndarray, values: Mapping[str, Any], name: str, seed: int
) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """The images with a value of this condition, all their values, and the same with wrong ones of this."""
    shape, given = denoiser.space.shape, values.get(name)
    if given is None or images.shape[1:] != shape or len(images) != len(given):
        got = "none" if given is None else str(len(given))
        raise ValueError(
            f"the check needs 2 samples or more of shape {shape} and the {name} of each, got {images.shape} "
            f"and {got} values"
        )
    denoiser.told(values, len(images))  # an error before anything runs
    chosen = np.flatnonzero(is_told(given)).tolist()
    right = {key: [column[i] for i in chosen] for key, column in values.items() if column is not None}
    encoded = denoiser.conditions[name].encode(right[name]).reshape(len(chosen), -1)
    _, number = np.unique(encoded, axis=0, return_inverse=True)
    number = number.ravel()
    if len(chosen) < 2 or number.max() == 0:
        raise ValueError(
            f"the check gives samples each other's {name}, so 2 must differ; all {len(chosen)} have the same"
        )
    u = rng.uniform(seed, "evaluation", np.arange(len(chosen)), OTHER_VALUE)
    others = [np.flatnonzero(number != own) for own in number]
    wrong = [right[name][other[int(share * len(other))]] for share, other in zip(u, others, strict=True)]
    return images[chosen], right, {**right, name: wrong}
