"""Alphabar: train denoising diffusion models on your own data, and sample from them.

    data = ab.prepare("FOLDER")               # pictures, arrays, digits
    for metrics in ab.train(data, "runs/mine", minutes=5): …
    model = ab.load("runs/mine")
    samples = ab.sample(model, 16)            # .images

and in modules, `ab.process` (forward process and posterior), `ab.schedules`, `ab.samplers`, `ab.edit` (real
pictures), `ab.scores` and `ab.evaluation` (is it good), `ab.runs`.
"""

from __future__ import annotations

import importlib

from .version import __version__

TYPE_CHECKING = False
"""As in `typing`, which takes longer to import than all else until the command line can handle Ctrl-C."""

# name → module; imported when first asked for, so that `import alphabar` doesn't wait for torch.
_HOMES = {
    "Dataset": "data",
    "Denoiser": "model",
    "Plan": "theory.plans",
    "Results": "runs",
    "SampleConfig": "sampling",
    "Schedule": "theory.schedule",
    "TrainConfig": "training",
    "Trainer": "training",
    "diagnose": "runs",
    "load": "model",
    "prepare": "data",
    "sample": "sampling",
    "save": "model",
    "train": "runs",
}
_MODULES = {"edit", "evaluation", "process", "runs", "samplers", "schedules", "scores"}

__all__ = sorted([*_HOMES, *_MODULES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'alphabar' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from typing import Any

    from . import edit, evaluation, process, runs, samplers, schedules, scores
    from .data import Dataset, prepare
    from .model import Denoiser, load, save
    from .runs import Results, diagnose, train
    from .sampling import SampleConfig, sample
    from .theory.plans import Plan
    from .theory.schedule import Schedule
    from .training import TrainConfig, Trainer
