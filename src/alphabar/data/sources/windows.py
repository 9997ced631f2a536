"""Series cut into windows: samples of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...errors import some
from ..config import DataConfig
from ..timeline import Timeline
from .layouts import SERIES
from .source_types import Labels, Samples

MANY = 20
"""So many series that whole ones can be held out."""


class Windows(NamedTuple):
    """Windows of `size` numbers, one each `hop`."""

    size: int
    hop: int

    @classmethod
    def of(cls, config: DataConfig, rate: float | None, size: int) -> Windows:
        """Those that are asked for; without, of this size, one after another.

        ValueError for seconds where no rate is known.
        """
        if config.window is None and config.hop is None:
            return cls(size, size)
        if rate is None:
            raise ValueError(
                "window and hop are seconds, and these data don't say how many numbers a second they have: "
                "give --rate HZ (rate= in Python), or --rate 1 to count numbers instead"
            )
        size = size if config.window is None else round(config.window * rate)
        hop = size if config.hop is None else round(config.hop * rate)
        if size < 2 or hop < 1:
            raise ValueError(
                f"a window must have two numbers or more, and a hop one, got {size} and {hop} at {rate:g} a "
                "second"
            )
        return cls(size, hop)

    def count(self, length: int) -> int:
        """How many there are in a series."""
        return max(0, (length - self.size) // self.hop + 1)

    def cut(self, series: np.ndarray) -> np.ndarray:
        """(…, C, length) → (…, windows, C, size), a view."""
        if series.shape[-1] < self.size:
            return np.empty((*series.shape[:-2], 0, series.shape[-2], self.size), series.dtype)
        seen = np.lib.stride_tricks.sliding_window_view(series, self.size, -1)[..., :: self.hop, :]
        return np.moveaxis(seen, -2, -3)

    def told(
        self, names: Sequence[str], lengths: Sequence[int], timeline: Timeline
    ) -> tuple[np.ndarray | None, list[str]]:
        """(which series each window is of, if those of one are to be held out together; what to say)."""
        counts = np.array([self.count(length) for length in lengths])
        total = int(counts.sum())
        if not total:
            raise ValueError(
                f"no series is as long as a window of {timeline.lasting(self.size)}: the longest has "
                f"{timeline.lasting(max(lengths))}; choose a shorter one by --window SECONDS"
            )
        apart = "" if self.hop == self.size else f", one each {timeline.lasting(self.hop)}"
        notes = [f"{total:,} windows of {timeline.lasting(self.size)}{apart}, from {len(lengths):,} series"]
        short = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
        if short:
            notes.append(f"shorter than a window, and left out: {some(short)}")
        rest = np.array(lengths) - (counts - 1) * self.hop - self.size
        share = rest[counts > 0].sum() / sum(lengths)
        if share > 0.001:
            notes.append(f"{share:.1%} of all numbers, at the ends of series, are in no window")
        origins = np.repeat(np.arange(len(lengths)), counts)
        if self.hop < self.size or np.count_nonzero(counts) >= MANY:
            return origins, [*notes, "the windows of one series are held out together, or not at all"]
        return None, [*notes, "the series are few, so that windows are held out and not whole series"]


def timed(samples: Samples, config: DataConfig) -> Samples:
    """An array's series with the rate and the windows that are asked for; other samples as they are.

    ValueError if these are asked for, and the samples are no series.
    """
    if samples.kind != "series":
        for name in ("rate", "window", "hop"):
            if getattr(config, name) is not None:
                raise ValueError(
                    f"{name} is for series, and these are none: leave it out, or say --layout L, CL or LC "
                    "for series of times, of channels and times, or of times and channels (of a table, "
                    "--layout L if its columns are times, or --series COLUMN, which tells its series apart)"
                )
        return samples
    if samples.layout not in SERIES:  # who read them has cut them
        return samples
    timeline = replace(samples.timeline, rate=config.rate)
    n, channels, length = samples.rows.shape
    windows = Windows.of(config, config.rate, length)
    if windows == (length, length):
        return samples._replace(timeline=timeline)
    origins, notes = windows.told([f"series {i}" for i in range(n)], [length] * n, timeline)
    shape = (n * windows.count(length), channels, windows.size)
    rows = samples.rows.map(shape, lambda block: windows.cut(block).reshape(-1, *shape[1:]))
    labels = repeated(samples.labels, [windows.count(length)] * n)
    return samples._replace(
        rows=rows, timeline=timeline, origins=origins, notes=[*samples.notes, *notes], labels=labels
    )


def repeated(labels: Labels, counts: Sequence[int]) -> Labels:
    """The labels of series as those of their windows."""
    numbers = None if labels.numbers is None else np.repeat(labels.numbers, counts)
    told = {name: (condition, np.repeat(v, counts, 0)) for name, (condition, v) in labels.told.items()}
    return labels._replace(numbers=numbers, told=told)


def same_length(names: Sequence[str], lengths: Sequence[int]) -> int:
    """The length of all series; ValueError with the lengths found if there are several."""
    known, counts = np.unique(np.array(lengths), return_counts=True)
    if len(known) == 1:
        return int(known[0])
    found = [f"{n:,} of {size:,}" for size, n in zip(known.tolist(), counts.tolist(), strict=True)]
    odd = [name for name, size in zip(names, lengths, strict=True) if size != known[counts.argmax()]]
    raise ValueError(
        f"series must be of one length, and there are {some(found)} numbers (other than most: {some(odd)}): "
        "--window SECONDS cuts them into samples of one length, with --rate HZ, or --rate 1 to count numbers"
    )
