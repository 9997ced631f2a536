"""One training step, and the state that decides the next one."""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.dataset import Dataset
from ..denoiser import Denoiser, call_network
from ..nn import build_network
from ..random import stream
from ..theory.gaussian import column, q_sample
from ..theory.heads import head_target
from ..theory.losses import loss_weight
from ..theory.schedule import Schedule
from .config import TrainConfig
from .optimizer import make_optimizers


class Diverged(ArithmeticError):
    """A loss or gradient that is not finite."""


def sample_losses(
    denoiser: Denoiser, loss: str, x_0: Tensor, t: np.ndarray, eps: Tensor, label: Tensor | None
) -> Tensor:
    """w(t) · mean (target - net)^2 for each sample, shape (B,): Algorithm 1 of arXiv 2006.11239.

    The target is the head's p x_0 + q eps, and w(t) the loss's weight in the network's space.
    """
    schedule, head = denoiser.schedule, denoiser.head
    x_t = q_sample(schedule, x_0, t, eps)
    p, q = head_target(head, schedule, t)
    target = column(p, x_0) * x_0 + column(q, x_0) * eps
    error = (target - denoiser.predict(x_t, t, label)).square().flatten(1).mean(1)
    return column(loss_weight(loss, schedule, t, head), error) * error


def draw_times(config: TrainConfig, T: int, k: int) -> np.ndarray:
    """The times of batch k, whole numbers uniform on 1..T; one in each of B equal parts if stratified."""
    n = config.batch_size
    u = stream(config.seed, "time", k).random(n)
    if config.stratified:
        u = (np.arange(n) + u) / n
    return np.minimum(np.floor(u * T), T - 1) + 1


def drop_labels(config: TrainConfig, label: np.ndarray | None, k: int) -> np.ndarray | None:
    """The labels of batch k, each replaced by -1, no class, with probability `label_dropout`.

    So the network learns the unconditional model as well (sec. 3.2 of arXiv 2207.12598).
    """
    if label is None or not config.label_dropout:
        return label
    dropped = stream(config.seed, "label_dropout", k).random(len(label)) < config.label_dropout
    return np.where(dropped, -1, label)


def compiled(mode: str, device: torch.device) -> Callable[..., Tensor]:
    """`call_network` by torch.compile. ValueError if what it needs is not installed."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError("compile needs the package triton, which is not installed; leave compile out")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        raise ValueError("compile needs a C++ compiler, and none is found; install one, or leave compile out")
    return torch.compile(call_network, dynamic=False, mode=mode)


class Trainer:
    """A model in training: network, average (EMA), optimisers and the number of steps done.

    `update` makes one step; what it does is a function of this state, the configuration and the
    data alone.
    """

    def __init__(self, config: TrainConfig, data: Dataset, device: str = "cpu") -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(config.seed, "weights").integers(2**62)))
            net = build_network(config.network)
        schedule = Schedule.from_dict(config.schedule, advise=False)
        spec = data.spec if net.num_classes else replace(data.spec, classes=(), class_counts=())
        self.model = Denoiser(net, schedule, config.head, spec).to(self.device)
        self.model.label_dropout = config.label_dropout if spec.classes else 0.0
        self.model.precision = "float32" if config.precision == "auto" else config.precision
        if config.channels_last:
            self.model.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        if config.compile:
            self.model.call = compiled(config.compile, self.device)
        self.parameters = dict(self.model.net.named_parameters())
        self.averages = dict(self.ema.net.named_parameters())
        self.optimizers = make_optimizers(config, self.model.net)
        self.rate = 0.0

    @property
    def images(self) -> int:
        """Images trained on so far."""
        return self.step * self.config.batch_size

    def update(self, total: int | None = None) -> dict[str, Any]:
        """One step on batch `step`; `total` images are the run's length, if it is known by now.

        The batch is worked through in micro-batches whose gradients add up to that of the mean
        over the whole batch; rate, clipping and average happen once. Raises Diverged, with nothing
        changed, if the loss or the gradient is not finite.
        """
        config, k = self.config, self.step
        batch = self.data.batch(config.seed, k, config.batch_size, config.flip)
        t = draw_times(config, self.model.schedule.T, k)
        eps = stream(config.seed, "noise", k).standard_normal(batch.x_0.shape, np.float32)
        label = drop_labels(config, batch.label, k)
        self.rate = config.learning_rate(self.images, total)

        self.model.train()
        self.model.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(stream(config.seed, "dropout", k).integers(2**62)))
            losses = self._backward(batch.x_0, t, eps, label)
        self._check_finite(losses, t, "loss")
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.grad_clip))
        self._check_finite(np.full(1, norm), t[[int(losses.argmax())]], "gradient")
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
        self.step += 1
        self._average()
        return {
            "step": self.step,
            "images": self.images,
            "loss": float(losses.mean()),
            "grad_norm": norm,
            "lr": self.rate,
        }

    def _backward(
        self, clean: np.ndarray, t: np.ndarray, eps: np.ndarray, labels: np.ndarray | None
    ) -> np.ndarray:
        size = self.config.micro_batch or len(t)
        losses = []
        for i in range(0, len(t), size):
            part = slice(i, i + size)
            x_0, noise, label = self.tensors(clean[part], eps[part], labels, part)
            each = sample_losses(self.model, self.config.loss, x_0, t[part], noise, label)
            (each.sum() / len(t)).backward()
            losses.append(each.detach())
        return torch.cat(losses).cpu().numpy().astype(np.float64)

    def tensors(
        self, x_0: np.ndarray, eps: np.ndarray, label: np.ndarray | None, part: slice
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A micro-batch where the network is, in its memory layout; labels if it has classes."""
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        x_0_, eps_ = (torch.from_numpy(array).to(self.device, memory_format=layout) for array in (x_0, eps))
        if label is None or not self.model.data.classes:
            return x_0_, eps_, None
        return x_0_, eps_, torch.from_numpy(label[part]).to(self.device)

    def _check_finite(self, values: np.ndarray, t: np.ndarray, what: str) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise Diverged(
                f"the {what} is {values[bad[0]]} at step {self.step + 1}, t = {t[bad[0]]:g} of "
                f"{self.model.schedule.T}: training has diverged. Try a lower learning rate "
                f"(it was {self.rate:.2g}) or a longer warm-up"
            )

    def _average(self) -> None:
        """average <- average + (1 - decay) (weights - average), once a step; buffers are not touched.

        decay = 0.5^(batch / halflife), with the halflife growing with the images seen up to its
        full length, as in the code of arXiv 2206.00364, so that the start is forgotten.
        """
        halflife = min(self.config.ema_halflife, self.config.ema_ramp * self.images)
        decay = 0.5 ** (self.config.batch_size / halflife)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.averages[name].lerp_(parameter, 1 - decay)

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
        """Go on from `state()` after `step` steps."""
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
                optimizer.state[parameter][key] = self._like(parameter, tensor)
        self.step = step

    def _like(self, parameter: Tensor, saved: Tensor) -> Tensor:
        """A saved tensor on the parameter's device, in its memory layout."""
        if saved.shape != parameter.shape:
            return saved.to(parameter.device, copy=True)
        return torch.empty_like(parameter).copy_(saved)
