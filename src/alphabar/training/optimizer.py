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
WIDE = 4
"""So many times as many columns as rows make it worth to iterate on products of rows."""
TOGETHER = 2**20
"""Numbers of small matrices that are worked on at once on a CPU."""


def orthogonalized(matrix: Tensor) -> Tensor:
    """U S' V^T for a matrix U S V^T: singular values above |X| / 50 end between about 0.7 and 1.2.

    Or for several matrices, (n, rows, columns).

    Iterations X <- a X + (b G + c G^2) X with G = X X^T (Newton and Schulz, with the coefficients of
    Jordan et al. 2024, kellerjordan.github.io/posts/muon), in X's dtype. Three instead of the usual five,
    which leave smaller singular values in proportion: as good here, for less time (docs/log.md). Where X is
    `WIDE`, all is done with G, for half of the products: X <- Q X at the end, where Q <- Q (a + b G + c G^2)
    and G <- (a + b G + c G^2)^2 G.
    """
    if matrix.shape[-2] > matrix.shape[-1]:
        return orthogonalized(matrix.mT).mT
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    add = torch.addmm if x.ndim == 2 else torch.baddbmm
    if x.shape[-1] < WIDE * x.shape[-2]:
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x
    gram, product = x @ x.mT, None
    for i in range(ITERATIONS):
        step = add(gram, gram, gram, beta=b, alpha=c)
        if i < ITERATIONS - 1:
            stepped = step @ gram
            gram = add(stepped, step, stepped, beta=2 * a).add_(gram, alpha=a * a)
        if product is None:
            product = step
            product.diagonal(dim1=-2, dim2=-1).add_(a)
        else:
            product = add(product, product, step, beta=a)
    assert product is not None
    return product @ x


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
        steps = [
            shard_of(step.to(weight.dtype).view(ahead[0].shape), weight)
            for weight, step in zip(weights, made, strict=True)
        ]
        size = 0.2 * math.sqrt(max(matrices[0].shape))
        foreach._foreach_mul_(weights, 1 - lr * decay)
        if isinstance(lr, Tensor):
            foreach._foreach_mul_(steps, lr * size)
            foreach._foreach_sub_(weights, steps)
        else:
            foreach._foreach_add_(weights, steps, alpha=-lr * size)


def alike(weights: list[Any]) -> list[list[Any]]:
    """Weights to be worked on at once: of one shape, as small matrices leave a GPU idle and a CPU at little
    but beginnings; there `TOGETHER` numbers, which needs little memory. In shards one by one.
    """
    found: dict[Any, list[Any]] = {}
    for i, weight in enumerate(weights):
        shape = tuple(weight.shape)
        found.setdefault(i if hasattr(weight, "full_tensor") else shape, []).append(weight)
    groups = []
    for group in found.values():
        most = len(group) if group[0].device.type == "cuda" else max(1, TOGETHER // group[0].numel())
        groups += [group[i : i + most] for i in range(0, len(group), most)]
    return groups


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
