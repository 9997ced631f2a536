"""What turns gradients into steps: AdamW, and Muon for the matrices within the network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..model.devices import has_bfloat16
from .config import TrainConfig
from .sharding import shard_of, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3


def orthogonalized(matrix: Tensor) -> Tensor:
    """U S' V^T for a matrix U S V^T: singular values above |X| / 50 end between about 0.7 and 1.2.

    Or for several matrices, (n, rows, columns).

    Iterations X <- a X + (b X X^T + c (X X^T)^2) X (Newton and Schulz, with the coefficients of
    Jordan et al. 2024, kellerjordan.github.io/posts/muon), in X's dtype. Three instead of the usual five,
    which leave smaller singular values in proportion: as good here, for less time (docs/log.md).
    """
    a, b, c = COEFFICIENTS
    x = matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    add = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if matrix.shape[-2] > matrix.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """Weights of two and more dimensions, each as a matrix with a row for every output.

        m <- momentum m + (1 - momentum) g
        W <- (1 - lr weight_decay) W - 0.2 sqrt(max(rows, columns)) lr O(momentum m + (1 - momentum) g)

    with O as in `orthogonalized`; the factor gives a step the size of AdamW's, so that one rate serves
    both (arXiv 2502.16982). As torch.optim.Muon, which takes matrices alone and works in bfloat16
    also where that is slow. As with its fused optimizers, a step changes nothing where `found_inf`, a tensor
    on the device, is 1.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step from the gradients."""
        assert closure is None
        for group in self.param_groups:
            for weights in alike([w for w in group["params"] if w.grad is not None]):
                self._step(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, weights: list[Any], lr: float | Tensor, momentum: float, decay: float) -> None:
        """A step of weights of one shape."""
        foreach: Any = torch  # its functions on lists have no types
        averages, gradients = [], [weight.grad for weight in weights]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            averages.append(state["momentum"])
        if self.found_inf is not None:
            bad = self.found_inf > 0
            gradients = [torch.where(bad, m, g) for m, g in zip(averages, gradients, strict=True)]
            lr = lr * (1 - self.found_inf)
        foreach._foreach_lerp_(averages, gradients, 1 - momentum)
        ahead = [whole(g.lerp(m, momentum)) for m, g in zip(averages, gradients, strict=True)]
        dtype = torch.bfloat16 if has_bfloat16(weights[0].device) else torch.float32
        matrices = [each.flatten(1).to(dtype) for each in ahead]
        if len(weights) == 1:
            made = [orthogonalized(matrices[0])]
        else:
            made = [*orthogonalized(torch.stack(matrices))]
        size = 0.2 * math.sqrt(max(matrices[0].shape))
        for weight, step in zip(weights, made, strict=True):
            update = shard_of(step.to(weight.dtype).view(ahead[0].shape), weight)
            if isinstance(lr, Tensor):
                weight.mul_(1 - lr * decay).sub_(update * (lr * size))
            else:
                weight.mul_(1 - lr * decay).add_(update, alpha=-lr * size)


def alike(weights: list[Any]) -> list[list[Any]]:
    """Weights to be worked on at once: on a GPU, which small matrices leave idle, those of one shape.

    Elsewhere, and in shards, one by one, which needs less memory.
    """
    found: dict[Any, list[Any]] = {}
    for i, weight in enumerate(weights):
        together = weight.device.type == "cuda" and not hasattr(weight, "full_tensor")
        found.setdefault(tuple(weight.shape) if together else i, []).append(weight)
    return [*found.values()]


MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights are matrices with a row for every output; tables of embeddings are not."""


def make_optimizers(config: TrainConfig, net: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """AdamW for all weights, or Muon for the hidden matrices and AdamW for the rest; by name.

    A matrix is hidden unless a part of its name is among `net.outer`, what reads an input or writes the
    output; a network that names none has its first and last layers among the hidden.
    """
    outer = set(getattr(net, "outer", ()))
    weights = {
        f"{name}.weight".removeprefix(".") for name, m in net.named_modules() if isinstance(m, MATRICES)
    }
    hidden, rest = [], []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            matrix = name in weights and not outer.intersection(name.split("."))
            (hidden if config.optimizer == "muon" and matrix else rest).append(parameter)
    if not hidden and not rest:
        raise ValueError(f"the network {type(net).__name__} has no parameters that require a gradient")
    made: dict[str, torch.optim.Optimizer] = {}
    if rest:
        made["adam"] = torch.optim.AdamW(
            rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
    if hidden:
        made["muon"] = Muon(hidden, config.lr, config.momentum, config.weight_decay)
    return made
