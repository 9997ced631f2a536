"""One training update, and the state that decides the next one."""

from __future__ import annotations

import copy
import math
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import rng
from ..data.dataset import Dataset
from ..model.affine import known_of
from ..model.denoiser import Denoiser, call_network
from ..model.devices import compiled, layout_of
from ..model.generators import has_no_fixed_order, repeatable, seeded
from ..model.memory import check_memory
from ..nn import build_network, keyed_dropout
from ..theory.schedule import Schedule
from .config import TrainConfig
from .fitted import conditions_told, fitted_to
from .inputs import Inputs, draw_times, hide
from .objectives import OBJECTIVES, Draws
from .optimizer import make_optimizers

FINEST = 4096  # steps of the average in a half-life, at most


class Diverged(ArithmeticError):
    """A loss or gradient that is not finite."""


class Trainer:
    """A model in training: network, average (EMA), optimizers and the number of updates done.

    `update` makes one; what it does is a function of this state, the configuration and the data alone. That
    includes what a network draws from torch's own generators, such as the masks of `torch.nn.Dropout`: for
    each micro-batch they are set by (seed, update, place of its first image). So these draws change with the
    cut into micro-batches, as the statistics of a batch norm do; the masks of `alphabar.nn.Dropout` don't.

    Args:
        config: the settings.
        data: what to train on.
        device: where the network is.
        net: a network to train instead of the one that `config.network` describes.
    """

    def __init__(
        self, config: TrainConfig, data: Dataset, device: str = "cpu", net: nn.Module | None = None
    ) -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        self.step = 0
        if config.balanced:
            _ = data.by_class  # raises without classes
        conditions = conditions_told(config, data)
        shapes = {name: condition.shape for name, condition in conditions.items()}
        codec, scales, _ = fitted_to(data)
        if net is None:
            net = initial_network(config, codec.shape, shapes)
        schedule = Schedule.from_dict(config.schedule, advise=False)
        self.model = Denoiser(net, schedule, config.prediction, codec, conditions).to(self.device)
        self.model.scales = scales
        self.model.precision = "float32" if config.precision == "auto" else config.precision
        check_memory(self.model, config.micro_batch or config.batch_size, training=True)
        self.layout = torch.contiguous_format
        if config.channels_last:
            self.layout = layout_of(codec.shape)
            self.model.net.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        if config.compile:
            self.model.call = compiled(call_network, config.compile, self.device)
        self.parameters = dict(self.model.net.named_parameters())
        self.averages = dict(self.ema.net.named_parameters())
        self.optimizers = make_optimizers(config, self.model.net)
        self.rate = 0.0
        self.repeatable = True  # until a part of the network can't be, see `_gradient`
        self._pool = ThreadPoolExecutor(1, "alphabar-inputs")
        self._next: tuple[int, Future[Inputs]] | None = None

    @property
    def images(self) -> int:
        """Images trained on so far."""
        return self.step * self.config.batch_size

    def update(self, rate: float | None = None) -> dict[str, Any]:
        """One update, on batch `step`; a row of metrics.

        The batch is worked through in micro-batches whose gradients add up to that of the mean
        over the whole batch; rate, clipping and average happen once. Raises Diverged, with weights and
        average unchanged, if the loss or the gradient is not finite.

        Args:
            rate: the learning rate; unless given, the configuration's for a run of unknown length.
        """
        config, k = self.config, self.step
        inputs = self._inputs(k)
        self.rate = config.learning_rate(self.images, None) if rate is None else rate
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        losses = self._gradient(inputs, k)
        self._check_finite(losses["loss"], inputs.t, "loss")
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.grad_clip))
        self._check_finite(np.full(1, norm), inputs.t[[int(losses["loss"].argmax())]], "gradient")
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
        self.step += 1
        self._average()
        row = {"step": self.step, "images": self.images}
        return row | {name: float(each.mean()) for name, each in losses.items()} | {
            "grad_norm": norm, "lr": self.rate
        }  # fmt: skip

    # --- what an update works on -----------------------------------------------------------------

    def inputs(self, k: int) -> Inputs:
        """Batch k in model space, with its conditions, times and noise: a function of (seed, k) alone."""
        config = self.config
        batch = self.data.batch(config.seed, k, config.batch_size, config.flip, config.balanced, config.turns)
        cond = {name: c.encode(batch.values[name]) for name, c in self.model.conditions.items()}
        eps = None
        if self.device.type == "cpu":
            eps = rng.normal(config.seed, "noise", np.arange(config.batch_size), k, shape=self.model.shape)
        return Inputs(
            self.model.codec.encode(batch.images),
            hide(cond, config, k),
            draw_times(config, self.model.schedule, k),
            eps,
            known_of(self.model.codec, batch.images),
        )

    def _inputs(self, k: int) -> Inputs:
        """The same, made in another thread while the update before was at work; then the next is begun."""
        ready = self._next[1].result() if self._next is not None and self._next[0] == k else self.inputs(k)
        self._next = k + 1, self._pool.submit(self.inputs, k + 1)
        return ready

    def _gradient(self, inputs: Inputs, k: int) -> dict[str, np.ndarray]:
        """`_backward`, with the same bits each time, if all of the network can do so."""
        try:
            with repeatable(self.device, self.repeatable):
                return self._backward(inputs, k)
        except RuntimeError as error:
            if not (self.repeatable and has_no_fixed_order(error)):
                raise
            self.repeatable = False
            warnings.warn(
                f"a part of {type(self.model.net).__name__} adds up in no fixed order on this GPU, so a run "
                f"that is resumed here won't be equal to the bit: {str(error).splitlines()[0]}",
                stacklevel=2,
            )
            self.model.zero_grad(set_to_none=True)
            return self._backward(inputs, k)

    def _backward(self, inputs: Inputs, k: int) -> dict[str, np.ndarray]:
        """The gradient of the mean loss; each loss of each sample, and their sum as `loss`."""
        n, config = len(inputs.t), self.config
        size = config.micro_batch or n
        found: dict[str, list[Tensor]] = {}
        for i in range(0, n, size):
            part = slice(i, min(i + size, n))
            places = np.arange(part.start, part.stop)
            x_0, eps, cond = self._micro_batch(inputs, k, part, places)
            number = int(rng.stream(config.seed, "network", k, i).integers(2**62))
            # backward too is within them: a network may run its layers again there, to save memory
            with seeded(number, self.device), keyed_dropout(self.model.net, config.seed, k, places):
                known = None if inputs.known is None else torch.from_numpy(inputs.known[part]).to(x_0)
                draws = Draws(inputs.t[part], eps, known)
                losses = OBJECTIVES[config.objective](self.model, config.loss, x_0, cond, draws)
                total = torch.stack(list(losses.values())).sum(0)
                (total.sum() / n).backward()
            for name, value in ({**losses, "loss": total}).items():
                found.setdefault(name, []).append(value.detach())
        return {name: torch.cat(parts).cpu().numpy().astype(np.float64) for name, parts in found.items()}

    def _micro_batch(
        self, inputs: Inputs, k: int, part: slice, places: np.ndarray
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(x_0, eps, cond) where the network is, in its memory layout."""
        cond = {name: torch.from_numpy(told[part]).to(self.device) for name, told in inputs.cond.items()}
        x_0 = torch.from_numpy(inputs.x_0[part]).to(self.device, memory_format=self.layout)
        if inputs.eps is not None:
            eps = torch.from_numpy(inputs.eps[part])
        else:
            eps = rng.normal_tensor(
                self.config.seed, "noise", places, k, shape=self.model.shape, device=self.device
            )
        return x_0, eps.to(self.device, memory_format=self.layout), cond

    def _check_finite(self, values: np.ndarray, t: np.ndarray, what: str) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise Diverged(
                f"the {what} is {values[bad[0]]} at update {self.step + 1}, t = {t[bad[0]]:g} of "
                f"{self.model.schedule.T}: training has diverged. Try a lower learning rate "
                f"(it was {self.rate:.2g}) or a longer warm-up"
            )

    def _average(self) -> None:
        """average <- average + (1 - decay) (weights - average), once in `every` updates; buffers are copied.

        decay = 0.5^(every batch / halflife), with the halflife growing with the images seen up to its
        full length, as in the code of arXiv 2206.00364, so that the start is forgotten. `every` is 1 unless
        that is less than 1 / `FINEST` of the half-life: float32 would round so short a way to nothing.
        """
        halflife = min(self.config.ema_halflife, self.config.ema_ramp * self.images, 2.0**60)
        every = 1 << int(math.log2(max(1.0, halflife / (FINEST * self.config.batch_size))))
        decay = 0.5 ** (every * self.config.batch_size / halflife)
        with torch.no_grad():
            for name, parameter in self.parameters.items() if self.step % every == 0 else ():
                self.averages[name].lerp_(parameter, 1 - decay)
            buffers = dict(self.model.net.named_buffers())
            for name, average in self.ema.net.named_buffers() if buffers else ():
                average.copy_(buffers[name])

    # --- the state as tensors ------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next bit, besides configuration, data and `step`."""
        tensors = {f"net.{name}": tensor for name, tensor in self.model.net.state_dict().items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.net.state_dict().items()}
        for which, optimizer in self.optimizers.items():
            for name, parameter in self.parameters.items():
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{which}.{key}.{name}"] = value
        return tensors

    def load_state(self, tensors: dict[str, Tensor], step: int) -> None:
        """Go on from `state()` after `step` updates."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("net", "ema", *self.optimizers)}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.net.load_state_dict(parts["net"])
        self.ema.net.load_state_dict(parts["ema"])
        for which, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for entry, tensor in parts[which].items():
                key, _, name = entry.partition(".")
                parameter = self.parameters[name]
                optimizer.state[parameter][key] = _like(parameter, tensor)
        self.step = step


def initial_network(config: TrainConfig, shape: tuple[int, ...], conditions: dict[str, Any]) -> nn.Module:
    """The network that a configuration describes, with weights that follow from its seed."""
    with seeded(int(rng.stream(config.seed, "weights").integers(2**62)), torch.device("cpu")):
        return build_network(config.network, shape, conditions)


def _like(parameter: Tensor, saved: Tensor) -> Tensor:
    """A saved tensor on the parameter's device, in its memory layout."""
    if saved.shape != parameter.shape:
        return saved.to(parameter.device, copy=True)
    return torch.empty_like(parameter).copy_(saved)
