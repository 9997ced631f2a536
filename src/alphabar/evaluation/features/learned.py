"""Features learned on the user's own data, in minutes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Dataset
from ...data.prepare import cache_folder
from ...files import DamagedFile, load_tensors, save_tensors
from .base import SHRUNK, Features, digest, shrunk, standardised

WIDTH = 64
IMAGES_SEEN = 150_000
BATCH = 100


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
        "version": 2,
    }
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:20]
    path = cache_folder() / "features" / f"learned-{key}.safetensors"
    net, about = SmallNet(spec.shape[0], len(spec.classes) if supervised else WIDTH), {}
    if data.fingerprint and path.exists():
        with contextlib.suppress(DamagedFile):
            tensors, about, _ = load_tensors(path)
            net.load_state_dict(tensors)
            net.eval()
    if not about:
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
    among = f"{about['pictures']:,} {'held-out' if len(data.held_out) else 'training'} pictures"
    found = Features(
        f"learned on the data (by its {by}, of {among})",
        digest(net),
        SHRUNK,
        embed,
        about,
    )
    return standardised(found, data)


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
    """On up to 2,000 held-out pictures: the share of classes named, or of pairs found among up to 100."""
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
    return {"accuracy": right / total, "pictures": total}
