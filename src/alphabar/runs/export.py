"""The averaged model of a run as a file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import lock_of, locked, read_metadata, save_tensors
from ..model.file import averaged
from ..sampling.guidance import own_guidance
from ..theory.plans import Plan
from ..training.config import names_of_role
from ..training.trainer import Trainer
from ..version import __version__
from .checkpoints import Moment


def describe_model(trainer: Trainer, told: dict[str, Any]) -> None:
    """Let the averaged model say of itself what it is by now; `told` is what its run knows."""
    left_out = {"network", "schedule", "prediction", *names_of_role("habit"), *names_of_role("start")}
    trainer.ema.about = told | {
        "data_fingerprint": trainer.data.fingerprint,
        "alphabar": __version__,
        "images": trainer.images,
        "updates": trainer.step,
        "training": trainer.config.model_dump(mode="json", exclude=left_out),
    }
    trainer.ema.guidance = own_guidance(trainer.ema)


def export(moment: Moment, path: Path, say: Callable[[str], None]) -> None:
    """Write the averaged model; what was fitted to the one that is there stays if its weights are these."""
    with locked(lock_of(path)):
        facts = dict(moment.facts)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            before = _facts_in(path)
            if before and before["about"]["images"] == moment.images:
                plans = [Plan.from_dict(entry).to_dict() for entry in before["plans"]]
                facts |= {"plans": plans, "x0_mse": before["x0_mse"]}
            elif before and (before["plans"] or before["x0_mse"]):
                say("the weights have changed: what was fitted to those before is dropped")
        save_tensors(path, averaged(moment.tensors), facts)


class Best:
    """The least value of a metric so far, since it has been this one that counts.

    Args:
        metric: its name.
        history: of the run.
        rows: of metrics so far.
    """

    def __init__(self, metric: str, history: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
        self.metric = metric
        since = max((entry["images"] for entry in history if entry["what"] == "best"), default=-1)
        self.least = min((self._value(row) for row in rows if row["images"] > since), default=math.inf)

    def _value(self, row: dict[str, Any]) -> float:
        found = row.get(self.metric)
        return math.inf if found is None else found

    def is_by(self, row: dict[str, Any]) -> bool:
        """Whether a new row has the least."""
        value = self._value(row)
        better = value < self.least
        self.least = min(value, self.least)
        return better


def complete(trainer: Trainer, path: Path, say: Callable[[str], None]) -> None:
    """Write the averaged model, unless that of so many images is there already."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if _facts_in(path)["about"]["images"] == trainer.images:
            return
    export(Moment.of(trainer, copied=False), path, say)


def _facts_in(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        return read_metadata(path)[0]
    return {}
