"""What one sample is: its shape, type, bounds and the names of its channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import brief, unknown
from .columns import Column, LabelColumn
from .differences import less
from .kinds import KINDS, shown_shape
from .missing import check_missing, unpacked
from .sources.fitting import check_fitting
from .timeline import NO_TIMELINE, Timeline

EXACT = 2**53
"""Up to here every whole number is a float64."""

CHANNELS = {"HW": -3, "HWC": -3, "L": -2, "LC": -2}
"""The axis of a sample that these layouts lack, or have last."""

MOST_AXES, MOST_NUMBERS = 8, 2**30
"""What one sample may have: far more than can be trained on."""


@dataclass(frozen=True)
class Space:
    """The set that the samples of a data set, and those of its model, are elements of.

    Attributes:
        shape: (C, *sides), or (D,) for a vector, whose D numbers count as channels.
        dtype: of the samples, a NumPy name.
        low, high: the least and the greatest value a channel; one number for all; None where there are no
            bounds. Those of whole numbers may be `int`, and are exact also where no float is equal to them.
        kind: a row of `KINDS`: how samples are shown, and which network suits them. Unless given,
            `picture` for (C, H, W), else `array`.
        names, units: of the channels, none if they have none.
        layout: of a picture in the user's own arrays, `HW`, `HWC` or `CHW`; of a series, `CL`, `LC` or `L`.
        background: what transparent pixels were laid over, and pictures padded with, if any were.
        resize: how picture files were resized to this shape, if that is what samples were read from: a
            sample is then written as a picture in its own values.
        fit: what was done with those of another shape.
        kept: the larger (H, W) that they were brought to, if samples are crops of them.
        columns: what the numbers of a table's row mean, one each.
        missing: which numbers every sample lacks (NaN), such as an ocean's land, as `packed`; "" if none.
        gaps: whether samples of the data lack others beside (NaN).
        grid: of the file that samples came from: its ending, axes and their values, to be written again.
        timeline: of a series, its rate and the form of its file.
        labels: of a table, the columns beside them that are told.
    """

    shape: tuple[int, ...]
    dtype: str = "uint8"
    low: tuple[float, ...] | None = (0.0,)
    high: tuple[float, ...] | None = (255.0,)
    kind: str = ""
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    layout: str = "CHW"
    background: str | None = None
    resize: str | None = None
    fit: str = "crop"
    kept: tuple[int, int] | None = None
    columns: tuple[Column, ...] = ()
    missing: str = ""
    gaps: bool = False
    grid: dict[str, Any] = field(default_factory=dict, hash=False)
    timeline: Timeline = NO_TIMELINE
    labels: tuple[LabelColumn, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(side) for side in self.shape)
        if not shape or min(shape) < 1:
            raise ValueError(f"a sample's shape must be (C, *sides), whole numbers from 1, got {self.shape}")
        if len(shape) > MOST_AXES or math.prod(shape) > MOST_NUMBERS:
            raise ValueError(
                f"a sample has at most {MOST_AXES} axes and {MOST_NUMBERS:,} numbers, got shape {shape[:9]}"
            )
        object.__setattr__(self, "shape", shape)
        _check_dtype(self.dtype)
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        for name in ("low", "high"):
            object.__setattr__(self, name, self._a_channel(name))
        if self.low is not None and self.high is not None and not np.all(np.less(self.low, self.high)):
            raise ValueError(f"each channel's low must be below its high, got {self.low} and {self.high}")
        for name in ("names", "units"):
            given = tuple(getattr(self, name))
            if given and len(given) != self.channels:
                raise ValueError(f"{name} must be one for each of {self.channels} channels, got {given}")
            object.__setattr__(self, name, given)
        columns = tuple(c if isinstance(c, Column) else Column(**c) for c in self.columns)
        object.__setattr__(self, "columns", columns)
        if len(columns) != (self.channels if self.kind == "table" else 0):
            raise ValueError(f"a table has a column for each of {self.channels} numbers, got {len(columns)}")
        if not isinstance(self.timeline, Timeline):
            object.__setattr__(self, "timeline", Timeline(**self.timeline))
        labels = tuple(c if isinstance(c, LabelColumn) else LabelColumn(**c) for c in self.labels)
        object.__setattr__(self, "labels", labels)
        if labels and self.kind != "table":
            raise ValueError("only a table has columns that are told")
        kind = self.kind or ("picture" if len(shape) == 3 else "array")
        if kind not in KINDS:
            raise unknown("kind of sample", kind, KINDS)
        object.__setattr__(self, "kind", kind)
        if self.missing:
            check_missing(unpacked(self.missing, shape), self.dtype)
        object.__setattr__(self, "kept", check_fitting(self.resize, self.fit, self.kept, shape))

    def _a_channel(self, name: str) -> tuple[float, ...] | None:
        given: Any = getattr(self, name)
        if given is None:
            return None
        try:
            values = tuple(np.atleast_1d(np.asarray(given, dtype=object)))
            values = tuple(int(v) if isinstance(v, Integral) and self.is_whole else float(v) for v in values)
            finite = all(math.isfinite(v) for v in values)
        except (TypeError, ValueError, OverflowError):
            values, finite = (), False
        values = values * self.channels if len(values) == 1 else values
        if len(values) != self.channels or not finite:
            raise ValueError(
                f"{name} must be a finite number for each of {self.channels} channels, got {given}"
            )
        return values

    @property
    def channels(self) -> int:
        """C, or D for a vector."""
        return self.shape[0]

    @property
    def is_color(self) -> bool:
        """Whether samples are pictures of three channels or more."""
        return self.kind == "picture" and self.shape[0] >= 3

    @property
    def is_standardized(self) -> bool:
        """Whether a model sees each channel with mean 0 and standard deviation 1, and not from -1 to 1."""
        return self.low is None or KINDS[self.kind].standardized

    @cached_property
    def absent(self) -> np.ndarray | None:
        """(*shape) true where every sample lacks a number; None if none does."""
        return unpacked(self.missing, self.shape) if self.missing else None

    def is_whole_sample(self, images: np.ndarray) -> bool:
        """Whether all numbers of samples (…, *shape) are finite, but for those that every sample lacks."""
        finite = np.isfinite(images)
        return bool((finite if self.absent is None else finite | self.absent).all())

    @property
    def has_layout(self) -> bool:
        """Whether samples are (C, H, W), in the user's own arrays in the order of `layout`."""
        return self.kind in ("picture", "field", "series")

    @property
    def is_whole(self) -> bool:
        """Whether samples are whole numbers."""
        return np.dtype(self.dtype).kind in "iu"

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(low, high) in a form that compares with samples, or None."""
        if self.low is None or self.high is None:
            return None
        return self.column(self.low), self.column(self.high)

    def column(self, values: Sequence[float]) -> np.ndarray:
        """One number a channel as (C, 1, …), to be broadcast over samples."""
        return np.asarray(values, dtype=np.float64).reshape(-1, *[1] * (len(self.shape) - 1))

    @cached_property
    def origin(self) -> np.ndarray:
        """(C, 1, …): whole numbers of 64 bits beyond 2^53 are counted from here; zeros for all others."""
        column, dtype = (-1, *[1] * (len(self.shape) - 1)), np.dtype(self.dtype)
        middle = [0] * self.channels
        if self.low is not None and self.high is not None and dtype.kind in "iu" and dtype.itemsize == 8:
            info, least, most = np.iinfo(dtype), min(self.low), max(self.high)
            if max(-least, most) > EXACT and least >= info.min and most <= info.max + 1:
                middle = [(int(a) + int(b)) // 2 for a, b in zip(self.low, self.high, strict=True)]
        return np.array(middle, dtype).reshape(column)

    def from_origin(self, images: np.ndarray) -> np.ndarray:
        """Samples less `origin`, float64: differences of whole numbers are kept however large these are."""
        return less(images, self.origin)

    def at_origin(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `from_origin`, in the samples' own type; whole numbers are rounded and clipped."""
        dtype = np.dtype(self.dtype)
        if not self.is_whole:
            return values.astype(dtype)
        if self.low is None or self.high is None or not self.origin.any():
            return self.as_dtype(np.clip(np.rint(values), *self.bounds) if self.bounds else values)
        rounded, most = np.rint(values), int(np.iinfo(dtype).max)
        low, high = (
            np.array([min(int(end), most) for end in ends], dtype).reshape(self.origin.shape)
            for ends in (self.low, self.high)
        )
        below, above = rounded <= less(low, self.origin), rounded >= less(high, self.origin)
        steps = np.where(below | above, 0, rounded).astype(np.int64).view(np.uint64)
        found = steps + self.origin.astype(np.uint64)  # modulo 2^64
        return np.where(below, low, np.where(above, high, found.astype(dtype))).astype(dtype)

    def to_layout(self, images: np.ndarray) -> np.ndarray:
        """(…, C, H, W) or (…, C, L) → the layout of the user's own arrays; other kinds as they are."""
        axis = CHANNELS.get(self.layout) if self.has_layout else None
        if axis is None:
            return images
        images = np.asarray(images)
        return images.squeeze(axis) if self.layout in ("HW", "L") else np.moveaxis(images, axis, -1)

    def from_layout(self, images: np.ndarray) -> np.ndarray:
        """The inverse of `to_layout`."""
        axis = CHANNELS.get(self.layout) if self.has_layout else None
        if axis is None:
            return images
        return np.expand_dims(images, axis) if self.layout in ("HW", "L") else np.moveaxis(images, -1, axis)

    def as_dtype(self, values: np.ndarray) -> np.ndarray:
        """Numbers in the samples' own type; for whole ones they are rounded and cut off at its ends."""
        dtype = np.dtype(self.dtype)
        if values.dtype == dtype or dtype.kind not in "iu":
            return values.astype(dtype)
        info, whole = np.iinfo(dtype), np.rint(values)
        # the greatest 64-bit numbers have no float64: the nearest one is beyond the type
        top = np.nextafter(float(info.max) + 1, 0) if dtype.itemsize == 8 else info.max
        inside = np.clip(whole, info.min, top).astype(dtype)
        return np.where(whole >= info.max, dtype.type(info.max), inside).astype(dtype)

    def shown(self, images: np.ndarray) -> np.ndarray:
        """Samples (n, *shape) in data space → pictures (n, C', H, W) of uint8 to look at."""
        return KINDS[self.kind].show(np.asarray(images), self)

    def written(self, images: np.ndarray) -> np.ndarray:
        """Samples (n, *shape) → what is written as a picture each.

        Those that were picture files are again what they were, in their own values, as far as PNG has a form
        for them; others are shown.
        """
        own = self.resize is not None and (self.dtype == "uint8" or self.channels == 1)
        return np.asarray(images) if own else self.shown(images)

    def shown_range(self) -> str:
        """The bounds in words: `0 to 255`, or by channel where they differ."""
        if self.low is None or self.high is None:
            return "no bounds"
        ranges = [_span(low, high) for low, high in zip(self.low, self.high, strict=True)]
        if len(set(ranges)) == 1:
            return ranges[0]
        shown = [f"{self.channel(i)} {span}" for i, span in enumerate(ranges)]
        return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")

    def shown_names(self) -> str:
        """`temperature (K), u (m s-1)`, or what no names are: nothing."""
        units = self.units or ("",) * len(self.names)
        return ", ".join(f"{n} ({unit})" if unit else n for n, unit in zip(self.names, units, strict=True))

    def channel(self, i: int) -> str:
        """What a channel is called."""
        return self.names[i] if self.names else f"channel {i}"

    def shown_shape(self) -> str:
        """`3 × 32 × 32 (C × H × W)`."""
        return shown_shape(self.shape, self.kind)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        own["labels"] = [label.to_dict() for label in self.labels]
        columns = [column.to_dict() for column in self.columns]
        return own | {"columns": columns, "timeline": self.timeline.to_dict()}


def _span(low: float, high: float) -> str:
    """`0 to 255`; with all digits where few would show two ends as equal."""
    return f"{low:g} to {high:g}" if f"{low:g}" != f"{high:g}" else f"{low} to {high}"


def _check_dtype(name: str) -> None:
    """ValueError unless NumPy knows a type of real numbers by this name."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype("O")
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ValueError(
            f"a sample's dtype must be one of real numbers, such as uint8 or float32, got {brief(name)}"
        )
