"""The bounds of arrays' values, or none; and what every sample lacks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import some
from ...images import MODES
from ..kinds import KINDS
from ..missing import packed
from ..sources.source_types import Samples
from ..space import Space
from .survey import LITTLE, Survey

UNIT = ((0.0, 1.0), (-1.0, 1.0))
"""What the values of pictures in floats reach from and to."""
FAR = 0.005
"""The mean distance from the median, as a share of the range, below which a few values squeeze all others."""


class Clipped:
    """Blocks with values outside of a range cut off at its ends, and how many those were."""

    def __init__(self, ends: tuple[float, float], dtype: np.dtype) -> None:
        self.ends, self.below, self.above, self.total = ends, 0, 0, 0
        low, high = ends
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            low, high = max(math.ceil(low), info.min), min(math.floor(high), info.max)
            if low > high:
                raise ValueError(f"no {dtype} lies within the range {ends[0]:g} to {ends[1]:g}")
        self.low, self.high = low, high

    def __call__(self, block: np.ndarray) -> np.ndarray:
        self.below += int((block < self.low).sum())
        self.above += int((block > self.high).sum())
        self.total += block.size
        return np.clip(block, self.low, self.high)

    def notes(self) -> list[str]:
        """How many were cut off."""
        low, high = self.ends
        return [
            f"{self.below:,} values below {low:g} and {self.above:,} above {high:g} were cut off there, "
            f"{(self.below + self.above) / max(self.total, 1):.2%} of all"
        ]


def array_space(samples: Samples, survey: Survey, wanted: tuple[float, float] | None) -> Space:
    """The space of an array: the range that was asked for, or the type's, or each channel's own.

    Floats on a plane are a picture if they have a range, asked for or one of `UNIT`, and as many channels as
    pictures have; else a field, which has bounds only if they are asked for.
    """
    dtype, shape, kind = samples.rows.dtype, samples.rows.shape[1:], samples.kind
    lacking = survey.missing
    missing = "" if lacking is None else packed(lacking)
    known = wanted or samples.limits or ((0.0, 255.0) if dtype == np.uint8 else None)
    if survey.share_of_gaps and kind == "picture":
        kind = "field"
    if kind == "picture" and dtype.kind == "f":
        reach = float(survey.low.min()), float(survey.high.max())
        known = known or (reach if reach in UNIT and shape[0] in MODES else None)
        kind = "picture" if known and shape[0] in MODES and not missing else "field"
    ends: tuple[Any, Any] = (None, None)
    if known is not None or not KINDS[kind].standardized or dtype.kind != "f":
        ends = survey.ends(known)
    return Space(
        shape, str(dtype), *ends, kind=kind, layout=samples.layout, names=samples.names, units=samples.units,
        missing=missing, gaps=survey.share_of_gaps > 0, grid=dict(samples.grid), timeline=samples.timeline,
    )  # fmt: skip


def standardized_notes(survey: Survey, space: Space) -> list[str]:
    """How the samples of a standardized kind are seen, and what each channel reaches from and to."""
    units = space.units or ("",) * space.channels
    ends = zip(survey.low.tolist(), survey.high.tolist(), units, strict=True)
    found = [
        (
            f"{space.channel(i)} {low:.4g} to {high:.4g}"
            if low < high
            else f"{space.channel(i)} always {low:g}"
        )
        + f" {unit}" * bool(unit)
        for i, (low, high, unit) in enumerate(ends)
    ]
    pictures = ", and shows them as pictures" if space.kind == "field" and space.channels in MODES else ""
    ends = f"no values are cut off (--range LOW HIGH sets bounds{pictures})"
    if space.bounds is not None:
        ends = f"samples are cut off at the ends of {space.shown_range()}"
    noun = KINDS[space.kind].noun
    return [
        f"each channel of these {noun} is seen with mean 0 and standard deviation 1, and {ends}",
        f"found {some(found, 8)}",
    ]


def missing_notes(space: Space, survey: Survey) -> list[str]:
    """What to say of numbers that every sample lacks, and of those that some do."""
    found = []
    if survey.gaps:
        found.append(
            f"{survey.share_of_gaps:.2%} of the numbers are missing (NaN) here and there: the loss counts "
            "what is known of each sample, and the network sees the mean elsewhere; samples are full there"
        )
    if space.absent is None:
        return found
    count, total = int(space.absent.sum()), space.absent.size
    return [
        *found,
        f"{count:,} of the {total:,} numbers of each sample are missing (NaN), the same ones in all: they "
        "are left out of the loss, and samples lack them too",
    ]


def _far_notes(survey: Survey, space: Space, span: float) -> list[str]:
    """What to say where a few values are so far from all others that these have little of the range."""
    remedy = "clip the few if they are errors"
    if survey.central is not None:
        low, high = survey.central
        note = f"all values but a few lie within {low} to {high}, which fill little of the range: {remedy}"
        return [note] if high - low < LITTLE * span else []
    low, high = space.low or survey.low.tolist(), space.high or survey.high.tolist()
    spans = [b - a for a, b in zip(low, high, strict=True)]
    far = [str(i) for i, span in enumerate(spans) if 0 < survey.distance[i] < FAR * span]
    note = "a few values are far from all others, which fill little of the range, in channel"
    return [f"{note} {some(far)}: {remedy}"] if far else []


def survey_notes(survey: Survey, space: Space) -> list[str]:
    """What the values say: their range, whether they fill it, equal samples, gray ones in color."""
    equal = f"{survey.num_equal} of {survey.num} samples are equal to another one"
    if space.columns:
        return [equal] if survey.num_equal else []
    notes = missing_notes(space, survey)
    if space.is_standardized:
        far = [] if space.dtype == "uint8" else _far_notes(survey, replace(space, low=None, high=None), 0)
        return [*notes, *standardized_notes(survey, space), *far, *[equal] * bool(survey.num_equal)]
    colors = slice(3 if "alpha" in space.names else None)
    low, high = survey.low[colors].min().item(), survey.high[colors].max().item()
    least, most = min((space.low or (0,))[colors]), max((space.high or (0,))[colors])
    if space.dtype != "uint8":
        notes.append(f"range: {space.shown_range()}")
        notes += _far_notes(survey, space, high - low)
    if (low, high) != (least, most):
        found = f"values {low} to {high}"
        little = high - low < LITTLE * (most - least) and (space.dtype == "uint8" or high > low)
        remedy = f"--range {low} {max(high, low + 1)} makes use of all of it"
        notes.append(
            f"{found} fill little of the range {space.shown_range()}: {remedy}"
            if little
            else f"{found} found"
        )
    if survey.num_equal:
        notes.append(equal)
    if survey.gray and space.resize is not None and space.channels == 3:
        notes.append("all pictures are gray, though some are stored in color: give --channels gray")
    return notes
