"""What is fitted to the data before training: the codec, and the scales that sampling goes by."""

from __future__ import annotations

import math
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from ..data.conditions.base import Condition
from ..data.dataset import Dataset, spread
from ..errors import unknown
from ..model.affine import Codec, known_of
from ..model.codec import fit_codec
from ..theory.scales import Scales, scales_of
from .config import TrainConfig

NUMBERS = 2**23  # of the samples that scales are measured on
_FITTED: WeakKeyDictionary[Dataset, tuple[Codec, Scales]] = WeakKeyDictionary()  # it may read all the data


def fitted_to(data: Dataset) -> tuple[Codec, Scales]:
    """The codec fitted to a data set, and the scales of 16 to 512 of its samples in model space; once."""
    if data not in _FITTED:
        codec = fit_codec(data.space, data.images)
        n = min(max(NUMBERS // math.prod(data.space.shape), 16), 512)
        images = data.images[spread(data.training, n)]
        x_0, known = codec.encode(images), known_of(codec, images)
        known = codec.known if known is None else known
        _FITTED[data] = codec, scales_of(x_0 if known is None else np.where(known, x_0, np.nan))
    return _FITTED[data]


def conditions_told(config: TrainConfig, data: Dataset) -> dict[str, Condition]:
    """What a network is told of these data, each hidden as often as the configuration says.

    ValueError for shares of conditions that the data don't have.
    """
    told = data.conditions if config.conditional else {}
    for name in config.condition_dropout if isinstance(config.condition_dropout, dict) else ():
        if name not in told:
            raise unknown("condition in condition_dropout", name, told)
    return {name: replace(condition, dropout=config.dropout_of(name)) for name, condition in told.items()}
