"""What scores compare samples by: features learned on the data, Inception's, or a given network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...data import Dataset
from ...errors import brief
from ...files import expanded, missing
from .base import Features, Say, pixel_features, silent
from .learned import learned_features
from .networks import CONFIG, inception_features, onnx_features, timm_features, torchscript_features
from .untrained import untrained_features

__all__ = [
    "FEATURES",
    "Features",
    "features_file",
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
"""Features by name, made from a data set."""

FILES = {".pt": torchscript_features, ".ts": torchscript_features, ".onnx": onnx_features}


def open_features(given: str, data: Dataset, say: Say = silent) -> Features:
    """The features of a row of `FEATURES`, a TorchScript or ONNX file, or the folder of a timm network."""
    path = features_file(given)
    if path is not None:
        return timm_features(path, data) if path.is_dir() else FILES[path.suffix](path, data)
    return learned_features(data, say=say) if given == "learned" else FEATURES[given](data)


def features_file(given: str) -> Path | None:
    """The file or folder of the network that features come from; None for a row of `FEATURES`.

    ValueError for what is neither, FileNotFoundError for a file that isn't there.
    """
    if given in FEATURES:
        return None
    path = expanded(given)
    if path.is_dir() and (path / CONFIG).is_file():
        return path
    if path.suffix not in FILES:
        raise ValueError(
            f"features must be {', '.join(FEATURES)}, a TorchScript (.pt) or ONNX (.onnx) file, or a "
            f"timm network's folder ({CONFIG} and weights), got {brief(given)}"
        )
    if not path.is_file():
        raise missing(given, "file")
    return path
