"""A function of tensors on a GPU as one launch: recorded once as a CUDA graph, and replayed."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

_ONE_AT_A_TIME = threading.Lock()  # threads would fill the same tensors
WARM_UPS = 2
"""Before it is recorded: libraries choose their ways, and tensors that stay are made."""


class Recorded:
    """`function` of `given`, by a GPU alone; each call replays its kernels with what is given then.

    A program needs several microseconds to launch a kernel, and small kernels take less: of a few thousand,
    as an update has, a replay launches all at once. What else the function reads must stay in its place, and
    so does what it returns, until the next call.

    Args:
        function: waits for nothing, brings nothing to the GPU, and always does the same.
        given: tensors, or trees of them.
        device: the GPU.

    RuntimeError where a part of the function can't be recorded.
    """

    def __init__(self, function: Callable[..., Any], given: tuple[Any, ...], device: torch.device) -> None:
        self.given = tree_map_only(Tensor, torch.clone, given)
        here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function(*self.given)
            with _unwaiting():  # what waits would break off a recording, and leave generators in the midst
                function(*self.given)
        here.wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        # other threads may prepare batches meanwhile
        with torch.cuda.graph(self.graph, stream=aside, capture_error_mode="thread_local"):
            self.made = function(*self.given)
        here.wait_stream(aside)

    def __call__(self, *given: Any) -> Any:
        """What the function returns, in tensors that the next call fills again."""
        for own, new in zip(_tensors(self.given), _tensors(given), strict=True):
            own.copy_(new)
        self.graph.replay()
        return self.made


@contextlib.contextmanager
def _unwaiting() -> Iterator[None]:
    """Within it, whatever waits for the GPU raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # that it doesn't notice all
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Replayed:
    """A network's calls where nothing asks for gradients, each kind of arguments recorded at its first call.

    Where a call can't be recorded, it is made kernel by kernel.
    """

    def __init__(self) -> None:
        self.known: dict[Any, Recorded | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"known": {}}  # a copy has a network of its own

    def __call__(self, net: nn.Module, weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
        """As `call_network`."""
        from .denoiser import call_network

        if weights or torch.is_grad_enabled() or not arguments[0].is_cuda:
            return call_network(net, weights, arguments)
        places = tuple(p.data_ptr() for p in (*net.parameters(), *net.buffers()))
        kinds = ((tuple(x.shape), x.dtype) for x in _tensors(arguments))
        key = (places, torch.is_inference_mode_enabled(), *kinds)
        with _ONE_AT_A_TIME:
            if key not in self.known:
                self.known[key] = self._recorded(net, arguments)
            made = self.known[key]
            return net(*arguments) if made is None else made(*arguments).clone()

    def _recorded(self, net: nn.Module, arguments: tuple[Any, ...]) -> Recorded | None:
        try:
            return Recorded(net, arguments, arguments[0].device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None


def _tensors(given: Any) -> list[Tensor]:
    return [each for each in tree_leaves(given) if isinstance(each, Tensor)]
