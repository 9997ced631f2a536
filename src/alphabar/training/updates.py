"""An update: gradient, step of the optimizers, step of the average; on a GPU as one launch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..model.denoiser import Denoiser
from ..model.recorded import Recorded
from .feed import Ready
from .gradient import Gradient
from .inputs import Number
from .pending import Figures, Pending
from .sharding import whole

FINEST = 4096  # steps of the average in a half-life, at most


class Dials(NamedTuple):
    """The plain numbers that an update depends on, where the network is.

    Attributes:
        k: of the batch; a tensor (1,) where a device draws what it needs.
        rate: the learning rate.
        share: by which the average moves.
    """

    k: Number
    rate: Tensor
    share: Tensor


class Updates:
    """Updates of a network and its average by gradients, each a function of its number and rate alone.

    Args:
        gradient: of a batch.
        ema: the averaged model, whose buffers are copied.
        optimizers, parameters, averages: by name.
    """

    def __init__(
        self,
        gradient: Gradient,
        ema: Denoiser,
        optimizers: Mapping[str, Any],
        parameters: Mapping[str, Tensor],
        averages: Mapping[str, Tensor],
    ) -> None:
        self.gradient, self.ema, self.optimizers = gradient, ema, optimizers
        self.parameters, self.averages = parameters, averages
        self.config, self.model, self.feed = gradient.config, gradient.model, gradient.feed
        self.device = self.feed.device
        # on a device that is apart: whether all updates were finite, as none changes anything any more if not
        self.alive = torch.ones((), device=self.device) if self.feed.apart else None
        self.recorded: Recorded | None = None
        self.recordable = self.device.type == "cuda" and not gradient.world and self.config.compile is None
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["capturable"] = self.device.type == "cuda"  # as it may be recorded

    def __call__(self, k: int, rate: float) -> Pending:
        """Update k: begun on a device that is apart, else done.

        Diverged, and nothing changed, if it isn't finite.
        """
        ready, images = self.feed.ready(k), (k + 1) * self.config.batch_size
        number = torch.full((1,), k, device=self.device) if self.feed.apart else k
        plain = rate, self._share(k + 1)
        dials = Dials(number, *(torch.full((), n, dtype=torch.float32, device=self.device) for n in plain))
        figures = self._measure(ready, k, k) if self.alive is None else self._replay(k, ready, dials)
        found = Pending(k + 1, images, figures, rate, self.model.schedule.T)
        if self.alive is None:
            found.row()
            self._move(dials)
        return found

    def sound(self) -> None:
        """Go on after an update that was not finite."""
        if self.alive is not None:
            self.alive.fill_(1)

    def _measure(self, ready: Ready, k: int | None, there: Number) -> Figures:
        """The gradient of a batch, in the weights' `grad`, clipped."""
        losses, t = self.gradient(self.feed.made(ready, there), k, there)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.grad_clip)
        return Figures.of(losses, whole(norm), t)

    def _move(self, dials: Dials) -> None:
        """One step of the weights by their gradients, and of the average."""
        for optimizer in self.optimizers.values():
            optimizer.found_inf = None if self.alive is None else 1 - self.alive
            for group in optimizer.param_groups:
                group["lr"] = dials.rate
            optimizer.step()
        self._average(dials.share)

    def _share(self, step: int) -> float:
        """1 - decay of the average after so many updates; 0 but once in `every` of them.

        decay = 0.5^(every batch / halflife), with the halflife growing with the images seen up to its
        full length, as in the code of arXiv 2206.00364, so that the start is forgotten. `every` is 1 unless
        that is less than 1 / `FINEST` of the half-life: float32 would round so short a way to nothing.
        """
        size = self.config.batch_size
        halflife = min(self.config.ema_halflife, self.config.ema_ramp * step * size, 2.0**60)
        every = 1 << int(math.log2(max(1.0, halflife / (FINEST * size))))
        return 0.0 if step % every else 1 - 0.5 ** (every * size / halflife)

    def _average(self, share: Tensor) -> None:
        """average <- average + share (weights - average); buffers are copied."""
        foreach: Any = torch  # its functions on lists have no types
        averages, weights = [*self.averages.values()], [*self.parameters.values()]
        with torch.no_grad():
            if self.alive is not None:
                way = foreach._foreach_sub(weights, averages)
                foreach._foreach_mul_(way, share * self.alive)
                foreach._foreach_add_(averages, way)
            elif share:
                foreach._foreach_lerp_(averages, weights, float(share))
            buffers = dict(self.model.net.named_buffers())
            for name, average in self.ema.net.named_buffers() if buffers else ():
                average.copy_(buffers[name])

    # --- on a device that is apart ---------------------------------------------------------------

    def _apart(self, ready: Ready, dials: Dials, k: int | None = None) -> Figures:
        """An update that waits for no number, and changes nothing once one was not finite."""
        assert self.alive is not None
        figures = self._measure(ready, k, dials.k)
        self.alive *= figures.finite
        self._move(dials)
        return figures

    def _replay(self, k: int, ready: Ready, dials: Dials) -> Figures:
        """The same, on a GPU as one launch where that can be."""
        if self.recorded is None and self.recordable:
            self._record(ready, dials)
        if self.recorded is None:
            return self._apart(ready, dials, k)
        with self.gradient.generators(k):
            figures = self.recorded(ready, dials)
        self.model.changed()
        self.ema.changed()
        return figures

    def _record(self, ready: Ready, dials: Dials) -> None:
        """Record an update; what is done for it changes nothing, as after one that was not finite."""
        assert self.alive is not None
        alive, buffers = self.alive.clone(), [b.clone() for b in self.model.net.buffers()]
        self.alive.zero_()
        try:
            self.recorded = Recorded(self._apart, (ready, dials), self.device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.recordable = False
            warnings.warn(
                f"an update of {type(self.model.net).__name__} can't be recorded as a CUDA graph, and is "
                f"launched kernel by kernel, which takes longer: {str(error).splitlines()[0]}",
                stacklevel=2,
            )
        with torch.no_grad():
            self.alive.copy_(alive)
            for buffer, before in zip(self.model.net.buffers(), buffers, strict=True):
                buffer.copy_(before)
