"""What the facts in a model's file must be, before anything is made of them."""

from __future__ import annotations

from typing import Any

from ..files import COUNT

COLUMN = {"kind": str, str: (None, bool, float, str, [str])}
SPACE = {
    "shape": [range(1, 2**31)],
    "dtype": str,
    "low": (None, [float]),
    "high": (None, [float]),
    "kind": str,
    "names": [str],
    "units": [str],
    "layout": str,
    "background": (None, str),
    "resize": (None, str),
    "fit": str,
    "kept": (None, [range(1, 2**16)]),
    "missing": str,
    "gaps": bool,
    "grid": {str: Any},
    "columns": [COLUMN],
    "timeline": {"order?": [str], "times?": [float], "columns?": [COLUMN], str: (float, str)},
    "labels": [{"name": str, "place": COUNT, "column": COLUMN, "told": str}],
}
"""A `Space`, as `to_dict` gives it."""

PLAN = {
    "made_by": {"guidance": {"scale": (float, {str: float}), str: Any}, str: Any},
    "history": str,
    "times": [float],
    "alpha_bar": [float],
    "A": [float],
    "B": [[float]],
    "C": [float],
}
"""A plan that was fitted to the model."""
TRAINING = {
    "lr?": int | float,
    "ema_halflife?": int | float,
    "ema_ramp?": int | float,
    "loss?": str,
    "precision?": (None, str),
    str: Any,
}
"""The settings of training: those that are read again."""

ABOUT = {
    "alphabar?": str,
    "run?": str,
    "source?": str,
    "prepared?": {str: Any},
    "data_fingerprint?": str,
    "images?": COUNT,
    "of_images?": (None, COUNT),
    "updates?": COUNT,
    "training?": TRAINING,
    str: Any,
}

CHECKPOINT: dict[Any, Any] = {"checkpoint": {"step": COUNT, "images": COUNT}, str: Any}
"""What there must be in a checkpoint to train on from it."""

MODEL = {
    "format": Any,
    "network": {"name": str, str: Any},
    "requires": (None, {"package": str, "version": (None, str)}),
    "schedule": {"name": str, str: (float, [float])},
    "prediction": str,
    "space": SPACE,
    "codec": {"name": str, str: Any},
    "conditions": {str: {"kind": str, str: Any}},
    "plans": [PLAN],
    "scales": (None, [float]),
    "x0_mse": (None, [[float], [float]]),
    "guidance": (None, {"scale": float, "interval": (None, [float]), "every": int}),
    "about": ABOUT,
    "checkpoint?": CHECKPOINT["checkpoint"],
    str: Any,
}
