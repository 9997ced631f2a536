"""Edits of real samples: their noise, the way between two, and variations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import rng
from ..errors import check_whole, unknown
from ..model import Denoiser
from ..model.whole import for_samples
from ..theory.gaussian import q_sample
from ..theory.plans import inversion
from .choices import choose_plan, share_below
from .config import SampleConfig
from .sampler import SampleStream, stream_samples, takes_what
from .samples import Samples
from .slots import Job, Progress, Slots, steps_of
from .told import check_known, tell

INTERPOLATIONS = ("encode", "noise")
WAY_UP, WAY_DOWN = 100, 50  # evaluations: there and back is then off by 0.0005 to 0.003 (see `interpolate`)
SAMPLER_DOWN, SPACING_DOWN = "unipc", "log_snr"


def encode(
    denoiser: Denoiser,
    images: np.ndarray,
    *,
    cond: Mapping[str, Any] | None = None,
    evaluations: int = WAY_UP,
    progress: Progress | None = None,
) -> np.ndarray:
    """x_T of given samples: the noise from which a deterministic plan leads to them (DDIM inversion).

    The same differential equation, followed upwards from t = 1 (`inversion`), where a sample
    counts as its own noisy version; clipping would change it, so there is none.

    Args:
        denoiser: the model.
        images: (n, *shape) in data space.
        cond: what is told, as in `SampleConfig`; nothing unless given.
        evaluations: how many.
        progress: called with (done, total) evaluations of a batch.

    Returns:
        (n, *shape) float32 in model space, about standard normal.
    """
    shape = denoiser.space.shape
    if np.shape(images)[1:] != shape or not len(images):
        raise ValueError(f"images must have the shape (n, *{shape}), got {np.shape(images)}")
    plan = inversion(denoiser.schedule, evaluations)
    x = np.float32(np.sqrt(plan.alpha_bar[0])) * denoiser.codec.encode(np.asarray(images))
    numbers = np.arange(len(x))
    told = denoiser.told(tell(denoiser, numbers, 0, _told_or_nothing(denoiser, cond)), len(x))
    slots = Slots(denoiser, denoiser.shape, device=denoiser.device)
    jobs = (
        Job(plan, i, cond={name: value[i] for name, value in told.items()}, x=x[i]) for i in range(len(x))
    )
    encoded = np.empty_like(x)
    for finished in slots.run(jobs, progress, steps_of(range(len(x)), plan, slots.size)):
        for job, x_T in finished:
            encoded[job.index] = x_T
    return encoded


def stream_between(
    denoiser: Denoiser,
    a: np.ndarray,
    b: np.ndarray,
    n: int = 9,
    config: SampleConfig | None = None,
    *,
    method: str = "encode",
    t: float | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> SampleStream:
    """The samples of `interpolate`, to be drawn; all that can be refused is refused at once."""
    denoiser = for_samples(denoiser, np.shape(a))
    shape, schedule = denoiser.space.shape, denoiser.schedule
    if method not in INTERPOLATIONS:
        raise unknown("way to interpolate", method, INTERPOLATIONS)
    check_whole("n", n, 2)
    if t is not None and method == "encode":
        raise ValueError("t is for interpolation by noise; encoding goes all the way to T")
    config = SampleConfig.of(config, settings)
    config = SampleConfig.of(config, {"cond": _told_or_nothing(denoiser, config.cond)})
    for given in (a, b):
        if np.shape(given) != shape:
            raise ValueError(f"samples must have the model's shape {shape}, got {np.shape(given)}")
    start = float(schedule.T) if method == "encode" else schedule.T / 2 if t is None else float(t)
    config = _without_noise(denoiser, start, config)
    pair = np.stack([np.asarray(a), np.asarray(b)])
    w = np.linspace(0, 1, n).reshape(-1, *[1] * len(shape))
    if method == "encode":
        x_a, x_b = encode(denoiser, pair, cond=_of_both(denoiser, config.cond))
        x_t = slerp(x_a, x_b, w)
    else:
        x_a, x_b = denoiser.codec.encode(pair)
        eps = rng.normal(config.seed, "sample", 0, shape=denoiser.shape)
        x_t = q_sample(schedule, (1 - w) * x_a + w * x_b, start, eps)
    return stream_samples(denoiser, n, config, x_t=x_t, progress=progress)


@takes_what(stream_between)
def interpolate(*args: Any, **kwargs: Any) -> Samples:
    """n samples on the way from a to b, which are the first and the last, as the model sees them.

    The way down is UniPC in 50 evaluations even in log-SNR unless told otherwise: errors of eps_hat, where
    nothing is clipped, then come out at 0.4 to 0.7 of their size (with a cosine schedule at 40 times their
    size on `flow`, 130 times on `trailing`), and a sample that is encoded and brought back is off by 0.003
    or less (the ideal denoiser of N(0.3, 0.4^2), linear, cosine and sigmoid schedules).

    Args:
        denoiser: the model.
        a, b: samples, (*shape) in data space.
        n: how many.
        config, settings: as for `sample`; nothing is told unless given; a plan that adds noise is refused.
        method: `encode`: between their noises x_T, along the great circle (DDIM inversion, arXiv
            2010.02502). `noise`: between the two noised to t with the same noise (sec. 4.3 of arXiv
            2006.11239): the higher t is, the more of what is between comes from the model.
        t: of `noise`; T/2 unless given.
        progress: called with (done, total) evaluations of a batch.
    """
    return stream_between(*args, **kwargs).collected()


def _without_noise(denoiser: Denoiser, start: float, config: SampleConfig) -> SampleConfig:
    """The configuration with a plan from `start` that adds no noise."""
    if config.start is not None:
        raise ValueError("interpolation starts at T, or at t: give t instead of start")
    if config.plan is None:
        evaluations = share_below(start, denoiser.schedule.T, WAY_DOWN)
        usual = {"sampler": SAMPLER_DOWN, "spacing": SPACING_DOWN, "evaluations": evaluations}
        given = {name: value for name in usual if (value := getattr(config, name)) is not None}
        plan = choose_plan(denoiser, SampleConfig.of(config, {**usual, **given, "start": start}))
        dropped = dict.fromkeys(usual) | {"options": {}}
        config = SampleConfig.of(config, {**dropped, "plan": plan})
    elif config.plan.times[0] != start:
        raise ValueError(f"the plan starts at t = {config.plan.times[0]:g}, and the samples are at {start:g}")
    assert config.plan is not None
    if config.plan.stochastic:
        raise ValueError("interpolation needs a plan that adds no noise, such as unipc or ddim")
    return config


def slerp(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    """sin((1 - w) angle) / sin(angle) a + sin(w angle) / sin(angle) b: from a to b on an arc."""
    cosine = float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if angle < 1e-4:
        return (1 - w) * a + w * b
    return (np.sin((1 - w) * angle) * a + np.sin(w * angle) * b) / np.sin(angle)


def stream_variations(
    denoiser: Denoiser,
    images: np.ndarray,
    t: float,
    n: int = 8,
    config: SampleConfig | None = None,
    *,
    noisy: bool = False,
    frames: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[SampleStream, np.ndarray]:
    """The samples of `vary`, to be drawn, and the noisy inputs; what can be refused is refused at once."""
    images = np.asarray(images)
    denoiser = for_samples(denoiser, images.shape[1:])
    schedule, shape = denoiser.schedule, denoiser.shape if noisy else denoiser.space.shape
    check_whole("n", n, 1)
    if not 1 <= t <= schedule.T:
        raise ValueError(f"t must lie within 1..{schedule.T}, got {t:g}")
    if images.shape[1:] != shape or not len(images):
        raise ValueError(f"images must have the shape (m, *{shape}), got {images.shape}")
    config = SampleConfig.of(config, settings)
    if config.start is not None:
        raise ValueError("the way back starts at t: give t instead of start")
    if config.plan is None:
        config = SampleConfig.of(config, {"start": float(t)})
    elif config.plan.times[0] != t:
        raise ValueError(f"this plan starts at {config.plan.times[0]:g}, and t is {t:g}")
    given = images[0] if len(images) == 1 else np.repeat(images, n, axis=0)
    origin: dict[str, Any] = {"x_t" if noisy else "x_0": given}
    stream = stream_samples(denoiser, n * len(images), config, frames=frames, progress=progress, **origin)
    if noisy:
        return stream, images
    eps = rng.normal(config.seed, "sample", n * np.arange(len(images)), shape=denoiser.shape)
    return stream, q_sample(schedule, denoiser.codec.encode(images), t, eps)


@takes_what(stream_variations)
def vary(*args: Any, **kwargs: Any) -> tuple[Samples, np.ndarray]:
    """Variations of given samples: each is noised to time t and brought back, n times.

    Args:
        denoiser: the model.
        images: (m, *shape) in data space; in model space, already noisy, if `noisy`.
        t: the time, 1 … T: the higher it is, the more comes from the model.
        n: variations of each.
        config, settings: as for `sample`.
        noisy: take them as x_t, as they are.
        frames: states along the way to keep, as for `sample`.
        progress: called with (done, total) evaluations of a batch.

    Returns:
        m n samples, those of the first image first; and the noisy inputs (m, *shape) in model space, those
        that the first variation of each starts from.
    """
    stream, x_t = stream_variations(*args, **kwargs)
    return stream.collected(), x_t


def _told_or_nothing(denoiser: Denoiser, cond: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is told, and nothing for the rest; ValueError where the model always needs to be told."""
    found = dict(cond or {})
    check_known(denoiser, found)
    for name, condition in denoiser.conditions.items():
        if name not in found:
            condition.check_told(name, [None])
            found[name] = None
    return found


def _of_both(denoiser: Denoiser, cond: Mapping[str, Any]) -> Mapping[str, Any]:
    """What both ends are told; ValueError unless it is one value for all."""
    for name, given in cond.items():
        if not denoiser.conditions[name].is_one(given):
            raise ValueError(f"all samples between two are told the same {name}: give one value, not a list")
    return cond
