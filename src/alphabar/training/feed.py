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

Ready = Inputs | Tensor
"""Of a batch, before a device does the rest: all of it, or its samples, or their numbers."""


class Feed:
    """What update k works on, or a part of it, a function of (seed, k) alone.

    On a CPU NumPy makes all of it, in another thread while the update before is at work. A device that has
    float64 draws times, noise and what is hidden itself, and keeps the samples, if they fit: then an update
    takes nothing from the program but the numbers of its samples. If they don't fit they are copied, by a
    stream of its own, while the update before is at work.

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
        self.places: Places = np.arange(part.start, part.stop)
        if self.apart:
            self.places = torch.arange(part.start, part.stop, device=device)
            self.table = torch.tensor(model.schedule.alpha_bar, device=device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool = ThreadPoolExecutor(1, "alphabar-inputs")
        self._next: tuple[int, Future[Any]] | None = None

    def __call__(self, k: int) -> Inputs:
        """The part of batch k as tensors where the network is; the next one is begun."""
        return self.made(self.ready(k), k)

    def ready(self, k: int) -> Ready:
        """What of batch k needs no device, brought there; the next one is begun."""
        ready = self._next[1].result() if self._next is not None and self._next[0] == k else self._ahead(k)
        self._next = k + 1, self._pool.submit(self._ahead, k + 1)
        if self._stream is not None:
            self._received(ready, self._stream)
        return ready

    def made(self, ready: Ready, k: Number) -> Inputs:
        """The rest of batch k, with times as `At`; eps is None if a device makes it itself."""
        if not self.apart:
            assert isinstance(ready, Inputs)
            return ready
        if isinstance(ready, Tensor):
            assert isinstance(self.places, Tensor)
            assert self.resident is not None
            x_0, cond, known = self.resident.batch(ready, self.config, k, self.places)
        else:
            x_0, cond, known = ready.x_0, ready.cond, ready.known
        t = draw_times(self.config, self.model.schedule, k, self.places)
        cond = dict(hide(cond, self.config, k, self.places))
        return Inputs(x_0, cond, At.on_device(t, self.table), None, known)

    def inputs(self, k: int) -> Inputs:
        """The part of batch k in model space, with its conditions, times and noise, as arrays."""
        config, model = self.config, self.model
        batch = self.data.batch(
            config.seed, k, config.batch_size, config.flip, config.balanced, config.turns, self.part
        )
        cond = {name: c.encode(batch.values[name]) for name, c in model.conditions.items()}
        known = known_of(model.codec, batch.images)
        if self.apart:
            return Inputs(model.codec.encode(batch.images), cond, None, None, known)
        assert isinstance(self.places, np.ndarray)
        eps = rng.normal(config.seed, "noise", self.places, k, shape=model.shape)
        hidden = dict(hide(cond, config, k, self.places))
        t = draw_times(config, model.schedule, k, self.places)
        return Inputs(model.codec.encode(batch.images), hidden, t, eps, known)

    def _ahead(self, k: int) -> Ready:
        """What of batch k needs no network: its samples' numbers on the device, or all of it."""
        config = self.config
        if self.resident is not None:
            chosen = self.data.balanced_indices if config.balanced else self.data.indices
            return self._there(chosen(config.seed, k, config.batch_size)[self.part])
        made = self.inputs(k)
        cond = {name: self._there(told) for name, told in made.cond.items()}
        t = None if self.apart else self.model.schedule.at(made.t)
        eps, known = (None if each is None else self._there(each) for each in (made.eps, made.known))
        return Inputs(self._there(made.x_0), cond, t, eps, known)

    def _there(self, array: np.ndarray) -> Tensor:
        """The array where the network is; on a GPU by a stream of its own."""
        tensor = torch.from_numpy(array)
        if self._stream is None:
            return tensor.to(self.device)
        with torch.cuda.stream(self._stream):
            return tensor.pin_memory().to(self.device, non_blocking=True)

    def _received(self, ready: Any, stream: torch.cuda.Stream) -> None:
        """Let the work that follows wait, on the GPU, for what was copied."""
        here = torch.cuda.current_stream(self.device)
        here.wait_stream(stream)
        many = [ready.x_0, *ready.cond.values(), ready.known] if isinstance(ready, Inputs) else [ready]
        for tensor in many:
            if tensor is not None:
                tensor.record_stream(here)
