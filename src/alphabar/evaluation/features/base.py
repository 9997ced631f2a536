"""A function from samples to vectors, and the simplest one: pixels."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...data import Dataset, Space, spread
from ...data.preparing.preparation import cache_folder
from ...files import DamagedFile, load_tensors, save_tensors
from ...model import Codec, fit_codec

Say = Callable[[str], None]

BLOCK = 250
SOME = 2000


def silent(message: str) -> None:
    """The `Say` that says nothing."""


@dataclass
class Features:
    """A function from samples to vectors, with its provenance.

    Attributes:
        name: for people.
        digest: of the weights.
        preprocessing: what is done to a sample first, in words.
        embed: (n, *shape) in data space → (n, d).
        about: how it was made, as JSON.
        kept: whether a data set's features are worth keeping on disk.
    """

    name: str
    digest: str
    preprocessing: str
    embed: Callable[[np.ndarray], np.ndarray]
    about: dict[str, Any] = field(default_factory=dict)
    kept: bool = True

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, *shape) in data space → (n, d), float64."""
        return self.raw(images).astype(np.float64)

    def raw(self, images: np.ndarray) -> np.ndarray:
        """The same, in the network's own type."""
        blocks = [self.embed(np.asarray(images[i : i + BLOCK])) for i in range(0, len(images), BLOCK)]
        return np.concatenate(blocks)

    def of_dataset(self, data: Dataset) -> np.ndarray:
        """The features of every sample of a data set, kept on disk by fingerprint and digest."""
        if not (self.kept and data.fingerprint):
            return self.raw(data.images)
        key = hashlib.sha256(f"{data.fingerprint} {self.digest} {self.preprocessing}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key[:20]}.safetensors"
        if path.exists():
            with contextlib.suppress(DamagedFile):
                return load_tensors(path)[0]["features"].numpy()
        found = self.raw(data.images)
        save_tensors(path, {"features": torch.from_numpy(found)}, {"features": self.digest})
        return found


def pixel_features(data: Dataset) -> Features:
    """The values in model space, of large samples the means over blocks; of tables, `row_features`."""
    if data.space.columns:
        return row_features(data)
    codec = codec_of(data)
    return Features(
        "pixels" if data.space.kind == "picture" else "values",
        "pixels",
        f"{shrunk_words(data.space)}, flattened",
        lambda images: shrunk(torch.from_numpy(codec.encode(images))).flatten(1).numpy(),
        kept=False,
    )


def row_features(data: Dataset) -> Features:
    """The rows of a table, such that |a - b|^2 is the sum over columns of how far two values are apart.

    For numbers and dates that is the squared difference of their ranks among the training rows, from 0 to 1;
    for categories 1 if they differ. A missing category is one of its own; a missing number has the rank 1/2,
    and 1 is added where only one of two is missing.
    """
    rows = np.asarray(data.images[data.training])
    ranks = []
    for values, column in zip(rows.T, data.space.columns, strict=True):
        known, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        middle = np.cumsum(counts) - (counts + 1) / 2
        ranks.append(None if column.kind == "category" else (known, middle / max(counts.sum() - 1, 1)))

    def embed(rows: np.ndarray) -> np.ndarray:
        found = []
        for values, rank, column in zip(rows.T, ranks, data.space.columns, strict=True):
            absent = np.isnan(values)
            if rank is None:
                codes = np.where(absent, len(column.names), values)[:, None]
                found.append((codes == np.arange(len(column.names) + 1)) / math.sqrt(2))
            else:
                place = np.interp(values, *rank) if len(rank[0]) else values
                found.append(np.stack([np.where(absent, 0.5, place), absent], 1))
        return np.concatenate(found, 1).astype(np.float32)

    about = "numbers as their ranks from 0 to 1, categories as 0 or 1"
    made_on = hashlib.sha256(f"rows {data.fingerprint} {data.holdout}".encode()).hexdigest()
    return Features("rows", made_on, about, embed, kept=False)


def codec_of(data: Dataset) -> Codec:
    """The codec that features use, fitted to up to 2,000 training samples of the data."""
    return fit_codec(data.space, data.images[spread(data.training, SOME)])


def shrunk(x_0: Tensor) -> Tensor:
    """(n, C, *sides) with few places a side, by means over blocks; small ones and (n, D) are unchanged."""
    for axis in range(2, x_0.ndim):
        factor = max(1, x_0.shape[axis] // _longest(x_0.ndim - 2))
        if factor > 1:
            whole = x_0.shape[axis] // factor
            x_0 = x_0.narrow(axis, 0, whole * factor).unflatten(axis, (whole, factor)).mean(axis + 1)
    return x_0


def shrunk_words(space: Space) -> str:
    """What `shrunk` does, in words."""
    return f"model space, shrunk to less than {2 * _longest(len(space.shape) - 1)} a side"


def _longest(sides: int) -> int:
    """Our own features see samples shrunk by whole factors, to less than twice this a side."""
    return {1: 1024, 2: 32}.get(sides, 12)


def sides(space: Space) -> int:
    """The number of sides, and so of the convolutions' dimensions; 0 for vectors, ValueError above 3."""
    found = len(space.shape) - 1
    if found > 3:
        raise ValueError(
            f"our own networks take samples of up to 3 sides and these have {found} (shape {space.shape}); "
            "use features pixels"
        )
    return found


def standardized(features: Features, data: Dataset) -> Features:
    """The same features, centered, and divided by their mean standard deviation among training samples.

    For features without a scale of their own; estimated from up to 2,000 samples.
    """
    real = features(data.images[spread(data.training, SOME)])
    mean, unit = real.mean(0), math.sqrt(real.var(0).mean()) or 1.0
    made_on = f"{data.fingerprint} {data.holdout}".encode() if data.fingerprint else mean.tobytes()
    return replace(
        features,
        digest=hashlib.sha256(features.digest.encode() + made_on).hexdigest(),
        preprocessing=f"{features.preprocessing}; then centered and scaled as of the data",
        embed=lambda images: (features.embed(images) - mean) / unit,
    )


def digest(net: nn.Module) -> str:
    """SHA-256 of a network's tensors, in the order of their names."""
    state = net.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
