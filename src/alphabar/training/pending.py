"""What an update was: figures that are on their way from the device, and whether they are numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Diverged(ArithmeticError):
    """A loss or gradient that is not finite."""


class Figures(NamedTuple):
    """What an update was, where it is made.

    Attributes:
        names: of the losses.
        values: the losses' means, the gradient's norm, the worst sample's loss and its time, float64.
        finite: whether they are numbers.
    """

    names: tuple[str, ...]
    values: Tensor
    finite: Tensor

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], norm: Tensor, t: Tensor) -> Figures:
        """Of the losses of each sample, (B,), by name, whose sum is `loss`; the norm; and the times, (B,)."""
        total = losses["loss"]
        bad = ~total.isfinite()
        worst = torch.where(bad.any(), bad.int().argmax(), total.argmax()).reshape(1)
        means = [value.double().mean() for value in losses.values()]
        figures = [norm, total.gather(0, worst)[0], t.gather(0, worst)[0]]
        values = torch.stack([*means, *(figure.double() for figure in figures)])
        return cls((*losses,), values, ~bad.any() & norm.isfinite())


class Pending:
    """The metrics of an update that may still be under way.

    Args:
        step, images: after the update.
        figures: of the update.
        lr: the learning rate.
        T: of the schedule.
    """

    def __init__(self, step: int, images: int, figures: Figures, lr: float, T: int) -> None:
        self.step, self.images, self.names, self.lr, self.T = step, images, figures.names, lr, T
        self._figures, self._ready = figures.values, None
        if self._figures.device.type == "cuda":
            self._figures = self._figures.to("cpu", non_blocking=True)  # into pinned memory
            self._ready = torch.cuda.Event()
            self._ready.record()

    def row(self) -> dict[str, Any]:
        """The metrics, as soon as they are there; Diverged if one is not finite."""
        if self._ready is not None:
            self._ready.synchronize()
        *means, norm, loss, t = self._figures.tolist()
        for what, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                raise Diverged(
                    f"the {what} is {value} at update {self.step}, t = {t:g} of {self.T}: training has "
                    f"diverged. Try a lower learning rate (it was {self.lr:.2g}) or a longer warm-up"
                )
        found = dict(zip(self.names, means, strict=True))
        return {"step": self.step, "images": self.images} | found | {"grad_norm": norm, "lr": self.lr}
