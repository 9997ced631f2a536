"""Samples with what they are told, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.space import Space
from .sheets import html_of, png_of
from .told import Told

IN_NOTEBOOK = 64  # samples on a sheet


@dataclass(repr=False)
class Samples:
    """What `sample` returns.

    Attributes:
        images: (n, *shape) in data space, the data's own dtype and range.
        indices: the number of each sample; with `facts` it says how to make that one again.
        told: name of the condition → the value of each, None where it was not told.
        facts: the settings, times, and the model's digest, as JSON; what is known of samples that were read.
        space: what one sample is.
        frames: (F, n, *shape), x_t in data space along the way, if asked for.
        frame_times: t of each frame.
    """

    images: np.ndarray
    indices: np.ndarray
    told: Told
    facts: dict[str, Any]
    space: Space
    frames: np.ndarray | None = None
    frame_times: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        told = f", told {', '.join(self.told)}" if self.told else ""
        return f"Samples({len(self)} of {self.space.shown_shape()} {self.space.dtype}{told})"

    def _shown(self) -> np.ndarray:
        return self.space.shown(self.images[:IN_NOTEBOOK])

    def _repr_png_(self) -> bytes:
        """A sheet of them, for notebooks."""
        return png_of(self._shown())

    def _repr_html_(self) -> str:
        """The same with a line of facts, for notebooks."""
        n, evaluations = len(self), self.facts.get("evaluations")
        what = f"{n} sample{'s' * (n != 1)}"
        what += f", seed {self.facts['seed']}" if "seed" in self.facts else ""
        what += "" if evaluations is None else f", {evaluations} evaluation{'s' * (evaluations != 1)}"
        return html_of(self._shown(), what + f"; the first {IN_NOTEBOOK} are shown" * (n > IN_NOTEBOOK))
