"""The guidance that a finished run's model takes by itself, measured on samples of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..evaluation.guidance import can_be_matched, evaluations, match_guidance
from ..training.trainer import Trainer
from .checkpoints import Moment
from .export import export, facts_after

MOST, FEWEST = 1024, 256  # samples
SHARE = 0.15  # of a run, at most


def num_samples(trainer: Trainer, total: float) -> int:
    """How many samples to measure by, at the end of a run of `total` images; perhaps none."""
    if not can_be_matched(trainer.ema):
        return 0
    n = min(MOST, len(trainer.data.training))
    while n >= FEWEST and _cost(n) > SHARE * total:
        n //= 2
    return n if n >= FEWEST else 0


def cost(trainer: Trainer, total: float) -> float:
    """What it takes, in images trained on."""
    n = num_samples(trainer, total)
    return _cost(n) if n else 0.0


def _cost(n: int) -> float:
    return evaluations(n) / 3  # one evaluation is a third of an update


def matched(trainer: Trainer) -> dict[str, Any] | None:
    """What `match_guidance` finds for the averaged model as it is; None where it isn't asked."""
    n = num_samples(trainer, trainer.images)
    return match_guidance(trainer.ema, trainer.data, n) if n else None


def complete(trainer: Trainer, path: Path, say: Callable[[str], None]) -> None:
    """Write the averaged model of a finished run with its guidance, unless it is there already."""
    there = facts_after(trainer.images, path)
    guidance = there.get("guidance") or matched(trainer)
    if not there or there.get("guidance") != guidance:
        moment = Moment.of(trainer, copied=False)
        export(moment._replace(facts=moment.facts | {"guidance": guidance}), path, say)
