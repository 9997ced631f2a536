"""How training goes: now and then some numbers of the averaged model, functions of its weights alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from .. import rng
from ..data.dataset import Dataset, spread
from ..evaluation.features import Features, untrained_features
from ..evaluation.scores import frechet_distance
from ..model.affine import known_of
from ..model.batched import batch_size, batches
from ..model.conditions import take
from ..model.whole import of_crops
from ..sampling.executor import NotFinite
from ..sampling.sampler import sample
from ..sampling.told import told_by
from ..theory.plans import make_plan
from ..training.objectives import OBJECTIVES, Draws
from ..training.trainer import Trainer
from .pace import MOST

SAMPLES = 64  # held-out ones, training ones, and drawn ones
FEWEST = 8  # of each, or nothing is measured
LEVELS = 8
EVALUATIONS = 6  # a drawn sample
REFERENCE = 2000  # training samples that drawn ones are compared with
COST = SAMPLES * (2 * LEVELS + EVALUATIONS) / 3  # in trained images: one evaluation is a third of an update
SHARE = 0.04  # of the time
EVENLY = 50  # measurements; after those each comes 2 % later, so that long runs spend less


class Monitor:
    """Measures a trainer's averaged model; equal to the bit for equal weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def is_due(self) -> bool:
        """Whether the updates since the last measurement outweigh its cost."""
        every = max(1, round(COST / SHARE / self.trainer.config.batch_size))

        def measured_by(step: int) -> int:
            x = step / every
            return math.floor(x if x <= EVENLY else EVENLY * (1 + math.log(x / EVENLY)))

        return measured_by(self.trainer.step) > measured_by(self.trainer.step - 1)

    def __call__(self, total: int | None = None) -> dict[str, Any]:
        """What every row of `MEASURES` says; by fewer samples, or none, in a short run of `total` images."""
        n, row = num_samples(total), {}
        for measure in MEASURES.values() if n else ():
            row |= measure(self.trainer, n)
        return row


def num_samples(total: float | None = None) -> int:
    """How many samples to measure, in a run of `total` images whose time is short; perhaps none."""
    n = SAMPLES if total is None else min(SAMPLES, math.floor(SAMPLES * MOST * total / COST))
    return n if n >= FEWEST else 0


def cost(total: float | None = None) -> float:
    """What one measurement takes, in images trained on."""
    return COST * num_samples(total) / SAMPLES


def held_out_loss(trainer: Trainer, n: int = SAMPLES) -> dict[str, Any]:
    """The loss on held-out samples, whole and by t, and on training ones; empty with none held out.

    Up to n of each, spread over the data, at 8 times spread over 1..T, with fixed noise. How far the first
    lies above the second grows as the model memorizes its training samples.
    """
    data = trainer.data
    if not len(data.held_out):
        return {}
    times, losses = _losses(trainer, spread(data.held_out, n))
    _, training = _losses(trainer, spread(data.training, n))
    return {
        "held_out_loss": math.fsum(losses) / len(losses),
        "held_out_t": times,
        "held_out_loss_by_t": losses,
        "training_loss": math.fsum(training) / len(training),
    }


def _losses(trainer: Trainer, indices: np.ndarray) -> tuple[list[float], list[float]]:
    """(times, mean loss at each) of the samples at `indices`, of which all levels go into common batches."""
    ema, config, data, n = trainer.ema, trainer.config, trainer.data, len(indices)
    T = ema.schedule.T
    images = data.take(indices).images
    x_0, known = ema.codec.encode(images), known_of(ema.codec, images)
    cond = ema.told(data.values_at(indices, ema.conditions), n)
    times = np.unique(np.ceil((np.arange(LEVELS) + 0.5) / LEVELS * T))
    eps = [rng.normal(0, "validation", indices, level, shape=ema.shape) for level in range(len(times))]
    each: list[float] = []
    for k, seats in batches(n * len(times), batch_size(ema.shape, ema.device)):
        levels, seated = np.divmod(seats, n)
        noise = np.stack([eps[level][i] for level, i in zip(levels, seated, strict=True)])
        clean, noise = (
            torch.from_numpy(array).to(trainer.device, memory_format=trainer.layout)
            for array in (x_0[seated], noise)
        )
        here = None if known is None else torch.from_numpy(known[seated]).to(clean)
        draws = Draws(times[levels], noise, here)
        with torch.no_grad():
            found = OBJECTIVES[config.objective](ema, config.loss, clean, take(cond, seated), draws)
        each += sum(loss.double() for loss in found.values()).tolist()[: len(k)]  # pyright: ignore[reportAttributeAccessIssue]
    return times.tolist(), [math.fsum(each[i : i + n]) / n for i in range(0, len(each), n)]


def sample_distance(trainer: Trainer, n: int = SAMPLES) -> dict[str, Any]:
    """The Fréchet distance of n samples to training ones, and its floor: that of held-out ones.

    In an untrained network's features. Samples 0 … n - 1 of seed 0, of 6 evaluations: always the same noise,
    so that what changes is the model. Of so few the distance is far from 0 even for real samples. None where
    that is not finite.
    """
    data, ema = trainer.data, trainer.ema
    if len(data.training) < 2:
        return {}
    features, reference, floor = _reference(data, n)
    plan, distance = make_plan(ema.schedule, evaluations=EVALUATIONS, scales=ema.scales), None
    with np.errstate(invalid="ignore"), contextlib.suppress(NotFinite):
        told = told_by(data, ema, n)
        found = features(sample(of_crops(ema), n, cond=told, plan=plan, precision=ema.precision).images)
        distance = frechet_distance(found, reference) if np.isfinite(found).all() else None
    return {"sample_distance": distance, "sample_n": n} | floor


Reference = tuple[Features, np.ndarray, dict[str, Any]]
_references: WeakKeyDictionary[Dataset, dict[int, Reference]] = WeakKeyDictionary()


def _reference(data: Dataset, n: int) -> Reference:
    """What to compare by, training samples by it, and how far from them n held-out ones are."""
    known = _references.setdefault(data, {})
    if n not in known:
        features, floor = untrained_features(data), {}
        reference = features(data.images[spread(data.training, REFERENCE)])
        if len(data.held_out) >= 2:
            held_out = features(data.images[spread(data.held_out, n)])
            floor = {"sample_floor": frechet_distance(held_out, reference)}
        known[n] = features, reference, floor
    return known[n]


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "held_out_loss": held_out_loss,
    "sample_distance": sample_distance,
}
"""What is measured as training goes: (trainer, n) → entries of a row of metrics."""
