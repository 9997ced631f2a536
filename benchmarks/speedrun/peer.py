"""What the entries of other libraries share: the training pictures, a loop for a given time, and drawing."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from contract import Clock
from data import DATASETS
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))
from peers import DEVICE, autocast, stand_in

__all__ = ["DEVICE", "Pictures", "draw", "faster", "stand_in", "train"]

BATCH = 32


class Pictures(NamedTuple):
    """The training part on the device: (N, C, H, W) uint8, and the number of each one's class."""

    pictures: Tensor
    classes: Tensor

    @classmethod
    def read(cls, args: argparse.Namespace) -> Pictures:
        """What the driver gave, which for folders is the folder `train` itself."""
        path = args.data.parent if args.data.is_dir() else args.data
        part = DATASETS[args.dataset].read(path, "train")
        return cls(torch.from_numpy(part.samples).to(DEVICE), torch.from_numpy(part.classes).to(DEVICE))

    def batches(self, size: int = BATCH, flip: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Random batches without end: pictures in -1 … 1, mirrored or not if `flip`, and classes."""
        while True:
            pick = torch.randint(0, len(self.pictures), (size,), device=DEVICE)
            clean = self.pictures[pick].float() / 127.5 - 1
            if flip:
                mirrored = torch.rand(size, 1, 1, 1, device=DEVICE) < 0.5
                clean = torch.where(mirrored, clean.flip(3), clean)
            yield clean, self.classes[pick]

    def spread(self, n: int) -> Tensor:
        """A class for each of n samples, as often as here."""
        places = torch.linspace(0, len(self.classes) - 1, n, dtype=torch.float64, device=DEVICE)
        return self.classes.sort().values[places.round().long()]


def faster(loss: Callable[[], Tensor], net: nn.Module) -> bool:
    """Whether a step with bfloat16 takes less time than one without: the better of two each, none applied."""

    def elapsed_s(half: bool) -> float:
        start = time.perf_counter()
        with autocast(half):
            value = loss()
        value.backward()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    times = {half: min(elapsed_s(half) for _ in range(3)) for half in (True, False)}
    net.zero_grad(set_to_none=True)
    return times[True] < times[False]


def train(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    average: Callable[[], None],
    batches: Iterator[tuple[Tensor, Tensor]],
    clock: Clock,
) -> tuple[int, bool]:
    """Train until the time is over, the norm of the gradient being at most 1.

    Returns:
        How many images were seen, and whether in bfloat16.
    """
    first = next(batches)
    half, images = faster(lambda: loss(*first), net), 0
    while clock.left():
        clean, classes = next(batches)
        with autocast(half):
            value = loss(clean, classes)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average()
        images += len(clean)
    return images, half


@torch.inference_mode()
def draw(some: Callable[[Tensor], Tensor], classes: Tensor, seed: int, half: bool) -> dict[str, np.ndarray]:
    """The arrays `samples` and `classes` of pictures of these; `some` maps up to 100 to them, in 0 … 1."""
    torch.manual_seed(seed + 1)
    parts = []
    for told in classes.split(100):
        with autocast(half):
            parts.append((some(told).float().clamp(0, 1) * 255).round().byte().cpu())
    samples = torch.cat(parts).permute(0, 2, 3, 1).contiguous()
    return {"samples": samples.numpy(), "classes": classes.cpu().numpy()}
