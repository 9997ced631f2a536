"""Features without training: layers with random weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn

from ... import rng
from ...data import Dataset
from ..keys import WEIGHTS
from .base import Features, codec_of, digest, shrunk, shrunk_words, sides, standardized

WIDTHS = (32, 64, 64)
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def untrained_features(data: Dataset) -> Features:
    """The means over all positions of three convolutions with ReLU and random weights: 64 numbers, at once.

    Weights are N(0, 2 / inputs) (arXiv 1502.01852), always the same ones; the second and the third layer
    halve the sides. For vectors the layers are linear. They are meant for a quick look at a few samples:
    docs/evaluation.md has figures.
    """
    codec, dimensions = codec_of(data), sides(data.space)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise((codec.shape[0], *WIDTHS))):
        layer = _layer(dimensions, a, b, stride=1 if i == 0 else 2).requires_grad_(False)
        shape = tuple(layer.weight.shape)
        drawn = rng.normal(0, "evaluation", i, WEIGHTS, shape=shape)
        layer.weight.copy_(torch.from_numpy(drawn * np.float32(math.sqrt(2 / math.prod(shape[1:])))))
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers)

    def embed(images: np.ndarray) -> np.ndarray:
        return net(shrunk(torch.from_numpy(codec.encode(images)))).flatten(2).mean(2).numpy()

    def embed_vectors(images: np.ndarray) -> np.ndarray:
        return net(torch.from_numpy(codec.encode(images))).numpy()

    chosen = embed if dimensions else embed_vectors
    return standardized(
        Features("an untrained network's", digest(net), shrunk_words(data.space), chosen), data
    )


def _layer(dimensions: int, a: int, b: int, stride: int) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear:
    if not dimensions:
        return nn.Linear(a, b, bias=False)
    return CONVOLUTIONS[dimensions](a, b, 3, stride=stride, padding=1, bias=False)
