"""How training goes: now and then some numbers of the averaged model, functions of its weights alone."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..evaluation.features import Features, untrained
from ..evaluation.levels import spread
from ..evaluation.scores import frechet_distance
from ..random import stream
from ..sampling import sample
from ..theory.plans import make_plan
from .trainer import Trainer, sample_losses

PICTURES = 64  # held-out ones, training ones, and samples
LEVELS = 8
EVALUATIONS = 6  # a sample
REFERENCE = 2000  # training pictures that samples are compared with
COST = PICTURES * (2 * LEVELS + EVALUATIONS) / 3  # in trained images: one evaluation is a third of a step
SHARE = 0.04  # of the time
EVENLY = 50  # measurements; after those each comes 2 % later, so that long runs spend less


class Watch:
    """Measures a trainer's averaged model; equal to the bit for equal weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def is_due(self) -> bool:
        """Whether the steps since the last measurement outweigh its cost."""
        every = max(1, round(COST / SHARE / self.trainer.config.batch_size))

        def measured_by(step: int) -> int:
            x = step / every
            return math.floor(x if x <= EVENLY else EVENLY * (1 + math.log(x / EVENLY)))

        return measured_by(self.trainer.step) > measured_by(self.trainer.step - 1)

    def __call__(self) -> dict[str, Any]:
        """The row's entries: `losses` and `distance`."""
        return {**self.losses(), **self.distance()}

    def losses(self) -> dict[str, Any]:
        """The loss on held-out pictures, whole and by t, and on training ones; empty with none held out.

        Up to 64 pictures each, spread over the data, at 8 times spread over 1..T, with fixed noise. How far
        the first lies above the second grows as the model learns its training pictures by heart.
        """
        data = self.trainer.data
        if not len(data.held_out):
            return {}
        times, losses = self._losses(spread(data.held_out, PICTURES))
        _, training = self._losses(spread(data.training, PICTURES))
        return {
            "held_out_loss": math.fsum(losses) / len(losses),
            "held_out_t": times,
            "held_out_loss_by_t": losses,
            "training_loss": math.fsum(training) / len(training),
        }

    def _losses(self, indices: np.ndarray) -> tuple[list[float], list[float]]:
        """(times, mean loss at each) of the pictures at `indices`."""
        trainer = self.trainer
        T, size = trainer.model.schedule.T, trainer.config.micro_batch or len(indices)
        batch = trainer.data.take(indices)
        times = np.unique(np.ceil((np.arange(LEVELS) + 0.5) / LEVELS * T))
        losses = []
        for level, t in enumerate(times):
            eps = np.stack([
                stream(0, "validation", int(i), level).standard_normal(trainer.data.spec.shape, np.float32)
                for i in indices
            ])  # fmt: skip
            each: list[float] = []
            for i in range(0, len(indices), size):
                part = slice(i, i + size)
                x_0, noise, label = trainer.tensors(batch.x_0[part], eps[part], batch.label, part)
                at = np.full(len(x_0), t)
                with torch.no_grad():
                    each += sample_losses(trainer.ema, trainer.config.loss, x_0, at, noise, label).tolist()
            losses.append(math.fsum(each) / len(each))
        return times.tolist(), losses

    def distance(self) -> dict[str, Any]:
        """The Fréchet distance of 64 samples to training pictures, and its floor: that of held-out ones.

        In an untrained network's features. Samples 0 to 63 of
        seed 0, of 6 evaluations: always the same noise, so that what changes is the model. Of so few the
        distance is far from 0 even for real pictures. None where that is not finite.
        """
        if len(self.trainer.data.training) < 2:
            return {}
        ema = self.trainer.ema
        features, reference, floor = self._reference
        with np.errstate(invalid="ignore"):
            plan = make_plan(ema.schedule, steps=EVALUATIONS)
            found = features(sample(ema, PICTURES, plan=plan, precision=ema.precision).images)
        finite = bool(np.isfinite(found).all())
        return {"sample_distance": frechet_distance(found, reference) if finite else None} | floor

    @cached_property
    def _reference(self) -> tuple[Features, np.ndarray, dict[str, float]]:
        """What to compare by, training pictures by it, and how far held-out ones are from them."""
        data = self.trainer.data
        features = untrained(data)
        reference = features(data.images[spread(data.training, REFERENCE)])
        if len(data.held_out) < 2:
            return features, reference, {}
        fresh = features(data.images[spread(data.held_out, PICTURES)])
        return features, reference, {"sample_floor": frechet_distance(fresh, reference)}
