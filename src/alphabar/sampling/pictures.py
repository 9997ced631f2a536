"""Work on real pictures: their noise, the way between two, and the rest of one that is half known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..denoiser import Denoiser
from ..errors import unknown
from ..theory.plans import Plan, inversion
from .guidance import NO_CLASS
from .measurements import Known, Measurement, Operator, measured_of
from .sampler import Samples, choose_plan, labels_for, sample
from .slots import run_plan, sample_noise

INTERPOLATIONS = ("encode", "noise")
ENCODE_STEPS = 50
NOT_OF_PLANS = ("clip", "threshold", "precision", "guidance", "measured", "frames", "progress")
ROUNDS = 30  # of projection and clipping at the end of a restoration


def encode(
    denoiser: Denoiser,
    images: np.ndarray,
    *,
    label: int | Sequence[int] | None = None,
    steps: int = ENCODE_STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """x_T of given pictures: the noise from which a deterministic plan leads to them (DDIM inversion).

    The same differential equation, followed upwards from t = 1 (`inversion`), where a picture
    counts as its own noisy version; clipping would change it, so there is none.

    Args:
        denoiser: the model.
        images: (n, C, H, W) in data space.
        label: class of all or of each; none where the model knows that, unless given.
        steps: evaluations.
        progress: called with (done, total) evaluations.

    Returns:
        (n, C, H, W) float32 in model space, about standard normal.
    """
    spec, schedule = denoiser.data, denoiser.schedule
    if np.ndim(images) != 4 or np.shape(images)[1:] != spec.shape or not len(images):
        raise ValueError(f"images must have the shape (n, *{spec.shape}), got {np.shape(images)}")
    plan = inversion(schedule, steps)
    x = np.sqrt(plan.alpha_bar[0]) * spec.to_model(np.asarray(images))
    numbers = np.arange(len(x))
    labels = labels_for(denoiser, numbers, 0, _class_or_none(denoiser, label))
    encoded, _ = run_plan(
        denoiser, plan, lambda z, where: x[where], numbers, 0, spec.shape, labels,
        progress=progress, device=denoiser.device,
    )  # fmt: skip
    return encoded


def interpolate(
    denoiser: Denoiser,
    a: np.ndarray,
    b: np.ndarray,
    n: int = 9,
    *,
    method: str = "encode",
    t: float | None = None,
    seed: int = 0,
    label: int | None = None,
    **how: Any,
) -> Samples:
    """n pictures on the way from a to b, both among them as the model sees them.

    Args:
        denoiser: the model.
        a, b: pictures, (C, H, W) in data space.
        n: how many.
        method: `encode`: between their noises x_T, along the great circle (DDIM inversion, arXiv
            2010.02502). `noise`: between the two noised to t with the same noise (sec. 4.3 of arXiv
            2006.11239), where more of what is between is the model's the higher t is.
        t: of `noise`; T/2 unless given.
        seed: of that noise.
        label: class of all; none where the model knows that, unless given.
        how: as for `sample`: steps, sampler, grid, clip, …; a plan that adds noise is refused.
    """
    spec, schedule = denoiser.data, denoiser.schedule
    if method not in INTERPOLATIONS:
        raise unknown("way to interpolate", method, INTERPOLATIONS)
    if n < 2:
        raise ValueError(f"n must be at least 2, the two pictures, got {n}")
    if t is not None and method == "encode":
        raise ValueError("t is for interpolation by noise; encoding goes all the way to T")
    label = _class_or_none(denoiser, label)
    for picture in (a, b):
        if np.shape(picture) != spec.shape:
            raise ValueError(f"pictures must have the model's shape {spec.shape}, got {np.shape(picture)}")
    start = float(schedule.T) if method == "encode" else schedule.T / 2 if t is None else float(t)
    plan, how = _plan_from(denoiser, start, how)
    pair = np.stack([np.asarray(a), np.asarray(b)])
    w = np.linspace(0, 1, n).reshape(-1, 1, 1, 1)
    if method == "encode":
        x_a, x_b = encode(denoiser, pair, label=label)
        x_t = slerp(x_a, x_b, w)
    else:
        x_a, x_b = spec.to_model(pair)
        bar = float(schedule.alpha_bar_at(start))
        eps = sample_noise(seed, 0, 0, spec.shape)
        x_t = np.sqrt(bar) * ((1 - w) * x_a + w * x_b) + np.sqrt(1 - bar) * eps
    return sample(denoiser, n, seed=seed, label=label, plan=plan, x_t=x_t, **how)


def _plan_from(denoiser: Denoiser, start: float, how: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
    """A plan that adds no noise, from `start`, as `how` asks for; and the rest of `how`."""
    rest = {name: value for name, value in how.items() if name in NOT_OF_PLANS}
    wanted = {name: value for name, value in how.items() if name not in NOT_OF_PLANS}
    plan = wanted.pop("plan", None)
    if plan is None:
        plan = choose_plan(denoiser, **{"sampler": "unipc", "start": start, **wanted})
    elif wanted:
        raise ValueError(f"a plan has its own {', '.join(wanted)}: give it alone")
    elif plan.times[0] != start:
        raise ValueError(f"the plan starts at t = {plan.times[0]:g}, and the pictures are at {start:g}")
    if plan.stochastic:
        raise ValueError("interpolation needs a plan that adds no noise, such as unipc or ddim")
    return plan, rest


def slerp(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    """sin((1 - w) angle) / sin(angle) a + sin(w angle) / sin(angle) b: from a to b on an arc."""
    cosine = float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if angle < 1e-4:
        return (1 - w) * a + w * b
    return (np.sin((1 - w) * angle) * a + np.sin(w * angle) * b) / np.sin(angle)


def restore(
    denoiser: Denoiser,
    operator: Operator,
    measured: np.ndarray,
    n: int | None = None,
    *,
    method: str = "projection",
    strength: float = 1.0,
    **how: Any,
) -> tuple[Samples, np.ndarray]:
    """n pictures that agree with what was measured of one; and how far each is from it.

    Inpainting with `Known`, super-resolution with `downscaled`, colourisation with `grey`, deblurring
    with `blurred`. Known pixels come back as they are, to the bit.

    Args:
        denoiser: the model.
        operator: A.
        measured: A of the picture, in data space (for `Known` the picture, whatever else is in it).
        n: how many, 1 unless given.
        method, strength: see `Measurement`.
        how: as for `sample`.

    Returns:
        The samples, and sqrt(mean (A x - measured)^2) of each in units of the data.
    """
    spec = denoiser.data
    measured = np.asarray(measured)
    wanted = measured_of(operator, None, spec).shape
    if measured.shape != wanted:
        raise ValueError(f"measured ({operator.name}) must have the shape {wanted}, got {measured.shape}")
    if measured.dtype != spec.dtype:
        measured = spec.to_data(spec.to_model(measured))
    y = spec.to_model(measured)
    if isinstance(operator, Known):
        y = np.where(operator.known.numpy(), y, np.float32(0))
    known = Measurement(operator, y, method, strength)
    samples = sample(denoiser, n, measured=known, **how)
    if isinstance(operator, Known):
        images = np.where(operator.known.numpy(), measured, samples.images)
    else:
        images = spec.to_data(
            np.stack([_agreeing(known, x, spec.clip_range) for x in spec.to_model(samples.images)])
        )
    samples = replace(samples, images=images)
    return samples, spec.scale * known.error(spec.to_model(samples.images))


def _agreeing(known: Measurement, x_0: np.ndarray, low_high: tuple[float, float] | None) -> np.ndarray:
    """x_0 (C, H, W) after projections onto the measurement and the data's range in turn.

    Projecting leaves the range, and clipping the measurement; in turn they come to what both hold for.
    """
    if known.method == "gradient":
        return x_0
    x = torch.from_numpy(x_0)[None]
    for _ in range(ROUNDS):
        for act in known.on_x0():
            x = act(x)
        x = x if low_high is None else x.clamp(*low_high)
    return x[0].numpy()


def _class_or_none(denoiser: Denoiser, label: Any) -> Any:
    """The label, or no class where the model knows that."""
    if label is not None or not denoiser.data.classes:
        return label
    if not denoiser.label_dropout:
        raise ValueError("this model always needs a class: give one")
    return NO_CLASS
