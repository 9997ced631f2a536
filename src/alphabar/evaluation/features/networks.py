"""Networks of others: Inception as papers use it, TorchScript and ONNX files, and timm's folders."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import Dataset
from ...model import Codec
from .base import Features, codec_of, digest

CONFIG = "config.json"  # of a timm network's folder


def inception_features(data: Dataset) -> Features:
    """The standard Inception network's 2,048 pool features, by torch-fidelity, as papers use them.

    The library fetches the weights once. ValueError if it isn't installed, or can't fetch them.
    """
    codec = _picture_codec(data)
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
            f"the weights of Inception could not be fetched ({error}): torch-fidelity does so once, which "
            "needs a network connection; or use learned features"
        ) from None

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(_bytes(images, codec))[0].numpy()

    return Features(
        "Inception v3, pool3 (torch-fidelity)",
        digest(net),
        "bytes, 3 channels, resized to 299 by the library",
        embed,
    )


def torchscript_features(path: Path, data: Dataset) -> Features:
    """A TorchScript network: float32 (n, 3, H, W) within 0..1 → (n, …)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # advice for those who write such files
            net = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError:
        raise ValueError(
            f"{path} is no TorchScript network; one is made by torch.jit.trace(net, x).save(PATH)"
        ) from None
    return _network(path, data, net, _file_digest(path))


def onnx_features(path: Path, data: Dataset) -> Features:
    """An ONNX network with one input: float32 (n, 3, H, W) within 0..1, resized if that size is fixed."""
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

    return _network(path, data, run, _file_digest(path), size if len(size) == 2 else None)


def timm_features(folder: Path, data: Dataset) -> Features:
    """A timm network, without its last layer, from a folder in Hugging Face's form: config.json and weights.

    Pictures are resized to its input size, uncropped, and normalized as its config.json says.
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
    return _network(folder, data, net, known, tuple(size), mode, how["mean"], how["std"])


# --- what they share -----------------------------------------------------------------------------


def _network(
    path: Path,
    data: Dataset,
    run: Callable[[Tensor], Tensor],
    digest: str,
    size: tuple[int, ...] | None = None,
    mode: str = "bilinear",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Features:
    """`run` on pictures with 3 channels within 0..1, resized to `size` and normalized where that is given."""
    codec = _picture_codec(data)

    def embed(images: np.ndarray) -> np.ndarray:
        x = _bytes(images, codec).float() / 255
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


def _bytes(images: np.ndarray, codec: Codec) -> Tensor:
    """Data space → uint8 with 3 channels; gray is repeated, and a fourth channel left out.

    For data without bounds, offset - 3 scale .. offset + 3 scale becomes 0..255.
    """
    low, high = codec.bounds or (-3.0, 3.0)
    unit = (codec.encode(images).astype(np.float64) - low) / (high - low)
    shown = np.rint(255 * np.clip(np.nan_to_num(unit), 0, 1)).astype(np.uint8)
    return torch.from_numpy(shown.repeat(3, 1) if shown.shape[1] == 1 else np.ascontiguousarray(shown[:, :3]))


def _picture_codec(data: Dataset) -> Codec:
    """The data's codec; ValueError unless networks for pictures can take such samples."""
    shape = data.space.shape
    if len(shape) != 3:
        raise ValueError(
            f"networks for pictures take samples of shape (C, H, W) and these have {shape}; "
            "use learned features, or pixels"
        )
    if shape[0] not in (1, 3, 4):
        raise ValueError(
            f"networks for pictures take 1, 3 or 4 channels and the data have {shape[0]}; "
            "use learned features, or pixels"
        )
    return codec_of(data)


def _needs(what: str, package: str, install: str = "") -> ValueError:
    return ValueError(
        f"{what} need the package {package}: pip install {install or package}; or use learned features"
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
