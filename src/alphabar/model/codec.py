"""Data space ↔ model space, fitted once, stored with the model, inverted exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..data.space import Space
from ..errors import unknown

Bound = float | np.ndarray


@dataclass(frozen=True)
class Codec:
    """The affine codec: image = scale x_0 + offset, with a scale and an offset a channel.

    Attributes:
        space: of the images.
        offset, scale: a number a channel; scale > 0.
    """

    name: ClassVar[str] = "affine"
    space: Space
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("offset", "scale"):
            values = tuple(map(float, np.atleast_1d(np.asarray(getattr(self, name), dtype=np.float64))))
            values = values * self.space.channels if len(values) == 1 else values
            if len(values) != self.space.channels or not np.all(np.isfinite(values)):
                raise ValueError(
                    f"{name} must be a finite number for each of {self.space.channels} channels, got {values}"
                )
            object.__setattr__(self, name, values)
        if min(self.scale) <= 0:
            raise ValueError(f"scale must be above 0, got {min(self.scale)}")

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        return self.space.column(self.offset), self.space.column(self.scale)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """x_0 = (image - offset) / scale, (…, *shape), float32; in float64 unless images are bytes."""
        offset, scale = self._columns
        dtype = np.float32 if np.asarray(images).dtype == np.uint8 else np.float64
        x_0 = (np.asarray(images, dtype=dtype) - offset.astype(dtype)) / scale.astype(dtype)
        return x_0.astype(np.float32, copy=False)

    def decode(self, x_0: np.ndarray) -> np.ndarray:
        """image = scale x_0 + offset in the data's own type; whole numbers are rounded and clipped."""
        offset, scale = self._columns
        images = np.asarray(x_0, dtype=np.float64) * scale + offset
        dtype = np.dtype(self.space.dtype)
        if dtype.kind not in "iu":
            return images.astype(dtype)
        info = np.iinfo(dtype)
        low, high = self.space.bounds or (info.min, info.max)
        whole = np.clip(np.rint(images), low, high)
        # the greatest 64-bit numbers are no float64: the nearest float64 below them is
        top = np.nextafter(float(info.max) + 1, 0) if dtype.itemsize == 8 else float(info.max)
        return np.clip(whole, float(info.min), top).astype(dtype)

    @cached_property
    def bounds(self) -> tuple[Bound, Bound] | None:
        """The data's bounds in model space, or None: numbers if all channels agree, else (C, 1, …)."""
        if self.space.bounds is None:
            return None
        offset, scale = self._columns
        low, high = ((bound - offset) / scale for bound in self.space.bounds)
        if np.ptp(low) == 0 and np.ptp(high) == 0:
            return float(low.flat[0]), float(high.flat[0])
        return low.astype(np.float32), high.astype(np.float32)

    @property
    def log2_scale(self) -> float:
        """The mean of log2(scale) over channels: bits per dimension in data space less those in model's."""
        return float(np.mean(np.log2(self.scale)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "offset": list(self.offset), "scale": list(self.scale)}

    @classmethod
    def fit(cls, space: Space, images: np.ndarray | None = None) -> Codec:
        """Bounds become -1 and 1; without bounds, each channel gets mean 0 and standard deviation 1.

        Args:
            space: of the images.
            images: (N, *shape), needed only where there are no bounds.
        """
        if space.low is not None and space.high is not None:
            low, high = np.array(space.low), np.array(space.high)
            return cls(space, tuple((low + high) / 2), tuple((high - low) / 2))
        if images is None or not len(images):
            raise ValueError("a codec for samples without bounds is fitted to samples: give some")
        flat = np.moveaxis(np.asarray(images, dtype=np.float64), 1, 0).reshape(space.channels, -1)
        std = flat.std(1)
        return cls(space, tuple(flat.mean(1)), tuple(np.where(std > 0, std, 1.0)))


CODECS: dict[str, type[Codec]] = {Codec.name: Codec}
"""Codecs by name: `affine`, a scale and an offset a channel."""


def fit_codec(space: Space, images: np.ndarray | None = None, name: str = Codec.name) -> Codec:
    """The codec of this name, fitted to samples of a space (see `Codec.fit`)."""
    if name not in CODECS:
        raise unknown("codec", name, CODECS)
    return CODECS[name].fit(space, images)


def codec_from(entry: dict[str, Any], space: Space) -> Codec:
    """The codec that `to_dict` described."""
    arguments = dict(entry)
    name = arguments.pop("name", None)
    if name not in CODECS:
        raise unknown("codec", name, CODECS)
    try:
        return CODECS[name](space, **arguments)
    except TypeError as error:
        raise ValueError(f"the codec {name!r} cannot be made of {sorted(arguments)}: {error}") from None
