"""The classifiers that judge: small, trained from fixed seeds in float32, so that any machine can make them.

A classifier maps samples to features f (before their ReLU) and to the logits of the classes. Its training is
AdamW with the learning rate up and down once, in an order that the seed decides.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 64
AT_ONCE = 500


class Convolutions(nn.Module):
    """(B, C, side, side) uint8 → (features (B, 64), logits (B, 10)); every second convolution is pooled."""

    def __init__(self, side: int, *channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(channels):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
            if c_in == c_out:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.features = nn.Linear(channels[-1] * side**2, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(self.body(pictures.float() / 127.5 - 1))
        return f, self.head(F.relu(f))


class Perceptron(nn.Module):
    """(B, columns) float32 → (features (B, 64), logits (B, classes)); tanh bounds what odd rows can do."""

    def __init__(self, columns: int, width: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(columns, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.features = nn.Linear(width, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(self.body(rows))
        return f, self.head(F.relu(f))


def flips_and_crops(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each mirrored or not, and moved by up to 4 pixels each way; what comes in is the edge's reflection."""
    n, _, height, width = pictures.shape
    mirrored = torch.rand(n, generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    padded = F.pad(pictures.float(), (4, 4, 4, 4), mode="reflect").to(pictures.dtype)
    down, right = torch.randint(0, 9, (2, n), generator=generator)
    rows, columns = (down[:, None] + torch.arange(height)), (right[:, None] + torch.arange(width))
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class Recipe(NamedTuple):
    """A classifier and its training: epochs, the highest learning rate, and what is done to a batch."""

    make: Callable[[], nn.Module]
    epochs: int
    peak: float = 3e-3
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None


RECIPES = {
    "mnist": Recipe(lambda: Convolutions(28, 1, 32, 32, 64, 64), epochs=3),
    "fashion": Recipe(lambda: Convolutions(28, 1, 32, 32, 64, 64), epochs=5),
    "cifar10": Recipe(
        lambda: Convolutions(32, 3, 32, 32, 64, 64, 128, 128), epochs=8, peak=5e-3, augment=flips_and_crops
    ),
    "diamonds": Recipe(lambda: Perceptron(22, 128, 5), epochs=20),
}


def train(recipe: Recipe, samples: Tensor, labels: Tensor) -> nn.Module:
    """Train with a fixed seed: AdamW in batches of 128, the learning rate up and down once."""
    epochs, batch, peak = recipe.epochs, 128, recipe.peak
    steps = epochs * len(samples) // batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = recipe.make().train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
        order = torch.cat([torch.randperm(len(samples)) for _ in range(epochs)])
        changes = torch.Generator().manual_seed(0)
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            inputs = recipe.augment(samples[pick], changes) if recipe.augment else samples[pick]
            loss = F.cross_entropy(net(inputs)[1], labels[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 200 == 0:
                print(f"training the classifier: step {step} of {steps}", file=sys.stderr, flush=True)
    return net.eval()


def classifier(name: str, samples: np.ndarray, labels: np.ndarray, cache: Path) -> tuple[nn.Module, Path]:
    """The trained classifier and its file, from the cache if made of the same samples by the same code."""
    recipe = RECIPES[name]
    parts: list[Callable] = [type(recipe.make()), train, *([recipe.augment] if recipe.augment else [])]
    key = hashlib.sha256("".join(map(inspect.getsource, parts)).encode())
    key.update(f"{recipe.make()} {recipe.epochs} {recipe.peak}".encode())
    for array in (samples, labels):
        key.update(np.ascontiguousarray(array))
    path = cache / f"judge-{name}-{key.hexdigest()[:16]}.pt"
    net = recipe.make().eval()
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net, path
    net = train(recipe, torch.from_numpy(samples), torch.from_numpy(labels).long())
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return net, path


def digest(net: nn.Module) -> str:
    """SHA-256 of the weights: each tensor's name and bytes, in the order of the network."""
    found = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        found.update(name.encode())
        found.update(tensor.contiguous().numpy())
    return found.hexdigest()


@torch.inference_mode()
def evaluate(net: nn.Module, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features (n, 64), probabilities (n, classes)) in float64."""
    outputs = [net(part) for part in torch.from_numpy(np.ascontiguousarray(samples)).split(AT_ONCE)]
    features, logits = (torch.cat(parts).double() for parts in zip(*outputs, strict=True))
    return features.numpy(), logits.softmax(1).numpy()
