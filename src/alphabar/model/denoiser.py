"""Network + schedule + parametrization + codec + conditions → x0_hat. Torch meets the theory here."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.func import functional_call

from ..data.conditions.base import Condition
from ..data.conditions.place import place_in
from ..data.space import Space
from ..errors import unknown
from ..nn import UNet, takes_cond
from ..theory.at import At
from ..theory.gaussian import column
from ..theory.parametrization import PREDICTIONS, Coefficients, coefficients
from ..theory.plans import Plan
from ..theory.scales import Scales
from ..theory.schedule import Schedule
from .affine import Codec
from .conditions import Cond, each
from .devices import LAYOUTS
from .recorded import Replayed

PRECISIONS = ("float32", "bfloat16")


class Denoiser(nn.Module):
    """x0_hat(x_t, t): the clean sample that a network sees in a noisy one, in model space.

    Attributes:
        net: (c_in x_t, c_noise, cond) → a tensor of x_t's shape; cond is left out where it takes two.
        schedule, prediction: what t means and what the network predicts.
        codec: data space ↔ model space; it knows the `space` of the samples.
        conditions: what the network can be told, by name.
        about: where the weights come from, for people and programs.
        plans: samplers that were fitted to these weights.
        scales: of the data, if they were measured.
        x0_mse: (times, E (x_0 - x0_hat)^2 per dimension there), if it was estimated.
        guidance: `scale`, `interval` and `every` of the guidance that `sample` takes by itself, if any.
        precision: "float32", or "bfloat16" to run the network in it (`in_precision`).
        call: `call_network`, or a compiled one.
        whole: sides of the samples that are drawn unless other ones are asked for, where the network was
            trained on crops of them and on where these lie; else None.
        digest: of the file that the weights were loaded from, if they were.
        known: (*shape) 0 where every sample lacks a number, else 1; None if none is lacking. There the
            network sees 0, and nothing is predicted but 0.
    """

    known: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        prediction: str,
        codec: Codec,
        conditions: Mapping[str, Condition] | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise unknown("prediction", prediction, PREDICTIONS)
        self.net = net
        self.schedule = schedule
        self.prediction = prediction
        self.codec = codec
        self.conditions = dict(conditions or {})
        self.about = about or {}
        self.plans: list[Plan] = []
        self.scales: Scales | None = None
        self.x0_mse: tuple[list[float], list[float]] | None = None
        self.guidance: dict[str, Any] | None = None
        self.precision = "float32"
        self.call = call_network
        place = place_in(self.conditions)
        self.whole = None if place is None else place[1].whole
        self.digest = ""
        known = codec.known
        self.register_buffer("known", None if known is None else torch.from_numpy(known), persistent=False)
        self._takes_cond = takes_cond(net)
        self._cast: tuple[Any, Denoiser] | None = None
        if self.conditions and not self._takes_cond:
            raise ValueError(
                f"the model is told {', '.join(self.conditions)}, and its network takes (x, c_noise) alone: "
                "give forward a third parameter, the mapping of conditions, or tell it nothing "
                "(conditional=False)"
            )

    def __repr__(self) -> str:
        told = f", told {', '.join(self.conditions)}" if self.conditions else ""
        return (
            f"Denoiser({type(self.net).__name__} of {self.num_parameters:,} parameters, "
            f"predicts {self.prediction}, {self.schedule!r}, "
            f"samples {self.space.shown_shape()} {self.space.dtype}{told})"
        )

    @property
    def num_parameters(self) -> int:
        """How many numbers training finds."""
        return sum(p.numel() for p in self.parameters())

    @property
    def space(self) -> Space:
        """What one sample is."""
        return self.codec.space

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample in model space."""
        return self.codec.shape

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.net.parameters()), torch.device("cpu"))

    def forward(self, x_t: Tensor, t: ArrayLike | At, cond: Cond | None = None) -> Tensor:
        """x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise, cond).

        Args:
            x_t: (B, *shape), model space.
            t: one time, or one a sample (B,); real numbers within (0, T] (below 1 is less noise than any
                that the network was trained on). Or `schedule.at` of them.
            cond: what each sample is told, as by `told`; nothing unless given.
        """
        row = coefficients(self.prediction, self.schedule, t)
        x_t = self.where_known(x_t)
        return column(row.c_skip, x_t) * x_t + column(row.c_out, x_t) * self._net(row, x_t, cond)

    def predict(self, x_t: Tensor, t: ArrayLike | At, cond: Cond | None = None) -> Tensor:
        """The network's own output, net(c_in x_t, c_noise, cond), in x_t's dtype."""
        return self._net(coefficients(self.prediction, self.schedule, t), x_t, cond)

    def _net(self, row: Coefficients, x_t: Tensor, cond: Cond | None) -> Tensor:
        c_noise = _each(row.c_noise, x_t)
        x = column(row.c_in, x_t) * self.where_known(x_t)
        weights: dict[str, Tensor] = {}
        cond = dict(cond or {})
        if self.precision != "float32":
            # the network alone: c_noise, and what is before and after, stay in x_t's precision
            dtype = getattr(torch, self.precision)
            weights = _parameters_as(dtype, self.net)
            x, cond = x.to(dtype), each(lambda tensor: tensor.to(dtype), cond)
        arguments = (x, c_noise, cond) if self._takes_cond else (x, c_noise)
        return self.where_known(self.call(self.net, weights, arguments).to(x_t.dtype))

    def where_known(self, x: Tensor) -> Tensor:
        """x (B, *shape), with 0 where every sample lacks a number."""
        return x if self.known is None else x * self.known

    def mean(self, values: Tensor, known: Tensor | None = None) -> Tensor:
        """The mean of values (B, *shape) over the numbers that samples have, (B,); or over those `known`."""
        if known is not None:
            return (values * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
        if self.known is None:
            return values.flatten(1).mean(1)
        return self.where_known(values).flatten(1).sum(1) / self.known.sum()

    def told(self, values: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
        """What n samples are told, as the network takes it, on its device.

        Args:
            values: name → one value for each sample, None where it is not told; a missing name is told to
                none. See `Condition`.
            n: samples.

        ValueError for names that the model does not know, other numbers of values, and where something is
        not told that the model was always told in training.
        """
        values = values or {}
        for name in values:
            if name not in self.conditions:
                raise unknown("condition", name, self.conditions)
        found = {}
        for name, condition in self.conditions.items():
            given: Sequence[Any] | np.ndarray = values.get(name, [None] * n)
            if len(given) != n:
                raise ValueError(f"{name} needs a value for each of {n} samples, got {len(given)}")
            condition.check_told(name, given)
            found[name] = torch.from_numpy(condition.encode(given)).to(self.device)
        return found

    def in_precision(self, precision: str) -> Denoiser:
        """This model with its network in "float32" or "bfloat16", for inference.

        Its parameters are cast once, and again only after they have changed; buffers keep their type. (Those
        of a model in training stay float32, as its gradients do, and are cast in each pass.)
        """
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if precision == self.precision == "float32":
            return self
        state = [precision, *(t._version for t in (*self.net.parameters(), *self.net.buffers()))]
        if self._cast is None or self._cast[0] != state:
            self._cast = None
            cast = copy.deepcopy(self).eval().requires_grad_(False)
            for name, tensor in _parameters_as(getattr(torch, precision), cast.net).items():
                cast.net.get_parameter(name).data = tensor
            cast.precision = precision
            if self.device.type == "cuda":
                suited_to_gpu(cast)
            self._cast = state, cast
        return self._cast[1]

    def changed(self) -> None:
        """Say that the weights have changed where torch does not count it, as a recorded update does."""
        self._cast = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cast": None}  # a copy has no use for another's


def _each(values: Any, x: Tensor) -> Tensor:
    """One number, or one for each sample of x (B, …), as (B,) in its dtype where it is."""
    if np.ndim(values) == 0:
        return x.new_full((len(x),), float(values))
    return values.to(x.dtype) if isinstance(values, Tensor) else x.new_tensor(values)


def _parameters_as(dtype: torch.dtype, net: nn.Module) -> dict[str, Tensor]:
    """The parameters in another precision, by name; buffers may be counts or tables, and are left alone."""
    found = net.named_parameters()
    return {name: p.to(dtype) for name, p in found if p.is_floating_point() and p.dtype != dtype}


def suited_to_gpu(model: Denoiser) -> None:
    """Let a model for inference have a U-Net in channels last, as kernels want it, and its calls recorded."""
    if isinstance(model.net, UNet) and len(model.shape) + 1 in LAYOUTS:
        model.net.to(memory_format=LAYOUTS[len(model.shape) + 1])  # pyright: ignore[reportCallIssue]
    if model.call is call_network:
        model.call = Replayed()


def call_network(net: nn.Module, weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
    """The network, with `weights` in place of its own where there are some."""
    return functional_call(net, weights, arguments) if weights else net(*arguments)
