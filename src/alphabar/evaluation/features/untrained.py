"""Features that nobody learned: convolutions with random weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn

from ...data import Dataset
from ...random import stream
from .base import SHRUNK, Features, digest, shrunk, standardised

WIDTHS = (32, 64, 64)
WEIGHTS = 2**34  # a stream of its own


def untrained(data: Dataset) -> Features:
    """The means over places of three convolutions with ReLU and random weights: 64 numbers, at no cost.

    Weights are N(0, 2 / (9 inputs)) (arXiv 1502.01852), the same ones for everybody; the second and the
    third layer halve the sides. Made for a look at few samples: docs/evaluation.md has figures.
    """
    spec = data.spec
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise((spec.shape[0], *WIDTHS))):
        conv = nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1, bias=False).requires_grad_(False)
        drawn = stream(0, "evaluation", WEIGHTS, i).standard_normal((b, a, 3, 3), np.float32)
        conv.weight.copy_(torch.from_numpy(drawn * np.float32(math.sqrt(2 / (9 * a)))))
        layers += [conv, nn.ReLU()]
    net = nn.Sequential(*layers)

    def embed(images: np.ndarray) -> np.ndarray:
        return net(shrunk(torch.from_numpy(spec.to_model(images)))).mean((2, 3)).numpy()

    return standardised(Features("an untrained network's", digest(net), SHRUNK, embed), data)
