"""Data space ↔ model space, fitted once, stored with the model, inverted exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..data.kinds import KINDS
from ..data.space import Space

Bound = float | np.ndarray
NUMBERS_AT_ONCE = 2**21  # of the data, while a codec is fitted: 16 MB


@dataclass(frozen=True)
class Codec:
    """The affine codec: image = origin + offset + scale x_0, with a number of each a channel.

    Attributes:
        space: of the images; its `origin` is 0, but for whole numbers of 64 bits that no float is equal to.
        offset, scale: a number a channel; scale > 0.
        constant: channels that have one value alone, `offset`, whatever x_0 is; by their numbers.
    """

    name: ClassVar[str] = "affine"
    linear: ClassVar[bool] = True
    """Whether a linear function of the data is one of x_0."""
    space: Space
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    constant: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("offset", "scale"):
            values = tuple(map(float, np.atleast_1d(np.asarray(getattr(self, name), dtype=np.float64))))
            values = values * self.space.channels if len(values) == 1 else values
            if len(values) != self.space.channels or not np.all(np.isfinite(values)):
                raise ValueError(
                    f"{name} must be a finite number for each of {self.space.channels} channels, got {values}"
                )
            object.__setattr__(self, name, values)
        if not set(self.constant) <= set(range(self.space.channels)):
            raise ValueError(f"constant channels are among 0..{self.space.channels - 1}, got {self.constant}")
        object.__setattr__(self, "constant", tuple(self.constant))
        if min(self.scale) <= 0:
            raise ValueError(f"scale must be above 0, got {min(self.scale)}")
        if self.space.dtype == "uint8" and not (
            1e-30 <= min(self.scale) <= max(self.scale) <= 1e30 and max(map(abs, self.offset)) <= 1e30
        ):  # they are encoded in float32
            raise ValueError(
                "for bytes, scale must lie within 1e-30..1e30 and offset within -1e30..1e30, "
                f"got {self.scale} and {self.offset}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample in model space."""
        return self.space.shape

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        return self.space.column(self.offset), self.space.column(self.scale)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """x_0 = (image - origin - offset) / scale, (…, *shape), float32; by float64 but for bytes.

        What the space lacks is 0, whatever stands there, and so are gaps (NaN), if it has some.
        """
        offset, scale = self._columns
        images = np.asarray(images)
        if self.space.absent is not None:
            x_0 = ((images.astype(np.float64) - offset) / scale).astype(np.float32)
            x_0 = np.where(self.space.absent, np.float32(0), x_0)
            return np.where(np.isnan(x_0), np.float32(0), x_0) if self.space.gaps else x_0
        if images.dtype == np.uint8:
            return (images.astype(np.float32) - offset.astype(np.float32)) / scale.astype(np.float32)
        x_0 = ((self.space.from_origin(images) - offset) / scale).astype(np.float32)
        return np.where(np.isnan(x_0), np.float32(0), x_0) if self.space.gaps else x_0

    def decode(self, x_0: np.ndarray) -> np.ndarray:
        """image = origin + offset + scale x_0 in the data's own type; whole numbers are rounded and clipped.

        The ends of the range come back as they are: rounding the sum can miss them. What the space lacks is
        NaN.
        """
        offset, scale = self._columns
        x_0 = np.array(x_0, dtype=np.float64)
        x_0[..., list(self.constant), *[slice(None)] * (len(self.space.shape) - 1)] = 0
        if self.space.absent is not None:
            x_0 = np.where(self.space.absent, np.nan, x_0)
        images = self.space.at_origin(x_0 * scale + offset)
        if self.space.bounds is None or self.space.is_whole:
            return images
        for bound, end in zip(self.space.bounds, self._ends, strict=True):
            images = np.where(x_0 == end.astype(np.float32), bound.astype(images.dtype), images)
        return images.astype(self.space.dtype)

    def numbers_of(self, which: np.ndarray) -> np.ndarray:
        """A mask (*space.shape) → that of the numbers (*shape) that encode what it marks."""
        return which

    @cached_property
    def known(self) -> np.ndarray | None:
        """(*shape) 1 where x_0 holds a number, 0 where every sample lacks one; None if none is lacking."""
        return None if self.space.absent is None else (~self.space.absent).astype(np.float32)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The data's bounds in model space, (C, 1, …); there must be some."""
        offset, scale = self._columns
        low, high = (_relative(self.space, ends) for ends in (self.space.low, self.space.high))
        return (self.space.column(low) - offset) / scale, (self.space.column(high) - offset) / scale

    @cached_property
    def bounds(self) -> tuple[Bound, Bound] | None:
        """The data's bounds in model space, or None: numbers if all channels agree, else (C, 1, …)."""
        if self.space.bounds is None:
            return None
        low, high = self._ends
        if np.ptp(low) == 0 and np.ptp(high) == 0:
            return float(low.flat[0]), float(high.flat[0])
        return low.astype(np.float32), high.astype(np.float32)

    @property
    def no_density(self) -> str:
        """Why samples have no density, and so no likelihood; "" if they have one."""
        missing = "a likelihood is of all numbers of a sample, and of these some are missing (NaN)"
        return missing if self.space.missing else ""

    @property
    def log2_scale(self) -> float:
        """The mean of log2(scale) over channels: bits per dimension in data space less those in model's.

        ValueError where there is no density.
        """
        if self.no_density:
            raise ValueError(self.no_density)
        return float(np.mean(np.log2(self.scale)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        own = {"name": self.name, "offset": list(self.offset), "scale": list(self.scale)}
        return own | ({"constant": list(self.constant)} if self.constant else {})

    @classmethod
    def fit(cls, space: Space, images: np.ndarray | None = None) -> Codec:
        """Bounds become -1 and 1, or channels get mean 0 and deviation 1 (`Space.is_standardized`).

        Args:
            space: of the images.
            images: (N, *shape), needed only by a space that is standardized.
        """
        if not space.is_standardized:
            ends = [*zip(_relative(space, space.low), _relative(space, space.high), strict=True)]
            scale = tuple(b / 2 - a / 2 or b - a for a, b in ends)  # no sum overflows
            return cls(space, tuple(a / 2 + b / 2 for a, b in ends), scale)
        if images is None or not len(images):
            raise ValueError(
                f"a codec for these {KINDS[space.kind].noun} is fitted to some of them: give them"
            )
        mean, std = _moments(images, space)
        constant = np.flatnonzero(std == 0).tolist()
        return cls(space, tuple(mean), tuple(np.where(std > 0, std, 1.0)), tuple(constant))


def known_of(codec: Codec, images: np.ndarray) -> np.ndarray | None:
    """(n, *shape) 1 where each of the images has a number, and 0 where it lacks one; None without gaps."""
    return (~np.isnan(images)).astype(np.float32) if codec.space.gaps else None


def _relative(space: Space, ends: Sequence[float] | None) -> list[float]:
    """A bound for each channel, less the space's origin."""
    assert ends is not None
    return [float(end - origin) for end, origin in zip(ends, space.origin.ravel().tolist(), strict=True)]


def _moments(images: np.ndarray, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) a channel of images (N, C, …) less the origin, from those of blocks.

    The update is that of Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance". Values
    are taken relative to the first one, so that a constant channel has a standard deviation of exactly 0.
    NaN doesn't count.
    """
    channels = images.shape[1]
    size = max(1, NUMBERS_AT_ONCE // math.prod(images.shape[1:]))
    first = np.full((channels, 1), np.nan)
    count, mean, squares = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    for i in range(0, len(images), size):
        block = space.from_origin(images[i : i + size])
        block = np.moveaxis(block, 1, 0).reshape(channels, -1)
        if np.isnan(first).any():
            found = np.take_along_axis(block, np.isfinite(block).argmax(1, keepdims=True), 1)
            first = np.where(np.isnan(first), found, first)
        block, more = block - first, (~np.isnan(block)).sum(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of channels without a number in this block
            shift, spread = np.nanmean(block, 1) - mean, np.nanvar(block, 1)
        shift, spread = np.where(more, shift, 0), np.where(more, spread, 0)
        total = np.maximum(count + more, 1)
        squares += more * spread + shift**2 * (count * more / total)
        count += more
        mean += shift * (more / total)
    return first[:, 0] + mean, np.sqrt(squares / np.maximum(count, 1))
