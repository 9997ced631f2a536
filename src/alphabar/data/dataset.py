"""A prepared data set: samples in memory-mapped files, and batch k as a function of (seed, k)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import rng
from .augment import Draw, augment, check_augment
from .conditions.base import Condition, is_told
from .conditions.named import ClassCondition
from .conditions.place import PlaceCondition
from .crops import Crops
from .order import SMALL, permuted
from .space import Space

BLOCK = 1024
ORDERS = 2048  # of classes, that are kept
WHOLE = slice(None)


class Batch(NamedTuple):
    """Samples in data space, (B, *shape), and what is told of them: name → values (B, …)."""

    images: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(eq=False, repr=False)
class Dataset:
    """Samples at the training size, with their description.

    Attributes:
        images: (N, *shape) in data space, an array or `StoredSamples`.
        space: what one sample is.
        conditions: what is told of samples, by name.
        values: their values, name → (N, …); of grids, as `images`.
        fingerprint: SHA-256 of samples, values and their description.
        holdout: the share held out for validation, about that many of all. A sample's content alone decides,
            neither its place nor the others: what is held out stays so when others are added or moved, and
            equal samples are on the same side. Of few samples it may be none.
        notes: what a user should know about how the data was read.
        prepared: the settings of `prepare` that were not the defaults.
        hashes: 64 bits of each sample's content, (N,); computed unless given.
        is_part: whether it is a part of a data set, of which all samples may be held out.
    """

    images: Any
    space: Space
    conditions: dict[str, Condition] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    holdout: float = 0.05
    notes: list[str] = field(default_factory=list)
    prepared: dict[str, Any] = field(default_factory=dict)
    hashes: np.ndarray | None = None
    is_part: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout must lie within 0 and 1 (1 excluded), got {self.holdout}")
        if np.shape(self.images)[1:] != self.space.shape:
            raise ValueError(
                f"samples must have the shape (N, *{self.space.shape}), got {np.shape(self.images)}"
            )
        if set(self.values) != set(self.conditions):
            raise ValueError(
                f"each condition needs its values: conditions {', '.join(self.conditions) or 'none'}, "
                f"values {', '.join(self.values) or 'none'}"
            )
        for name, values in self.values.items():
            if len(values) != len(self.images):
                raise ValueError(f"{name}: {len(values)} values for {len(self.images)} samples")
        self.held_out, self.training = self._split()
        self._order = lru_cache(2)(self._draw_order)
        self._class_order = lru_cache(ORDERS)(self._draw_class_order)

    def __repr__(self) -> str:
        told = f", told {', '.join(self.conditions)}" if self.conditions else ""
        return f"Dataset({len(self.images):,} samples, {self.space.shown_shape()} {self.space.dtype}{told})"

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """(held out, training): those whose hash, as a share of 2^64, lies below `holdout`."""
        n = len(self.images)
        if not self.holdout:
            return np.zeros(0, np.int64), np.arange(n)
        hashes = content_hashes(self.images) if self.hashes is None else self.hashes
        chosen = hashes < np.uint64(self.holdout * 2**64)
        if n and chosen.all() and not self.is_part:
            raise ValueError(
                f"all of the {n} samples would be held out, and none left to train on, got holdout "
                f"{self.holdout}: choose a smaller one (0 holds none out)"
            )
        return np.flatnonzero(chosen), np.flatnonzero(~chosen)

    def __len__(self) -> int:
        return len(self.training)

    @property
    def num_samples(self) -> int:
        """How many there are, held out or not."""
        return len(self.images)

    @property
    def disk_bytes(self) -> int:
        """What the prepared samples take."""
        return self.images.nbytes

    @property
    def is_at_hand(self) -> bool:
        """Whether `images` are all samples, of which batches are made."""
        return True

    def _draw_order(self, seed: int, epoch: int) -> np.ndarray:
        return rng.stream(seed, "order", epoch).permutation(len(self))

    def _shuffled(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """The training samples at these places of an epoch."""
        if (n := len(self)) > SMALL:
            return self.training[permuted(places, n, seed, epoch)]
        return self.training[self._order(seed, epoch)[places]]

    def indices(self, seed: int, k: int, size: int) -> np.ndarray:
        """Which samples make batch k: numbers k·size … (k+1)·size - 1 of all epochs, one after another.

        Every epoch is its own permutation of the training part, so each sample is seen once in it;
        a batch may reach across epochs, and may be larger than the data set.
        """
        places = np.arange(k * size, (k + 1) * size)
        epochs, within = np.divmod(places, len(self))
        chosen = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._shuffled(seed, int(epoch), within[here])
        return chosen

    @cached_property
    def by_class(self) -> list[np.ndarray]:
        """The training samples of each class that has any; ValueError without classes."""
        if "class" not in self.values or not isinstance(self.conditions["class"], ClassCondition):
            raise ValueError("balanced is for data with classes, and these have none: leave it out")
        labels = self.values["class"][self.training]
        return [self.training[labels == label] for label in np.unique(labels[is_told(labels)])]

    def balanced_indices(self, seed: int, k: int, size: int) -> np.ndarray:
        """The same with each class as often: a round of as many as there are classes has a sample of each.

        The order of classes in a round, and of samples in an epoch of their class, is a permutation drawn for
        each, so every sample of a class is seen once before any is seen again.
        """
        groups = self.by_class
        rounds, within = np.divmod(np.arange(k * size, (k + 1) * size), len(groups))
        classes = np.empty(size, np.int64)
        for r in np.unique(rounds):
            here, order = rounds == r, rng.stream(seed, "order", int(r), len(groups) + 1)
            classes[here] = order.permutation(len(groups))[within[here]]
        chosen = np.empty(size, np.int64)
        for c in np.unique(classes):
            epochs, places = np.divmod(rounds[classes == c], len(groups[c]))
            orders = {epoch: self._class_order(seed, int(c), int(epoch)) for epoch in np.unique(epochs)}
            chosen[classes == c] = [orders[e][p] for e, p in zip(epochs, places, strict=True)]
        return chosen

    def _draw_class_order(self, seed: int, c: int, epoch: int) -> np.ndarray:
        group = self.by_class[c]
        return group[rng.stream(seed, "order", epoch, c + 1).permutation(len(group))]

    def batch(
        self,
        seed: int,
        k: int,
        size: int,
        flip: bool = False,
        balanced: bool = False,
        turns: bool = False,
        part: slice = WHOLE,
    ) -> Batch:
        """Batch k of a run with this seed, or a part of it; of crops, each from anywhere in its sample.

        Args:
            seed, k, size: all that it depends on.
            flip: mirror each picture with probability 1/2.
            balanced: show each class as often as any other.
            turns: turn each sample by 0 to 3 quarters, all as likely.
            part: its places.
        """
        check_augment(self.space, flip, turns, self.conditions)
        indices = (self.balanced_indices if balanced else self.indices)(seed, k, size)
        draw = Draw(seed, k, np.arange(size)[part])
        batch = self._drawn(indices[part], draw)
        augment(batch.images, batch.values, self.conditions, draw, flip, turns)
        return batch

    def _drawn(self, indices: np.ndarray, draw: Draw) -> Batch:
        """The samples that `indices` or `balanced_indices` chose."""
        return self.take(indices, draw)

    def take(self, indices: np.ndarray, draw: Draw | None = None) -> Batch:
        """The samples at `indices`, copied; of crops the fixed ones, or those that are drawn."""

        def taken(rows: Any) -> np.ndarray:
            if draw is not None and isinstance(rows, Crops):
                return rows.drawn(draw, indices)
            return np.array(rows[indices])

        told = {name: taken(values) for name, values in self.values.items()}
        if draw is not None and isinstance(self.images, Crops):
            places = [name for name, each in self.conditions.items() if isinstance(each, PlaceCondition)]
            told |= {name: self.images.drawn_corners(draw).astype(float) for name in places}
        return Batch(taken(self.images), told)

    def values_at(self, indices: np.ndarray, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """What is told of the samples at `indices`, as far as `names` has it."""
        return {name: np.array(v[indices]) for name, v in self.values.items() if name in names}


def content_hashes(images: np.ndarray) -> np.ndarray:
    """64 bits of each sample's bytes (BLAKE2b), uint64 (N,)."""
    found = np.empty(len(images), np.uint64)
    for start in range(0, len(images), BLOCK):
        for i, image in enumerate(np.ascontiguousarray(images[start : start + BLOCK]), start):
            found[i] = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
    return found


def spread(indices: np.ndarray, n: int) -> np.ndarray:
    """Up to n of the indices, spread evenly over them; none of none."""
    return indices[np.linspace(0, len(indices) - 1, min(n, len(indices))).round().astype(int)]
