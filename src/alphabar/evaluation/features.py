"""What scores compare pictures by: features learned on the data, Inception's, or a given network's."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Dataset, DataSpec
from ..data.prepare import cache_folder
from ..files import load_tensors, save_tensors
from ..images import displayable

BLOCK = 250
WIDTH = 64
SIDE = 32  # pictures are shrunk to about this many pixels a side before features are learned
IMAGES_SEEN = 150_000
BATCH = 100


@dataclass
class Features:
    """A function from pictures to vectors, with its provenance.

    Attributes:
        name: for people.
        digest: of the weights.
        preprocessing: what happens to a picture first, in words.
        about: how it was made, as JSON.
        embed: (n, C, H, W) in data space → (n, d).
    """

    name: str
    digest: str
    preprocessing: str
    embed: Callable[[np.ndarray], np.ndarray]
    about: dict[str, Any] = field(default_factory=dict)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, C, H, W) in data space → (n, d), float64."""
        blocks = [self.embed(np.asarray(images[i : i + BLOCK])) for i in range(0, len(images), BLOCK)]
        return np.concatenate(blocks).astype(np.float64)

    def of_dataset(self, data: Dataset) -> np.ndarray:
        """The features of every picture of a data set, kept on disk by fingerprint and digest."""
        key = hashlib.sha256(f"{data.fingerprint} {self.digest} {self.preprocessing}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key[:20]}.safetensors"
        if data.fingerprint and path.exists():
            return load_tensors(path)[0]["features"].numpy()
        found = self(data.images)
        if data.fingerprint:
            save_tensors(path, {"features": torch.from_numpy(found)}, {"features": self.digest})
        return found


def open_features(given: str, data: Dataset, say: Callable[[str], None] = lambda message: None) -> Features:
    """`learned`, `inception`, `pixels`, or the path of a TorchScript (.pt) or ONNX (.onnx) network."""
    if given == "learned":
        return learned(data, say=say)
    if given == "inception":
        return inception(data.spec)
    if given == "pixels":
        return pixels(data.spec)
    path = Path(given).expanduser()
    if path.suffix in (".pt", ".ts", ".onnx"):
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {given}")
        return onnx(path, data.spec) if path.suffix == ".onnx" else torchscript(path, data.spec)
    raise ValueError(
        f"features must be learned, inception, pixels, or a TorchScript (.pt) or ONNX (.onnx) file, "
        f"got {given!r}"
    )


def pixels(spec: DataSpec) -> Features:
    """The values themselves, in model space."""
    return Features(
        "pixels",
        "pixels",
        "model space, flattened",
        lambda images: spec.to_model(images).reshape(len(images), -1),
    )


# --- learned on the user's own data --------------------------------------------------------------


class SmallNet(nn.Module):
    """Four convolutions, the mean over places, 64 features; a linear layer for classes or for pairs."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [channels, 32, 64, 128, 128]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.features = nn.Linear(2 * widths[-1], WIDTH)
        self.head = nn.Linear(WIDTH, outputs)

    def embed(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 64)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return self.features(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def shrunk(x_0: Tensor) -> Tensor:
    """Pictures at about 32 pixels a side, by means over squares; small ones as they are."""
    factor = max(x_0.shape[-2:]) // SIDE
    return F.avg_pool2d(x_0, factor) if factor > 1 else x_0


def learned(
    data: Dataset,
    images_seen: int = IMAGES_SEEN,
    seed: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> Features:
    """Features learned on the training part of `data`, once: by telling its classes, or its pictures, apart.

    With classes a small network is trained to name them. Without, to recognise which two of a batch's
    200 pictures are the same one, each moved, scaled, dimmed and noised at random (SimCLR,
    arXiv 2002.05709). The 64 numbers before the last layer are the features. Kept by the data's
    fingerprint, so that they are the same ones every time.
    """
    spec, supervised = data.spec, len(data.spec.classes) > 1
    made = {
        "how": "classes" if supervised else "pairs",
        "data": data.fingerprint,
        "holdout": data.holdout,
        "images_seen": images_seen,
        "seed": seed,
        "version": 1,
    }
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:20]
    path = cache_folder() / "features" / f"learned-{key}.safetensors"
    net = SmallNet(spec.shape[0], len(spec.classes) if supervised else WIDTH)
    if data.fingerprint and path.exists():
        tensors, about, _ = load_tensors(path)
        net.load_state_dict(tensors)
        net.eval()
    else:
        say("learning features on the data, once …")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = SmallNet(spec.shape[0], len(spec.classes) if supervised else WIDTH)
            _fit(net, data, images_seen, seed, supervised)
        about = made | _held_out_accuracy(net, data, supervised)
        if data.fingerprint:
            save_tensors(path, net.state_dict(), about)
    net.requires_grad_(False)

    def embed(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(spec.to_model(images))
        return net.embed(shrunk(x)).numpy()

    by = f"classes, {about['accuracy']:.1%} right" if supervised else f"pairs, {about['accuracy']:.1%} found"
    return Features(
        f"learned on the data (by its {by} on held-out pictures)",
        _digest(net),
        f"model space, at most about {SIDE} pixels a side",
        embed,
        about,
    )


def _fit(net: SmallNet, data: Dataset, images_seen: int, seed: int, supervised: bool) -> None:
    steps = max(1, images_seen // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    net.train()
    for k in range(steps):
        batch = data.batch(seed, k, BATCH)
        x = shrunk(torch.from_numpy(batch.x_0))
        if supervised:
            assert batch.label is not None
            loss = F.cross_entropy(net.head(net.embed(jittered(x, moves=0.1))), torch.from_numpy(batch.label))
        else:
            loss = pair_loss(net.head(F.relu(net.embed(torch.cat([jittered(x), jittered(x)])))))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rates.step()
    net.eval()


def jittered(x: Tensor, moves: float = 0.25) -> Tensor:
    """Pictures moved and scaled by up to `moves`, dimmed, and with a little noise, at random."""
    n = len(x)
    theta = torch.zeros(n, 2, 3)
    scale = 1 + moves * (2 * torch.rand(n) - 1)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = moves * (2 * torch.rand(n, 2) - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    gain = 1 + moves * (2 * torch.rand(n, 1, 1, 1) - 1)
    return gain * x + moves * (2 * torch.rand(n, 1, 1, 1) - 1) + 0.2 * moves * torch.randn_like(x)


def pair_loss(z: Tensor, temperature: float = 0.2) -> Tensor:
    """-log of the share that a picture's other version has among all (NT-Xent, eq. 1 of arXiv 2002.05709)."""
    z = F.normalize(z, dim=1)
    n = len(z) // 2
    similar = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similar, torch.arange(2 * n).roll(n))


