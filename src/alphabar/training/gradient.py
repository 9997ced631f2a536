"""The gradient of a batch, worked through in parts: virtual processes, and micro-batches."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from .. import rng
from ..model.denoiser import Denoiser
from ..model.generators import has_no_fixed_order, repeatable, seeded
from ..nn import keyed_dropout
from ..world import World
from .config import TrainConfig
from .distributed import Node, Reducer, Tree, at_once, slots_of, summed
from .feed import Feed
from .inputs import Inputs, Number
from .objectives import OBJECTIVES, Draws
from .sharding import Sharding


class Gradient:
    """The gradient of the mean loss over batch k, in the weights' `grad`: a function of the weights and k.

    Each batch is cut into slots, and each slot into micro-batches. Those of a slot are added up one after
    another, and the slots of all processes as a `Tree`.

    Args:
        config: the settings.
        model: the denoiser that is trained.
        feed: what of a batch is this process's.
        layout: memory layout of samples.
        world: the processes that have a part of each batch.
        reducer: what adds up their gradients, if it isn't a `Tree`.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Denoiser,
        feed: Feed,
        layout: torch.memory_format,
        world: World,
        reducer: Reducer | Sharding | None = None,
    ) -> None:
        self.config, self.model, self.feed, self.layout, self.world = config, model, feed, layout, world
        self.slots, self.at_once = slots_of(config, world.size), at_once(config, world.size)
        if self.slots > 1:
            _check_cut(model.net)
        self.reducer = reducer
        self.repeatable = True  # until a part of the network can't be

    def __call__(self, inputs: Inputs, k: int | None, there: Number) -> tuple[dict[str, Tensor], Tensor]:
        """Each loss of each sample of a batch, (B,), their sum as `loss`, and the times.

        With the same bits each time, if all of the network can do so.

        Args:
            inputs: of the batch.
            k: its number, which sets torch's own generators; None where `generators` has set them.
            there: its number where the network is.
        """
        self.model.train()
        try:
            with repeatable(self.feed.device, self.repeatable):
                return self._backward(inputs, k, there)
        except RuntimeError as error:
            if not (self.repeatable and has_no_fixed_order(error)):
                raise
            self.repeatable = False
            warnings.warn(
                f"a part of {type(self.model.net).__name__} adds up in no fixed order on this GPU, so a run "
                f"that is resumed here won't be equal to the bit: {str(error).splitlines()[0]}",
                stacklevel=2,
            )
            return self._backward(inputs, k, there)

    def _backward(self, inputs: Inputs, k: int | None, there: Number) -> tuple[dict[str, Tensor], Tensor]:
        own, size, tree = self.world.share_of(self.slots), self.config.batch_size // self.slots, Tree()
        weights = [weight for weight in self.model.net.parameters() if weight.requires_grad]
        self.model.zero_grad(set_to_none=True)
        parts: list[dict[str, Tensor]] = []
        for slot in range(own.start, own.stop):
            stop = (slot + 1) * size
            for i in range(slot * size, stop, self.at_once):
                end = min(i + self.at_once, stop)
                drawn = contextlib.nullcontext() if k is None else self.generators(k, i)
                with drawn:
                    parts.append(self._losses(inputs, there, slice(i, end), last=end == stop))
            if self.slots > 1 and self.reducer is None:
                # a weight that no loss reaches has the gradient 0
                each = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
                tree.add(Node(slot, 1, each))
                self.model.zero_grad(set_to_none=True)
        if tree.nodes:
            for weight, gradient in zip(weights, summed(self.world, tree, self.slots), strict=True):
                weight.grad = gradient
        return self._gathered({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, inputs)

    def _gathered(self, losses: dict[str, Tensor], inputs: Inputs) -> tuple[dict[str, Tensor], Tensor]:
        """The losses and times of all processes."""
        t = torch.as_tensor(inputs.t.t)
        if not self.feed.apart:
            losses = {name: value.cpu() for name, value in losses.items()}
        if self.world:
            *rows, t = self.world.gathered(torch.stack([each.double() for each in (*losses.values(), t)]))
            losses = dict(zip(losses, rows, strict=True))
        return losses, t

    def _losses(self, inputs: Inputs, k: Number, part: slice, last: bool) -> dict[str, Tensor]:
        """Add the gradient of a micro-batch to what there is; the losses of its samples.

        `last`: whether it is the last one of those that are reduced together.
        """
        config, start = self.config, self.feed.part.start
        here = slice(part.start - start, part.stop - start)
        x_0, eps, cond = self._micro_batch(inputs, k, here)
        places: Any = self.feed.places[here]
        # gradients add up to that of the mean over the batch; what PyTorch reduces is a mean already
        count, reduced = config.batch_size, contextlib.nullcontext()
        if self.reducer is not None:
            count, reduced = config.batch_size // self.world.size, self.reducer.reducing(last)
        # backward too is within them, as it is within `generators`
        with keyed_dropout(self.model.net, config.seed, k, places), reduced:
            known = None if inputs.known is None else inputs.known[here]
            draws = Draws(inputs.t.part(here), eps, known, inputs.references)
            losses = OBJECTIVES[config.objective](self.model, config.loss, x_0, cond, draws)
            total = torch.stack(list(losses.values())).sum(0)
            (total.sum() / count).backward()
        return {name: value.detach() for name, value in ({**losses, "loss": total}).items()}

    def generators(self, k: int, first: int = 0) -> contextlib.AbstractContextManager[None]:
        """Within it torch's own generators draw what follows from k and the place of a first image.

        Backward too is to be within it: a network may run its layers again there, to save memory.
        """
        number = int(rng.stream(self.config.seed, "network", k, first).integers(2**62))
        return seeded(number, self.feed.device)

    def _micro_batch(
        self, inputs: Inputs, k: Number, here: slice
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(x_0, eps, cond) in the network's memory layout."""
        eps, device = inputs.eps, self.feed.device
        if eps is None:
            shape, places = self.model.shape, self.feed.places[here]
            eps = rng.normal_tensor(self.config.seed, "noise", places, k, shape=shape, device=device)
        else:
            eps = eps[here]
        x_0, eps = (each.to(memory_format=self.layout) for each in (inputs.x_0[here], eps))
        return x_0, eps, {name: told[here] for name, told in inputs.cond.items()}


def _check_cut(net: nn.Module) -> None:
    """ValueError for layers whose statistics of a batch depend on how it is cut."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"the layer {name} is a {type(layer).__name__}, whose statistics depend on how a batch is "
                "cut: several processes, real or virtual, need another normalization, such as GroupNorm"
            )
