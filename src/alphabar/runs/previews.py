"""Sheets of samples of the averaged model, for a small share of the time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ..images import enlarged, save_picture, tiled
from ..model.whole import of_crops
from ..sampling.executor import NotFinite
from ..sampling.sampler import sample
from ..sampling.told import told_by
from ..theory.plans import make_plan
from ..training.trainer import Trainer
from .folder import RunFolder
from .pace import MOST

SAMPLES = 16
EVALUATIONS = 10
COST = SAMPLES * EVALUATIONS / 3  # in trained images
SHARE = 0.02  # of the time
FIRST_S = 15.0
LATER = 0.05  # each comes this share of the time since the start later
SIDE = 256


def num_samples(total: float | None = None) -> int:
    """How many samples to draw, in a run of `total` images whose time is short."""
    return SAMPLES if total is None else max(1, min(SAMPLES, int(SAMPLES * MOST * total / COST)))


def cost(total: float | None = None) -> float:
    """What one sheet takes, in images trained on."""
    return COST * num_samples(total) / SAMPLES


class Previews:
    """Draws samples 0 to 15 now and then: always the same noise, so that what changes is the model."""

    def __init__(self, folder: RunFolder, trainer: Trainer, now: Callable[[], float]) -> None:
        self.folder, self.trainer, self.now = folder, trainer, now
        self.last = self.start = now()
        self.cost_s = 0.0

    def is_due(self, images_per_s: float) -> bool:
        """Whether the time since the last one outweighs the cost: the last one's, or an estimate."""
        now = self.now()
        cost_s = self.cost_s or COST / (images_per_s or 1)
        return now - self.last >= max(FIRST_S, cost_s / SHARE, LATER * (now - self.start))

    def draw(self, total: int | None = None) -> Path:
        """Draw one, unless there is one of these weights; smaller in a short run of `total` images."""
        trainer, begin = self.trainer, self.now()
        ema, path = trainer.ema, self.folder.preview(trainer.images)
        if not path.exists():
            plan = make_plan(ema.schedule, evaluations=EVALUATIONS, scales=ema.scales)
            with contextlib.suppress(NotFinite):  # the metrics tell, and training goes on or says why not
                n = num_samples(total)
                told = told_by(trainer.data, ema, n)
                drawn = sample(of_crops(ema), n, cond=told, plan=plan, precision=ema.precision)
                save_picture(path, enlarged(tiled(ema.space.shown(drawn.images)), SIDE), drawn.facts)
        self.last = self.now()
        self.cost_s = self.last - begin
        return path
