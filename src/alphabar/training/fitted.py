"""What is fitted to the data before training: the codec, and the scales that sampling goes by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..data.conditions.base import Condition
from ..data.dataset import Dataset, spread
from ..errors import unknown
from ..model.affine import Codec, known_of
from ..model.codec import fit_codec
from ..theory.scales import HALF_LOST, Scales, half_lost, scales_of
from .config import TrainConfig
from .presets import resolve

NUMBERS = 2**23  # of the samples that scales are measured on


class Fitted(NamedTuple):
    """The codec of a data set, and what is measured in model space on 16 to 512 of its samples.

    Attributes:
        codec: fitted to all of it.
        scales: of its coarsest and its finest detail.
        shift: of the noise schedule, for which half of the variance is lost where it is for small
            photographs (`half_lost`); two digits of it, and at least 1: less never paid (docs/log.md).
    """

    codec: Codec
    scales: Scales
    shift: float


_FITTED: WeakKeyDictionary[Dataset, Fitted] = WeakKeyDictionary()  # it may read all the data


def config_for(
    data: Dataset,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """`resolve` for a data set, with a noise schedule that suits it."""
    shift = fitted_to(data).shift if data.space.shape[1:] else 1.0
    if not data.is_at_hand and (settings or {}).get("references") is None:
        settings = {**(settings or {}), "references": 0}  # samples come file by file: the next are others
    return resolve(data.space, data.conditions, len(data), preset, settings, known, shift)


def fitted_to(data: Dataset) -> Fitted:
    """What is fitted to a data set; once."""
    if data not in _FITTED:
        codec = fit_codec(data.space, data.images)
        n = min(max(NUMBERS // math.prod(data.space.shape), 16), 512)
        images = data.images[spread(data.training, n)]
        x_0, known = codec.encode(images), known_of(codec, images)
        known = codec.known if known is None else known
        x_0 = x_0 if known is None else np.where(known, x_0, np.nan)
        shift = float(f"{max(1.0, half_lost(x_0) / HALF_LOST):.2g}")
        _FITTED[data] = Fitted(codec, scales_of(x_0), shift)
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
