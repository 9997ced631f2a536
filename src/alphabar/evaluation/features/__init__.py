"""What scores compare pictures by: features learned on the data, Inception's, or a given network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...data import Dataset
from .base import Features, pixels
from .learned import learned
from .networks import CONFIG, inception, onnx, timm, torchscript
from .untrained import untrained

__all__ = ["Features", "learned", "open_features", "pixels", "untrained"]

PLAIN = {"pixels": pixels, "inception": inception}
FILES = {".pt": torchscript, ".ts": torchscript, ".onnx": onnx}


def open_features(given: str, data: Dataset, say: Callable[[str], None] = lambda message: None) -> Features:
    """`learned`, `inception`, `untrained`, `pixels`, or the path of a TorchScript, ONNX or timm network."""
    if given == "learned":
        return learned(data, say=say)
    if given == "untrained":
        return untrained(data)
    if given in PLAIN:
        return PLAIN[given](data.spec)
    path = Path(given).expanduser()
    if path.is_dir() and (path / CONFIG).is_file():
        return timm(path, data.spec)
    if path.suffix not in FILES:
        raise ValueError(
            "features must be learned, inception, untrained, pixels, a TorchScript (.pt) or ONNX (.onnx) "
            f"file, or a folder with a network of timm ({CONFIG} and weights), got {given!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {given}")
    return FILES[path.suffix](path, data.spec)
