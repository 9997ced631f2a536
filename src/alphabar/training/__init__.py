"""Training: one update, and the settings that decide it. Knows no sampling and no run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# name → module; imported when first asked for, so that settings don't wait for torch
_HOMES = {
    "OBJECTIVES": "objectives",
    "PRESETS": "presets",
    "TIMES": "objectives",
    "Diverged": "pending",
    "TrainConfig": "config",
    "Trainer": "trainer",
    "resolve": "presets",
}

__all__ = ["OBJECTIVES", "PRESETS", "TIMES", "Diverged", "TrainConfig", "Trainer", "resolve"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


if TYPE_CHECKING:
    from .config import TrainConfig
    from .objectives import OBJECTIVES, TIMES
    from .pending import Diverged
    from .presets import PRESETS, resolve
    from .trainer import Trainer
