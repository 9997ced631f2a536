"""A prepared data set: images in memory-mapped files, and batch k as a function of (seed, k)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..random import stream
from .spec import DataSpec

MAX_HELD_OUT = 2000


class Batch(NamedTuple):
    """x_0 in model space, float32 (B, C, H, W), and labels, int64 (B,), if there are classes."""

    x_0: np.ndarray
    label: np.ndarray | None


@dataclass(eq=False)
class Dataset:
    """Images at the training size, with their description.

    Attributes:
        images: (N, C, H, W) in data space.
        labels: (N,) or None.
        spec: what one sample is.
        fingerprint: SHA-256 of images, labels and spec.
        holdout: the share held out for validation: that many of all (at least one, at most 2,000),
            drawn with a fixed seed, so that every run on this data holds out the same ones.
        notes: what a user should know of how the data was read.
        prepared: the arguments of `prepare` that were not the usual ones.
    """

    images: np.ndarray
    labels: np.ndarray | None
    spec: DataSpec
    fingerprint: str = ""
    holdout: float = 0.05
    notes: list[str] = field(default_factory=list)
    prepared: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout must lie within 0 and 1 (1 excluded), got {self.holdout}")
        n = len(self.images)
        held = min(max(round(self.holdout * n), 1), MAX_HELD_OUT, n - 1) if self.holdout else 0
        order = stream(0, "holdout").permutation(n)
        self.held_out = np.sort(order[:held])
        self.training = np.sort(order[held:])
        self._order = lru_cache(2)(self._draw_order)

    def __len__(self) -> int:
        return len(self.training)

    def _draw_order(self, seed: int, epoch: int) -> np.ndarray:
        return self.training[stream(seed, "order", epoch).permutation(len(self.training))]

    def indices(self, seed: int, k: int, size: int) -> np.ndarray:
        """Which images make batch k: places k·size … (k+1)·size - 1 of the endless row of epochs.

        Every epoch is its own permutation of the training part, so each image is seen once in it;
        a batch may reach across epochs, and may be larger than the data set.
        """
        places = np.arange(k * size, (k + 1) * size)
        epochs, within = np.divmod(places, len(self.training))
        chosen = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._order(seed, int(epoch))[within[here]]
        return chosen

    def batch(self, seed: int, k: int, size: int, flip: bool = False) -> Batch:
        """Batch k of a run with this seed; `flip` mirrors each image with probability 1/2."""
        batch = self.take(self.indices(seed, k, size))
        if flip:
            mirrored = stream(seed, "flip", k).random(size) < 0.5
            batch.x_0[mirrored] = batch.x_0[mirrored][..., ::-1]
        return batch

    def take(self, indices: np.ndarray) -> Batch:
        """The images at `indices`, in model space."""
        label = None if self.labels is None else np.asarray(self.labels[indices], dtype=np.int64)
        return Batch(self.spec.to_model(self.images[indices]), label)
