"""What one sample is: its shape, type, range and classes, and the way to model space and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import unknown


@dataclass(frozen=True)
class DataSpec:
    """The description of a data set's samples that travels with a model.

    image = scale x_0 + offset, with `images` in data space and `x_0` in model space.

    Attributes:
        shape: (C, H, W).
        dtype: of the images, a NumPy name.
        low, high: the range of the images' values, or None where they have no bounds.
        offset, scale: of the normalisation.
        layout: of the user's own arrays, `HW`, `HWC` or `CHW`.
        classes: names of the classes, none if there are none.
        class_counts: how many samples of each were trained on.
        background: what transparent pixels were laid over, if any were.
    """

    shape: tuple[int, int, int]
    dtype: str = "uint8"
    low: float | None = 0.0
    high: float | None = 255.0
    offset: float = 127.5
    scale: float = 127.5
    layout: str = "CHW"
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    background: str | None = None

    def __post_init__(self) -> None:
        for name in ("shape", "classes", "class_counts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    @property
    def clip_range(self) -> tuple[float, float] | None:
        """The images' range in model space, or None."""
        if self.low is None or self.high is None:
            return None
        return (self.low - self.offset) / self.scale, (self.high - self.offset) / self.scale

    def to_model(self, images: np.ndarray) -> np.ndarray:
        """x_0 = (image - offset) / scale, as float32."""
        return (images.astype(np.float32) - np.float32(self.offset)) / np.float32(self.scale)

    def to_data(self, x_0: np.ndarray) -> np.ndarray:
        """image = scale x_0 + offset in the data's own type; whole numbers are rounded and clipped."""
        images = np.asarray(x_0, dtype=np.float64) * self.scale + self.offset
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            low = info.min if self.low is None else self.low
            high = info.max if self.high is None else self.high
            images = np.clip(np.rint(images), low, high)
        return images.astype(dtype)

    def to_layout(self, images: np.ndarray) -> np.ndarray:
        """(…, C, H, W) → the layout of the user's own arrays."""
        if self.layout == "HW":
            return images[..., 0, :, :]
        return np.moveaxis(images, -3, -1) if self.layout == "HWC" else images

    def class_index(self, name: str | int) -> int:
        """The label of a class by its name (or by its number, where no class has that name)."""
        if not self.classes:
            raise ValueError(f"this model has no classes, got class {name!r}")
        if str(name) in self.classes:
            return self.classes.index(str(name))
        if str(name).isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise unknown("class", str(name), self.classes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def spec_for(images: np.ndarray, layout: str, value_range: tuple[float, float] | None) -> dict[str, Any]:
    """The dtype, range and normalisation for an array of images: its range becomes [-1, 1].

    The range is the one given, or 0..255 for bytes, or else the least and the greatest value.
    """
    if value_range is not None:
        low, high = map(float, value_range)
        if not low < high:
            raise ValueError(f"the value range must rise, got {low} to {high}")
    elif images.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = float(images.min()), float(images.max())
        high = high if high > low else low + 1
    return {
        "dtype": str(images.dtype),
        "low": low,
        "high": high,
        "offset": (low + high) / 2,
        "scale": (high - low) / 2,
        "layout": layout,
    }