def _held_out_accuracy(net: SmallNet, data: Dataset, supervised: bool) -> dict[str, float]:
    """On up to 2,000 held-out pictures: the share of classes named, or of pairs found among 100 pictures."""
    indices = data.held_out if len(data.held_out) else data.training[:BATCH]
    right = total = 0
    with torch.no_grad():
        for i in range(0, len(indices), BATCH):
            batch = data.take(indices[i : i + BATCH])
            x = shrunk(torch.from_numpy(batch.x_0))
            if supervised:
                assert batch.label is not None
                found, wanted = net.head(net.embed(x)).argmax(1), torch.from_numpy(batch.label)
            else:
                a, b = (F.normalize(net.head(F.relu(net.embed(v))), dim=1) for v in (x, jittered(x)))
                found, wanted = (b @ a.T).argmax(1), torch.arange(len(x))
            right += int((found == wanted).sum())
            total += len(x)
    return {"accuracy": right / total}


# --- others' networks ----------------------------------------------------------------------------


def _bytes(images: np.ndarray, spec: DataSpec, channels: int = 3) -> Tensor:
    """Data space → uint8 with 3 channels; grey is repeated, and a fourth channel left out."""
    shown = displayable(images, spec.low, spec.high)
    if shown.shape[1] == 1:
        shown = shown.repeat(channels, 1)
    return torch.from_numpy(np.ascontiguousarray(shown[:, :channels]))


def inception(spec: DataSpec) -> Features:
    """The standard Inception network's 2,048 pool features, by torch-fidelity, as papers use them.

    The library fetches the weights once. ValueError if it isn't installed or can't fetch them.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError:
        raise ValueError(
            "inception features need the package torch-fidelity: pip install 'alphabar[inception]'; or use "
            "learned ones"
        ) from None
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
        _digest(net),
        "bytes, 3 channels, resized to 299 by the library",
        embed,
    )


def torchscript(path: Path, spec: DataSpec) -> Features:
    """A TorchScript network: float32 (n, 3, H, W) within 0..1 → (n, …)."""
    net = torch.jit.load(str(path), map_location="cpu").eval()

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(_bytes(images, spec).float() / 255).flatten(1).float().numpy()

    return Features(path.name, _file_digest(path), "3 channels, values within 0..1, own size", embed)


def onnx(path: Path, spec: DataSpec) -> Features:
    """An ONNX network of one input: float32 (n, 3, H, W) within 0..1, resized if its size is fixed."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("features by ONNX need the package onnxruntime: pip install onnxruntime") from None
    run = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = run.get_inputs()[0]
    size = tuple(side for side in entry.shape[2:] if isinstance(side, int))

    def embed(images: np.ndarray) -> np.ndarray:
        x = _bytes(images, spec).float() / 255
        if len(size) == 2 and tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return run.run(None, {entry.name: x.numpy()})[0].reshape(len(images), -1)

    text = f"resized to {size[0]} x {size[1]}" if len(size) == 2 else "own size"
    return Features(path.name, _file_digest(path), f"3 channels, values within 0..1, {text}", embed)


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(net: nn.Module) -> str:
    state = net.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
