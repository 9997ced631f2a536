"""What there is to tell of a run, each part read or computed once."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Dataset
from ...denoiser import Denoiser
from ...files import json_lines, read_json
from ...images import displayable, enlarged, picture
from ...sampling import Samples
from ..card import can_tell, memorising
from ..diagnose import Diagnosis
from ..levels import spread, trained_on
from ..memorisation import Memorisation
from .markup import Html, tag

SMALLEST, LARGEST = 96, 128  # pixels of a picture's longer side
LOSSLESS = 12_000  # bytes; a picture that takes more as PNG is shown as JPEG


@dataclass
class Facts:
    """A run, its data and model, and what was found out about them.

    Attributes:
        run: its folder.
        data, denoiser: what it was trained on, and what came of it.
        samples: drawn with the default plan.
        card: of `card`, or empty.
        diagnosis: of `diagnose`.
        commands: (what for, what to type).
    """

    run: Path
    data: Dataset
    denoiser: Denoiser
    samples: Samples
    card: dict[str, Any]
    diagnosis: Diagnosis
    commands: Sequence[tuple[str, str]]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.resolve().name or "run"

    @cached_property
    def entry(self) -> dict[str, Any]:
        """run.json."""
        path = self.run / "run.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Of every step."""
        return json_lines(self.run / "metrics.jsonl")

    @cached_property
    def held_out(self) -> list[dict[str, Any]]:
        """Of the steps after which the held-out loss was measured."""
        return [row for row in self.metrics if "held_out_loss" in row]

    def measured(self, name: str) -> tuple[list[int], list[float]]:
        """(images, values) of what was measured now and then."""
        rows = [row for row in self.metrics if row.get(name) is not None]
        return [row["images"] for row in rows], [row[name] for row in rows]

    @cached_property
    def times(self) -> list[dict[str, Any]]:
        """Readings of the clock."""
        return json_lines(self.run / "times.jsonl")

    @property
    def elapsed_s(self) -> float:
        """Of training, over all starts: each counts from 0."""
        clock = [row["elapsed_s"] for row in self.times]
        return sum(a for a, b in zip(clock, [*clock[1:], 0.0], strict=True) if b < a)

    @cached_property
    def memorisation(self) -> Memorisation | None:
        """In pixels, with each sample's nearest training picture."""
        if not can_tell(self.data) or not trained_on(self.denoiser, self.data):
            return None
        return memorising(self.samples.images, self.data, None)[0]

    def class_name(self, label: int) -> str:
        """A class's name; nothing where there are none."""
        names = self.denoiser.data.classes or self.data.spec.classes
        return names[label] if 0 <= label < len(names) else "no class" if names else ""

    # --- pictures ------------------------------------------------------------------------------

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """What is shown as black and as white."""
        spec = self.data.spec
        if spec.low is not None and spec.high is not None:
            return spec.low, spec.high
        some = self.data.images[spread(self.data.training, 256)]
        return float(some.min()), float(some.max())

    @property
    def columns(self) -> int:
        """Pictures in a row of a sheet."""
        side = max(self.data.spec.shape[1:])
        return 16 if side <= 40 else 12 if side <= 80 else 8

    def picture(self, image: np.ndarray, about: str) -> Html:
        """An image in data space, small, as an element."""
        return shown(displayable(image, *self.bounds), about)

    def sample(self, i: int) -> Html:
        """The i-th sample."""
        return self.picture(self.samples.images[i], f"sample {self.samples.indices[i]}")

    def original(self, i: int) -> Html:
        """Picture i of the data."""
        return self.picture(self.data.images[i], f"picture {i}")


def shown(image: np.ndarray, about: str) -> Html:
    """(C, H, W) uint8 as an element: PNG, or JPEG where that is large; never more than LARGEST pixels."""
    drawn = picture(enlarged(image, SMALLEST))
    drawn.thumbnail((LARGEST, LARGEST))
    for kind, how in (("png", {}), ("jpeg", {"quality": 90, "subsampling": 0})):
        file = io.BytesIO()
        drawn.save(file, kind, **how)
        if file.tell() <= LOSSLESS or drawn.mode == "RGBA":
            break
    url = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return tag("img", src=url, alt=about, width=drawn.width, height=drawn.height)
