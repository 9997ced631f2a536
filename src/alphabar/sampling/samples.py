"""Samples with what they are told, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.conditions.kinds import condition_from
from ..data.space import Space
from ..version import __version__
from .sheets import html_of, png_of, with_told
from .told import Told

if TYPE_CHECKING:
    from .sampler import SampleStream

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
        conditions = {k: condition_from(c) for k, c in self.facts.get("conditions", {}).items()}
        return with_told(self.space.shown(self.images[:IN_NOTEBOOK]), self.told, conditions)

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


def settings_of(head: Samples | SampleStream, more: dict[str, Any]) -> dict[str, Any]:
    """All that decides what is written."""
    return {
        "alphabar": __version__, **head.facts, **more, "indices": head.indices.tolist(), "told": head.told,
        "frame_times": head.frame_times, "space": head.space.to_dict(),
    }  # fmt: skip


def differences(a: Any, b: dict[str, Any]) -> str:
    """The settings that differ, with both values where these are short."""
    if not isinstance(a, dict):
        return "of another version"
    old, new = a.get("settings") or {}, b.get("settings") or {}
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    words = [f"{name} {old.get(name, 'default')} → {new.get(name, 'default')}" for name in changed]
    if a.get("indices") != b.get("indices"):
        words.append(f"number {len(a.get('indices') or ())} → {len(b.get('indices') or ())}")
    others = [name for name in b if name not in ("settings", "indices") and a.get(name) != b[name]]
    return ", ".join(words[:4] or others[:4]) or "of another version"
