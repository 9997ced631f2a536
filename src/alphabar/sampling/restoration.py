"""Restoring a sample from what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..model import Denoiser
from ..model.whole import for_samples
from .config import SampleConfig
from .executor import clip, through
from .inverse import Known, Observation, Operator, measure, misses
from .sampler import SampleStream, stream_samples, takes_what
from .samples import Samples

Misses = Callable[[np.ndarray], np.ndarray]
ROUNDS = 30  # of projection and clipping at the end of a restoration


def stream_restored(
    denoiser: Denoiser,
    operator: Operator,
    measured: np.ndarray,
    n: int | None = None,
    config: SampleConfig | None = None,
    *,
    method: str = "projection",
    strength: float = 1.0,
    **settings: Any,
) -> tuple[SampleStream, Misses]:
    """The samples of `restore`, to be drawn, and what says how far images (m, *shape) in data space are off.

    All that can be refused is refused at once.
    """
    measured = np.asarray(measured)
    denoiser = for_samples(denoiser, measured.shape if operator.shape is None else operator.shape)
    space, codec = denoiser.space, denoiser.codec
    wanted = measure(operator, np.zeros((1, *space.shape))).shape[1:]
    if measured.shape != wanted:
        raise ValueError(f"measured ({operator.name}) must have the shape {wanted}, got {measured.shape}")
    known = np.broadcast_to(operator.known.numpy(), wanted) if isinstance(operator, Known) else None
    measured = space.as_dtype(measured if known is None else np.where(known, measured, 0))
    observation = Observation.of_data(operator, measured, codec, method, strength)
    stream = stream_samples(denoiser, n, config, observation=observation, **settings)
    bounds = None if stream.config.clip is False else codec.bounds

    def images_of(x_0: np.ndarray) -> np.ndarray:
        if known is not None:
            return np.where(known, measured, codec.decode(x_0))
        if method == "projection":
            x_0 = np.stack([_agreeing(observation, x, bounds) for x in x_0])
        return codec.decode(x_0)

    stream.images_of = images_of
    return stream, lambda images: misses(operator, images, measured)


@takes_what(stream_restored)
def restore(*args: Any, **kwargs: Any) -> tuple[Samples, np.ndarray]:
    """n samples that agree with what was measured of one; and how far each is from it.

    Inpainting with `Known`, super-resolution with `downscaled`, colorization with `gray`, deblurring
    with `blurred`. Known pixels come back as they are, to the bit.

    Args:
        denoiser: the model.
        operator: A, of a sample in data space.
        measured: A of the sample, in data space (for `Known` the sample, whatever else is in it).
        n: how many, 1 unless given.
        method, strength: see `Observation`.
        config, settings: as for `sample`, and its indices, frames and progress.

    Returns:
        The samples, and sqrt(mean (A x - measured)^2) of each in units of the data.
    """
    stream, far_off = stream_restored(*args, **kwargs)
    samples = stream.collected()
    return samples, far_off(samples.images)


def _agreeing(observation: Observation, x_0: np.ndarray, bounds: Any) -> np.ndarray:
    """x_0 (*shape) projected onto the observation, and in turn onto the data's range, if there is one.

    Projecting leaves the range, and clipping the observation; in turn they come to what both hold for.
    """
    x = torch.from_numpy(x_0)[None]
    if bounds is None:
        return through(observation.on_x0(), x)[0].numpy()
    for _ in range(ROUNDS):
        x = through([*observation.on_x0(), clip(*bounds)], x)
    return x[0].numpy()
