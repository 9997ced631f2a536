"""What scores compare samples by: features learned on the data, Inception's, or a given network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...data import Dataset
from .base import Features, pixel_features
from .learned import learned_features
from .networks import CONFIG, inception_features, onnx_features, timm_features, torchscript_features
from .untrained import untrained_features

__all__ = [
    "FEATURES",
    "Features",
    "learned_features",
    "open_features",
    "pixel_features",
    "untrained_features",
]

FEATURES: dict[str, Callable[..., Features]] = {
    "learned": learned_features,
    "inception": inception_features,
    "untrained": untrained_features,
    "pixels": pixel_features,
}
"""Features by name, made of a data set."""

FILES = {".pt": torchscript_features, ".ts": torchscript_features, ".onnx": onnx_features}


def open_features(given: str, data: Dataset, say: Callable[[str], None] = lambda message: None) -> Features:
    """A row of `FEATURES`, or those of a network in a TorchScript or ONNX file, or a folder of timm's."""
    if given == "learned":
        return learned_features(data, say=say)
    if given in FEATURES:
        return FEATURES[given](data)
    path = Path(given).expanduser()
    if path.is_dir() and (path / CONFIG).is_file():
        return timm_features(path, data)
    if path.suffix not in FILES:
        raise ValueError(
            f"features must be {', '.join(FEATURES)}, a TorchScript (.pt) or ONNX (.onnx) file, or a folder "
            f"with a network of timm ({CONFIG} and weights), got {given!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {given}")
    return FILES[path.suffix](path, data)
