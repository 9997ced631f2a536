"""Others' networks: Inception as papers use it, TorchScript and ONNX files, and folders of timm."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import DataSpec
from ...images import displayable
from .base import Features, digest

CONFIG = "config.json"  # of a timm network's folder


def inception(spec: DataSpec) -> Features:
    """The standard Inception network's 2,048 pool features, by torch-fidelity, as papers use them.

    The library fetches the weights once. ValueError if it isn't installed or can't fetch them.
    """
    _check_channels(spec)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError:
        raise _needs("inception features", "torch-fidelity", "'alphabar[inception]'") from None
    try:
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).eval()
    except OSError as error:
        raise ValueError(
            f"the weights of Inception could not be fetched ({error}); torch-fidelity does that once, on a "
            "machine with a network; or use learned features"
        ) from None

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(_bytes(images, spec))[0].numpy()

    return Features(
        "Inception v3, pool3 (torch-fidelity)",
        digest(net),
        "bytes, 3 channels, resized to 299 by the library",
        embed,
    )


def torchscript(path: Path, spec: DataSpec) -> Features:
    """A TorchScript network: float32 (n, 3, H, W) within 0..1 → (n, …)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # advice to who writes such files
            net = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError:
        raise ValueError(
            f"{path} is no TorchScript network; one is made by torch.jit.trace(net, x).save(PATH)"
        ) from None
    return _network(path, spec, net, _file_digest(path))


def onnx(path: Path, spec: DataSpec) -> Features:
    """An ONNX network of one input: float32 (n, 3, H, W) within 0..1, resized if its size is fixed."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise _needs("features by ONNX", "onnxruntime") from None
    try:
        opened = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"{path} is no network for onnxruntime: {_last_line(error)}") from None
    entry = opened.get_inputs()[0]
    size = tuple(side for side in entry.shape[2:] if isinstance(side, int))

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(opened.run(None, {entry.name: x.numpy()})[0])

    return _network(path, spec, run, _file_digest(path), size if len(size) == 2 else None)


def timm(folder: Path, spec: DataSpec) -> Features:
    """A network of timm in a folder as Hugging Face has it (config.json and weights), without its last layer.

    Pictures are resized to its input size, whole, and normalised as its config.json says.
    """
    try:
        import timm.data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise _needs("features by a folder's network", "timm") from None
    try:
        net = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    except Exception as error:
        raise ValueError(f"timm can't make a network of {folder}: {_last_line(error)}") from None
    how = timm.data.resolve_model_data_config(net)
    channels, *size = how["input_size"]
    if channels != 3:
        raise ValueError(f"the network in {folder} takes {channels} channels, and pictures are given with 3")
    mode = how["interpolation"] if how["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    known = hashlib.sha256((digest(net) + _file_digest(folder / CONFIG)).encode()).hexdigest()
    return _network(folder, spec, net, known, tuple(size), mode, how["mean"], how["std"])


# --- what they share -----------------------------------------------------------------------------


def _network(
    path: Path,
    spec: DataSpec,
    run: Callable[[Tensor], Tensor],
    digest: str,
    size: tuple[int, ...] | None = None,
    mode: str = "bilinear",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Features:
    """`run` on pictures with 3 channels within 0..1, resized to `size` and normalised if that is given."""
    _check_channels(spec)

    def embed(images: np.ndarray) -> np.ndarray:
        x = _bytes(images, spec).float() / 255
        if size and tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode=mode, antialias=True, align_corners=False)
        if mean:
            x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        try:
            with torch.no_grad():
                found = run(x)
        except Exception as error:
            raise ValueError(
                f"the network in {path} can't take pictures of shape {tuple(x.shape[1:])}: "
                + _last_line(error)
            ) from None
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(x):
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the network in {path} must give a row of features for each of {len(x)} pictures, got {what}"
            )
        if not torch.isfinite(found).all():
            raise ValueError(f"the network in {path} gives features that are not finite")
        return found.flatten(1).float().numpy()

    text = f", {mode} to {size[0]} x {size[1]}" if size else ", own size"
    text += f", less {tuple(mean)}, over {tuple(std)}" if mean else ""
    return Features(path.name, digest, f"3 channels, values within 0..1{text}", embed)


def _bytes(images: np.ndarray, spec: DataSpec) -> Tensor:
    """Data space → uint8 with 3 channels; grey is repeated, and a fourth channel left out.

    Of data without bounds, offset -+ 3 scale becomes 0..255.
    """
    low = spec.offset - 3 * spec.scale if spec.low is None else spec.low
    high = spec.offset + 3 * spec.scale if spec.high is None else spec.high
    shown = displayable(images, low, high)
    shown = shown.repeat(3, 1) if shown.shape[1] == 1 else shown[:, :3]
    return torch.from_numpy(np.array(shown))  # a copy, for the data may be read-only


def _check_channels(spec: DataSpec) -> None:
    if spec.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"networks for pictures take 1, 3 or 4 channels and the data have {spec.shape[0]}; "
            "use learned features, or pixels"
        )


def _needs(what: str, package: str, install: str = "") -> ValueError:
    return ValueError(
        f"{what} need the package {package}: pip install {install or package}; or use learned ones"
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
