"""Batch k where the network is: made on the CPU ahead of time, or gathered on the device itself."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..data.dataset import Dataset
from ..model.affine import known_of
from ..model.denoiser import Denoiser
from ..theory.at import At
from .config import TrainConfig
from .inputs import Inputs, Number, Places, draw_times, hide
from .resident import resident
from .ring import Ring

Ready = Inputs | Tensor
"""Of a batch, before a device does the rest: all of it, or its samples, or their numbers."""


class Feed:
    """What update k works on, or a part of it, a function of (seed, k) alone.

    On a CPU NumPy makes all of it, in another thread while the update before is at work. A device that has
    float64 draws times, noise and what is hidden itself, and keeps the samples, if they fit: then an update
    takes nothing from the program but the numbers of its samples. If they don't fit they are copied, by a
    stream of its own, while the update before is at work. With references batches are made so many earlier,
    whole, and wait in a `Ring`.

    Args:
        config, data: of the run.
        model: the denoiser that is trained.
        device: where it is.
        part: the places of each batch that are wanted.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, model: Denoiser, device: torch.device, part: slice
    ) -> None:
        self.config, self.data, self.model, self.device, self.part = config, data, model, device, part
        self.apart = not rng.by_numpy(device)
        self.resident = resident(data, model.codec, model.conditions, config, device)
        self.later, self.read, self.ring, self._last = 0, part, None, -2
        if config.references:
            self.later, self.read = -(-config.references // config.batch_size), slice(0, config.batch_size)
            self.ring = Ring(self.later, config.batch_size, model.codec, model.conditions, device)
        self.places, self.read_places = self._places(part), self._places(self.read)
        if self.apart:
            self.table = torch.tensor(model.schedule.alpha_bar, device=device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool = ThreadPoolExecutor(1, "alphabar-inputs")
        self._next: tuple[int, Future[Any]] | None = None

    def _places(self, part: slice) -> Places:
        if self.apart:
            return torch.arange(part.start, part.stop, device=self.device)
        return np.arange(part.start, part.stop)

    def __call__(self, k: int) -> Inputs:
        """The part of batch k as tensors where the network is; the next one is begun."""
        return self.made(self.ready(k), k)

    def ready(self, k: int) -> Ready:
        """What of update k needs no device, brought there; the next one is begun."""
        ready = self._next[1].result() if self._next is not None and self._next[0] == k else self._ahead(k)
        self._fill(k)
        self._next = k + 1, self._pool.submit(self._ahead, k + 1)
        self._received(ready)
        return ready

    def made(self, ready: Ready, k: Number) -> Inputs:
        """The rest of batch k, with times as `At`; eps is None if a device makes it itself."""
        x_0, cond, known = self._told(ready, k + self.later)
        references = None
        if self.ring is not None:
            self.ring.put(k + self.later, x_0, cond)
            x_0, cond = self.ring.batch(k, self.part)
            references = self.ring.all
        if not self.apart:
            assert isinstance(ready, Inputs)
            return Inputs(x_0, cond, known, ready.t, ready.eps, references)
        t = draw_times(self.config, self.model.schedule, k, self.places)
        return Inputs(x_0, cond, known, At.on_device(t, self.table), None, references)

    def inputs(self, k: int) -> Inputs:
        """The part of batch k in model space, with its conditions, times and noise, as arrays."""
        return Inputs(*self._encoded(k, self.part), *((None, None) if self.apart else self._drawn(k)))

    def _fill(self, k: int) -> None:
        """Let the ring have the batches before the newest of update k, unless the update before was k - 1."""
        if self.ring is not None and self._last != k - 1:
            for j in range(k, k + self.later):
                samples = self._samples(j)
                self._received(samples)
                number = torch.full((1,), j, device=self.device) if self.apart else j
                self.ring.put(number, *self._told(samples, number)[:2])
        self._last = k

    def _ahead(self, k: int) -> Ready:
        """What update k needs: the newest samples, and its draws where NumPy makes them."""
        samples = self._samples(k + self.later)
        if not isinstance(samples, Inputs) or self.apart:
            return samples
        t, eps = self._drawn(k)
        return samples._replace(t=self.model.schedule.at(t), eps=self._there(eps))

    def _drawn(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(times, noise) of update k, by NumPy."""
        assert isinstance(self.places, np.ndarray)
        t = draw_times(self.config, self.model.schedule, k, self.places)
        return t, rng.normal(self.config.seed, "noise", self.places, k, shape=self.model.shape)

    def _samples(self, j: int) -> Ready:
        """The samples of batch j: their numbers on the device, or themselves."""
        config = self.config
        if self.resident is not None:
            chosen = self.data.balanced_indices if config.balanced else self.data.indices
            return self._there(chosen(config.seed, j, config.batch_size)[self.read])
        x_0, cond, known = self._encoded(j, self.read)
        there = {name: self._there(told) for name, told in cond.items()}
        return Inputs(self._there(x_0), there, None if known is None else self._there(known))

    def _told(self, samples: Ready, j: Number) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """(x_0, what the network is told, what is known) of the samples of batch j."""
        if isinstance(samples, Tensor):
            assert self.resident is not None
            assert isinstance(self.read_places, Tensor)
            x_0, cond, known = self.resident.batch(samples, self.config, j, self.read_places)
        else:
            x_0, cond, known = samples.x_0, samples.cond, samples.known
        return x_0, dict(hide(cond, self.config, j, self.read_places)) if self.apart else cond, known

    def _encoded(self, j: int, part: slice) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]:
        """The same of a part of batch j in model space, as arrays; what a device hides isn't hidden yet."""
        config, model = self.config, self.model
        batch = self.data.batch(
            config.seed, j, config.batch_size, config.flip, config.balanced, config.turns, part
        )
        cond = {name: c.encode(batch.values[name]) for name, c in model.conditions.items()}
        if not self.apart:
            cond = dict(hide(cond, config, j, np.arange(part.start, part.stop)))
        return model.codec.encode(batch.images), cond, known_of(model.codec, batch.images)

    def _there(self, array: np.ndarray) -> Tensor:
        """The array where the network is; on a GPU by a stream of its own."""
        tensor = torch.from_numpy(array)
        if self._stream is None:
            return tensor.to(self.device)
        with torch.cuda.stream(self._stream):
            return tensor.pin_memory().to(self.device, non_blocking=True)

    def _received(self, ready: Any) -> None:
        """Let the work that follows wait, on the GPU, for what was copied."""
        if self._stream is None:
            return
        here = torch.cuda.current_stream(self.device)
        here.wait_stream(self._stream)
        many = [ready.x_0, *ready.cond.values(), ready.known] if isinstance(ready, Inputs) else [ready]
        for tensor in many:
            if tensor is not None:
                tensor.record_stream(here)
