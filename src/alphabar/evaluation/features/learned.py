"""Features learned on the user's own data, in minutes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Batch, ClassCondition, Dataset, spread
from ...data.conditions.base import is_told
from ...data.preparing.preparation import cache_folder
from ...files import DamagedFile, load_tensors, save_tensors
from ...model import Codec
from ...model.generators import seeded
from .base import Features, Say, codec_of, digest, shrunk, shrunk_words, sides, silent, standardized

WIDTH = 64
IMAGES_SEEN, PRODUCTS = 150_000, 2e12
"""It learns from so many images, or from as many as its layers take so many multiplications for, forward."""
BATCH = 100
MEASURED = 5000
LAYERS = {
    0: (nn.Linear, nn.BatchNorm1d),
    1: (nn.Conv1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.BatchNorm3d),
}


class SmallNet(nn.Module):
    """Four convolutions, mean and maximum over all positions, 64 features; a last layer for classes or pairs.

    For vectors (no dimensions) the four layers are linear.
    """

    def __init__(self, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [channels, 32, 64, 128, 128]
        layer, norm = LAYERS[dimensions]
        settings = [{"kernel_size": 3, "stride": 1 if i == 0 else 2, "padding": 1} for i in range(4)]
        self.layers = nn.ModuleList(
            layer(a, b, **(how if dimensions else {}))
            for how, (a, b) in zip(settings, itertools.pairwise(widths), strict=True)
        )
        self.norms = nn.ModuleList(norm(width) for width in widths[1:])
        self.features = nn.Linear(2 * widths[-1], WIDTH)
        self.head = nn.Linear(WIDTH, outputs)

    def embed(self, x: Tensor) -> Tensor:
        """(B, C, *sides) → (B, 64)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
        x = x.reshape(*x.shape[:2], -1)  # a vector has one position
        return self.features(torch.cat([x.mean(2), x.amax(2)], 1))

    def products(self, shape: Sequence[int]) -> int:
        """The multiplications of `embed` for one sample of this shape, of the layers before the features."""
        found, sides = 0, tuple(shape[1:])
        for i, layer in enumerate(self.layers):
            sides = tuple(-(-side // 2) for side in sides) if i else sides
            found += next(layer.parameters()).numel() * math.prod(sides)
        return found


def learned_features(
    data: Dataset,
    images_seen: int | None = None,
    seed: int = 0,
    say: Say = silent,
) -> Features:
    """Features learned once on the training part of the data, by telling its classes, or its samples, apart.

    If the data have classes, a small network is trained to name them. If not, it is trained to recognize
    which two of a batch's 200 samples are versions of the same one, each moved, scaled, dimmed and noised at
    random (SimCLR, arXiv 2002.05709). The features are the 64 numbers before the last layer. They are kept by
    the data's fingerprint, so that they are the same ones every time.

    Args:
        data: the samples.
        images_seen: how many, with repetitions, it learns from; None for as many as `IMAGES_SEEN` says.
        seed: of weights and batches.
        say: told that it begins.
    """
    dimensions, codec, classes = sides(data.space), codec_of(data), _classes(data)
    outputs = data.conditions[classes].shape[0] if classes else WIDTH
    with seeded(seed, torch.device("cpu")):
        net, about = SmallNet(dimensions, codec.shape[0], outputs), {}
    if images_seen is None:
        seen = shrunk(torch.empty(1, *codec.shape, device="meta")).shape[1:]
        cost = net.products(seen) * (1 if classes else 2)
        images_seen = min(IMAGES_SEEN, max(BATCH, int(PRODUCTS / cost)))
    made = {
        "how": "classes" if classes else "pairs",
        "data": data.fingerprint,
        "holdout": data.holdout,
        "images_seen": images_seen,
        "seed": seed,
        "version": 4,
    }
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:20]
    path = cache_folder() / "features" / f"learned-{key}.safetensors"
    if data.fingerprint and path.exists():
        with contextlib.suppress(DamagedFile):
            tensors, about, _ = load_tensors(path)
            net.load_state_dict(tensors)
            net.eval()
    if not about:
        say("learning features on the data, once …")
        with seeded(seed, torch.device("cpu")):
            net = SmallNet(dimensions, codec.shape[0], outputs)
            source = Source(data, codec, classes)
            _fit(net, source, images_seen, seed)
            about = made | _held_out_accuracy(net, source)
        if data.fingerprint:
            save_tensors(path, net.state_dict(), about)
    net.requires_grad_(False)

    def embed(images: np.ndarray) -> np.ndarray:
        return net.embed(shrunk(torch.from_numpy(codec.encode(images)))).numpy()

    by = f"classes, {about['accuracy']:.1%} right" if classes else f"pairs, {about['accuracy']:.1%} found"
    of, kind = (data.held_out, "held-out") if len(data.held_out) else (data.training, "training")
    some = "" if len(of) == about["samples"] else f"{about['samples']:,} of "
    among = f"{some}{len(of):,} {kind} samples"
    name = f"learned on the data (by its {by}, of {among})"
    return standardized(Features(name, digest(net), shrunk_words(data.space), embed, about), data)


class Source:
    """What `learned_features` learns from.

    Attributes:
        data: the samples.
        codec: their codec.
        classes: the condition whose classes are to be named, or "" for pairs.
    """

    def __init__(self, data: Dataset, codec: Codec, classes: str) -> None:
        self.data, self.codec, self.classes = data, codec, classes

    def tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples in model space, shrunk; their classes, or nothing)."""
        label = batch.values[self.classes] if self.classes else np.zeros(0)
        x_0 = torch.from_numpy(self.codec.encode(batch.images))
        return shrunk(x_0), torch.from_numpy(label.astype(np.int64))


def _classes(data: Dataset) -> str:
    """The first condition of several classes that every sample has a value of; "" if there is none."""
    for name, condition in data.conditions.items():
        told = is_told(data.values[name]).all()
        if isinstance(condition, ClassCondition) and len(condition.names) > 1 and told:
            return name
    return ""


def _fit(net: SmallNet, source: Source, images_seen: int, seed: int) -> None:
    steps = max(1, images_seen // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    net.train()
    for k in range(steps):
        x, label = source.tensors(source.data.batch(seed, k, BATCH))
        if source.classes:
            loss = F.cross_entropy(net.head(net.embed(jittered(x, moves=0.1))), label)
        else:
            loss = pair_loss(net.head(F.relu(net.embed(torch.cat([jittered(x), jittered(x)])))))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rates.step()
    net.eval()


def jittered(x: Tensor, moves: float = 0.25) -> Tensor:
    """Samples moved and scaled by up to `moves`, dimmed, and with a little noise, at random.

    Vectors can't be moved; they get the same noise, dimming and brightening.
    """
    n, one = len(x), [len(x)] + [1] * (x.ndim - 1)
    if x.ndim > 2:
        row = x.unsqueeze(2) if x.ndim == 3 else x  # a line is moved as a picture of one row
        dimensions = row.ndim - 2
        scale = 1 + moves * (2 * torch.rand(n) - 1)
        theta = torch.diag_embed(scale[:, None].expand(n, dimensions))
        theta = torch.cat([theta, moves * (2 * torch.rand(n, dimensions, 1) - 1)], 2)
        grid = F.affine_grid(theta, list(row.shape), align_corners=False)
        x = F.grid_sample(row, grid, padding_mode="border", align_corners=False).reshape(x.shape)
    gain = 1 + moves * (2 * torch.rand(one) - 1)
    return gain * x + moves * (2 * torch.rand(one) - 1) + 0.2 * moves * torch.randn_like(x)


def pair_loss(z: Tensor, temperature: float = 0.2) -> Tensor:
    """The cross-entropy of finding a sample's other version (NT-Xent, eq. 1 of arXiv 2002.05709)."""
    z = F.normalize(z, dim=1)
    n = len(z) // 2
    similar = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similar, torch.arange(2 * n).roll(n))


def _held_out_accuracy(net: SmallNet, source: Source) -> dict[str, float]:
    """On up to `MEASURED` held-out samples: the share whose class is named, or whose other version is found
    among 100.
    """
    data = source.data
    indices = spread(data.held_out, MEASURED) if len(data.held_out) else spread(data.training, BATCH)
    right = total = 0
    with torch.no_grad():
        for i in range(0, len(indices), BATCH):
            x, wanted = source.tensors(data.take(indices[i : i + BATCH]))
            if source.classes:
                found = net.head(net.embed(x)).argmax(1)
            else:
                a, b = (F.normalize(net.head(F.relu(net.embed(v))), dim=1) for v in (x, jittered(x)))
                found, wanted = (b @ a.T).argmax(1), torch.arange(len(x))
            right += int((found == wanted).sum())
            total += len(x)
    return {"accuracy": right / total, "samples": total}
