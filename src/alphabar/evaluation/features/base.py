"""A function from pictures to vectors, and the plainest one."""

from __future__ import annotations

import contextlib
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
from ...files import DamagedFile, load_tensors, save_tensors
from ..levels import spread

BLOCK = 250
SOME = 2000
SIDE = 32  # features of our own see pictures shrunk by whole factors, to less than twice this a side
SHRUNK = f"model space, shrunk to less than {2 * SIDE} pixels a side"


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
        return self.raw(images).astype(np.float64)

    def raw(self, images: np.ndarray) -> np.ndarray:
        """The same, as the network has them."""
        blocks = [self.embed(np.asarray(images[i : i + BLOCK])) for i in range(0, len(images), BLOCK)]
        return np.concatenate(blocks)

    def of_dataset(self, data: Dataset) -> np.ndarray:
        """The features of every picture of a data set, kept on disk by fingerprint and digest."""
        key = hashlib.sha256(f"{data.fingerprint} {self.digest} {self.preprocessing}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key[:20]}.safetensors"
        if data.fingerprint and path.exists():
            with contextlib.suppress(DamagedFile):
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
        f"{SHRUNK}, flattened",
        lambda images: shrunk(torch.from_numpy(spec.to_model(images))).flatten(1).numpy(),
    )


def shrunk(x_0: Tensor) -> Tensor:
    """Pictures of less than 64 pixels a side, by means over squares; small ones as they are."""
    factors = [max(1, side // SIDE) for side in x_0.shape[-2:]]
    return F.avg_pool2d(x_0, factors) if max(factors) > 1 else x_0


def standardised(features: Features, data: Dataset) -> Features:
    """The same ones, less their mean and over their mean standard deviation among training pictures.

    For features that have no scale of their own; up to 2,000 pictures tell.
    """
    real = features(data.images[spread(data.training, SOME)])
    mean, unit = real.mean(0), math.sqrt(real.var(0).mean()) or 1.0
    made_on = f"{data.fingerprint} {data.holdout}".encode() if data.fingerprint else mean.tobytes()
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
