"""Samples that several processes draw together: each of them whole batches, in turn."""

from __future__ import annotations

import numpy as np

from ..world import World
from .sampler import SampleStream
from .samples import Samples


def share_of(numbers: np.ndarray, stream: SampleStream, world: World) -> np.ndarray:
    """Those of some samples' numbers that this process draws."""
    _, batches = np.unique(numbers // stream.facts["batch_size"], return_inverse=True)
    return numbers[batches % world.size == world.rank]


def drawn_together(stream: SampleStream, world: World) -> Samples:
    """All samples of a stream in their order, at the first process; at the others those that it drew."""
    blocks = list(stream.only(share_of(stream.indices, stream, world)))
    of_each = world.at_first([(block.indices, block.images) for block in blocks])
    place = {index: i for i, index in enumerate(stream.indices.tolist())}
    images = np.empty((len(place), *stream.space.shape), stream.space.dtype)
    for indices, drawn in (pair for pairs in of_each for pair in pairs):
        images[[place[index] for index in indices.tolist()]] = drawn
    where = range(len(place)) if not world.rank else []
    return stream.samples(list(where), images[list(where)], np.empty(0))
