"""What the facts in a run's own files must be, before anything is made of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.config import DataConfig
from ..files import COUNT, DamagedFile, check_facts
from ..model.facts import SPACE
from ..training.config import TrainConfig
from .history import TOTAL

START = {"what": {"from", "fork"}, "path": str, "digest": str, "step?": COUNT, "images?": COUNT}
RUN = {
    "alphabar": str,
    "id": str,
    "command": [str],
    "data": {"source": str, "prepared": {str: Any}, "samples": COUNT},
    "identity": {
        "data": {"fingerprint": str, "holdout": float},
        "config": {"network": {str: Any}, "schedule": {str: Any}, str: Any},
        "start": (None, START),
    },
    "budget": {str: Any},
    "habits": {str: Any},
    "measured": {
        "precision?": str,
        "channels_last?": (None, bool),
        "threads?": COUNT,
        "took_s?": float,
        "afforded?": [str],
        "made_with?": {str: Any},
        str: Any,
    },
    "history": [{"time": float, "images": COUNT, "what": str, "before": Any, "after": Any}],
}
"""run.json."""

NUMBER = int | float
"""Also one that isn't finite."""
METRICS = {
    "step?": COUNT,
    "images": COUNT,
    "loss": NUMBER,
    "grad_norm?": NUMBER,
    "lr?": NUMBER,
    "held_out_t?": [float],
    "held_out_loss_by_t?": [NUMBER],
    str: (None, NUMBER, [NUMBER]),
}
"""A line of metrics.jsonl."""
TIMES = {
    "step": COUNT,
    "images": COUNT,
    "time": float,
    "elapsed_s": float,
    "spent_s": float,
    "images_per_s": float,
}
"""A line of times.jsonl."""
LOGGED = {str: {"images": COUNT, "toward?": COUNT}}
"""logged.json."""
SAMPLES = {"space": SPACE, "indices": [COUNT], "told": {str: [Any]}, "seed?": COUNT, str: Any}
"""samples.json."""


def check_run(path: Path, entry: Any) -> dict[str, Any]:
    """What run.json says; DamagedFile that names the file and the fact unless it can be so."""
    check_facts(path, entry, RUN)
    for row in entry["history"]:
        if row["what"] == TOTAL:
            check_facts(f"{path}: in the history, after {row['images']} images", row["after"], COUNT)
    settings: Mapping[str, Any] = entry["identity"]["config"] | entry["budget"] | entry["habits"]
    try:
        DataConfig(**entry["data"]["prepared"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice, on a schedule that is in use
            TrainConfig(**{name: value for name, value in settings.items() if name != "log"})
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
    return entry
