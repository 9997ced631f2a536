"""A function from pictures to vectors, and the plainest one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Dataset, DataSpec
from ...data.prepare import cache_folder
from ...files import load_tensors, save_tensors
from ..levels import spread

BLOCK = 250
SOME = 2000
SIDE = 32  # features of our own see pictures at about this many pixels a side


@dataclass
class Features:
    """A function from pictures to vectors, with its provenance.

    Attributes:
        name: for people.
        digest: of the weights.
        preprocessing: what happens to a picture first, in words.
        about: how it was made, as JSON.
        embed: (n, C, H, W) in data space → (n, d).
    """

    name: str
    digest: str
    preprocessing: str
    embed: Callable[[np.ndarray], np.ndarray]
    about: dict[str, Any] = field(default_factory=dict)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, C, H, W) in data space → (n, d), float64."""
        blocks = [self.embed(np.asarray(images[i : i + BLOCK])) for i in range(0, len(images), BLOCK)]
        return np.concatenate(blocks).astype(np.float64)

    def of_dataset(self, data: Dataset) -> np.ndarray:
        """The features of every picture of a data set, kept on disk by fingerprint and digest."""
        key = hashlib.sha256(f"{data.fingerprint} {self.digest} {self.preprocessing}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key[:20]}.safetensors"
        if data.fingerprint and path.exists():
            return load_tensors(path)[0]["features"].numpy()
        found = self(data.images)
        if data.fingerprint:
            save_tensors(path, {"features": torch.from_numpy(found)}, {"features": self.digest})
        return found


def pixels(spec: DataSpec) -> Features:
    """The values themselves, in model space; of large pictures the means over squares."""
    return Features(
        "pixels",
        "pixels",
        f"model space, at most about {SIDE} pixels a side, flattened",
        lambda images: shrunk(torch.from_numpy(spec.to_model(images))).flatten(1).numpy(),
    )


def shrunk(x_0: Tensor) -> Tensor:
    """Pictures at about 32 pixels a side, by means over squares; small ones as they are."""
    factor = max(x_0.shape[-2:]) // SIDE
    return F.avg_pool2d(x_0, factor) if factor > 1 else x_0


def standardised(features: Features, data: Dataset) -> Features:
    """The same ones, less their mean and over their mean standard deviation among training pictures.

    For features that have no scale of their own; up to 2,000 pictures tell.
    """
    real = features(data.images[spread(data.training, SOME)])
    mean, unit = real.mean(0), math.sqrt(real.var(0).mean()) or 1.0
    made_on = data.fingerprint.encode() or mean.tobytes()
    return replace(
        features,
        digest=hashlib.sha256(features.digest.encode() + made_on).hexdigest(),
        preprocessing=f"{features.preprocessing}; then centred and scaled as of the data",
        embed=lambda images: (features.embed(images) - mean) / unit,
    )


def digest(net: nn.Module) -> str:
    """SHA-256 of a network's tensors, in the order of their names."""
    state = net.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
