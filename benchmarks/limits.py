"""The rate that a network's own convolutions and products allow: each of its shapes timed alone.

A limit for training or sampling it on this machine, whatever is around them costs: normalization,
activations, additions, copies, the optimizer.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from peers import DEVICE, wait
from torch import Tensor
from torch.overrides import TorchFunctionMode

from alphabar.model.recorded import Recorded

HEAVY = {F.conv2d, F.linear, F.scaled_dot_product_attention, torch.einsum}
TOGETHER = 10 if DEVICE.type == "cuda" else 1
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Call(NamedTuple):
    """One convolution or product: the shapes of its tensors, which of them want gradients, and the rest."""

    function: Callable[..., Tensor]
    equation: str | None  # of einsum
    shapes: tuple[tuple[int, ...] | None, ...]
    wants_grad: tuple[bool, ...]
    options: tuple[tuple[str, Any], ...]


class Recorder(TorchFunctionMode):
    """Counts the heavy calls made while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Call] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in HEAVY:
            self.calls[_call(func, args, kwargs or {})] += 1
        return func(*args, **(kwargs or {}))


CONV_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def _call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    equation = None
    if func is torch.einsum:
        equation, *args_left = args
        args = tuple(args_left)
    tensors = [a for a in args if isinstance(a, Tensor) or a is None]
    rest = args[len(tensors) :]
    options = dict(zip(CONV_NAMES[len(tensors) :], rest, strict=False))
    for name, value in kwargs.items():
        if isinstance(value, Tensor):
            tensors.append(value)
        elif value is not None:
            options[name] = value
    shapes = tuple(None if t is None else tuple(t.shape) for t in tensors)
    wants = tuple(t is not None and t.requires_grad for t in tensors)
    return Call(func, equation, shapes, wants, tuple(sorted(options.items())))


def record(run: Callable[[], Any]) -> Counter[Call]:
    """The heavy calls of one forward pass, with the gradients that a backward pass would need."""
    with Recorder() as recorder:
        run()
    return recorder.calls


def flop(call: Call, training: bool) -> float:
    """2 a multiplication; a product's backward pass is one such for every tensor that wants a gradient."""
    a, b = call.shapes[0], call.shapes[1]
    assert a is not None
    assert b is not None
    options = dict(call.options)
    if call.function is F.conv2d:
        stride = options.get("stride", 1)
        stride = stride if isinstance(stride, tuple | list) else (stride, stride)
        padding = options.get("padding", 0)
        padding = padding if isinstance(padding, tuple | list) else (padding, padding)
        sides = [(a[2 + i] + 2 * padding[i] - b[2 + i]) // stride[i] + 1 for i in range(2)]
        once = 2 * a[0] * sides[0] * sides[1] * b[0] * b[1] * b[2] * b[3]
    elif call.function is F.linear:
        once = 2 * torch.Size(a).numel() * b[0]
    elif call.function is torch.einsum:
        left = (call.equation or "").replace(" ", "").split("->")[0].split(",")
        sizes = {
            letter: n
            for term, shape in zip(left, (a, b), strict=True)
            for letter, n in zip(term, shape, strict=True)
        }
        once = 2 * torch.Size(sizes.values()).numel()
    else:
        once = 4 * torch.Size(a).numel() * b[-2]
        return once * (3.5 if training else 1)  # backward: five products for two
    return once * (1 + sum(call.wants_grad[:2]) if training else 1)


def seconds(call: Call, training: bool, dtype: torch.dtype, layout: str, budget_s: float) -> float:
    """The median time of one such call, with its backward pass if training."""
    tensors = []
    for shape, wants in zip(call.shapes, call.wants_grad, strict=True):
        tensor = None if shape is None else torch.randn(shape).to(DEVICE, dtype)
        if tensor is not None and len(tensor.shape) == 4 and call.function is F.conv2d:
            tensor = tensor.to(memory_format=LAYOUTS[layout])
        tensors.append(None if tensor is None else tensor.requires_grad_(wants and training))
    front = () if call.equation is None else (call.equation,)
    options = dict(call.options)

    def once() -> Tensor:
        return call.function(*front, *tensors, **options)

    gradient = torch.randn_like(once().detach())

    def both() -> None:
        for tensor in tensors:
            if tensor is not None:
                tensor.grad = None
        once().backward(gradient)

    run: Callable[[], Any] = both if training and any(call.wants_grad) else once
    times: list[float] = []
    with torch.set_grad_enabled(training):
        run()
        if DEVICE.type == "cuda":  # without what a program needs to launch it
            run = Recorded(run, (), DEVICE)
        wait()
        while len(times) < 3 or sum(times) < budget_s:
            start = time.perf_counter()
            for _ in range(TOGETHER):
                run()
            wait()
            times.append((time.perf_counter() - start) / TOGETHER)
    return statistics.median(times)


def limit(
    calls: Counter[Call], training: bool, dtype: torch.dtype = torch.bfloat16, budget_s: float = 0.05
) -> tuple[float, float]:
    """(seconds, FLOP) of all these calls, each in the layout that is faster for it."""
    total_s = total = 0.0
    for call, count in calls.items():
        layouts = LAYOUTS if call.function is F.conv2d else ["contiguous"]
        total_s += count * min(seconds(call, training, dtype, layout, budget_s) for layout in layouts)
        total += count * flop(call, training)
    return total_s, total
