"""Gradients of several processes, added up in one order, however many they are; or as PyTorch does it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..model.denoiser import Denoiser
from ..world import World, all_gather, lost
from .config import TrainConfig

# --- parts of a batch --------------------------------------------------------------------------


def is_exact(config: TrainConfig) -> bool:
    """Whether any number of processes trains the same bits."""
    return config.exact_processes == "on" and not config.sharded


def slots_of(config: TrainConfig, processes: int) -> int:
    """The parts of a batch whose gradients are added up, in a run of so many processes.

    ValueError where so many can't share them.
    """
    if not is_exact(config):
        if config.batch_size % processes:
            raise ValueError(
                f"{processes} processes can't share a batch of {config.batch_size}: take a number that "
                "divides it, or another --batch"
            )
        return processes
    if config.virtual_processes % processes:
        raise ValueError(
            f"{processes} processes can't share the parts that this run cuts each batch into, "
            f"{config.virtual_processes}: take a number that divides it, or begin a new run or a fork with "
            f"--virtual-processes {processes} and a batch that is a multiple of it"
        )
    return config.virtual_processes


def at_once(config: TrainConfig, processes: int = 1) -> int:
    """The most samples that the network sees at once."""
    part = config.batch_size // slots_of(config, processes)
    return min(config.micro_batch or part, part)


# --- sums in one order -------------------------------------------------------------------------------------


class Node(NamedTuple):
    """The sum of gradients start … start + size - 1: a tensor for each weight, or some of their numbers."""

    start: int
    size: int
    value: Sequence[Tensor]


class Tree:
    """A sum in the order of a binary tree over 0, 1, 2, …: ((0 + 1) + (2 + 3)) + ….

    What is put in is added to what is left of it as soon as both are halves of one node, in place. So partial
    sums that were made elsewhere, of neighbors, give the same bits as all of their parts.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> None:
        """Put in the next one."""
        self.nodes.append(node)
        while len(self.nodes) > 1:
            left, right = self.nodes[-2:]
            if left.size != right.size or left.start % (2 * left.size):
                break
            self._join()

    def total(self) -> Sequence[Tensor]:
        """The sum of all."""
        while len(self.nodes) > 1:
            self._join()
        return self.nodes[0].value

    def _join(self) -> None:
        right, left = self.nodes.pop(), self.nodes.pop()
        foreach: Any = torch  # its functions on lists have no types
        foreach._foreach_add_(list(left.value), list(right.value))
        self.nodes.append(Node(left.start, left.size + right.size, left.value))


def nodes_of(start: int, stop: int) -> list[tuple[int, int]]:
    """(start, size) of the nodes that a `Tree` has of start … stop - 1 alone.

    >>> nodes_of(0, 4), nodes_of(3, 6)
    ([(0, 4)], [(3, 1), (4, 2)])
    """
    found = []
    while start < stop:
        size = 1 << ((stop - start).bit_length() - 1)
        size = min(size, start & -start) if start else size
        found.append((start, size))
        start += size
    return found


def summed(world: World, tree: Tree, slots: int) -> Sequence[Tensor]:
    """The sum of all processes' gradients, each of which has its share of the slots in a tree.

    Each process finishes the sum of one part of all numbers, and then has it from all: as much is sent as
    in a ring's reduction.
    """
    if not world:
        return tree.total()
    like, found = tree.nodes[0].value, {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in like):
        chosen = [i for i, tensor in enumerate(like) if tensor.dtype == dtype]
        nodes = [node._replace(value=[node.value[i] for i in chosen]) for node in tree.nodes]
        found |= dict(zip(chosen, _summed(world, nodes, slots), strict=True))
    return [found[i] for i in range(len(like))]


def _summed(world: World, nodes: list[Node], slots: int) -> Iterator[Tensor]:
    each, (first, *_) = slots // world.size, nodes
    known = [nodes_of(rank * each, (rank + 1) * each) for rank in range(world.size)]
    numbers = sum(tensor.numel() for tensor in first.value)
    chunk = -(-numbers // world.size)
    sent = first.value[0].new_zeros(len(nodes), world.size * chunk)
    for row, node in zip(sent, nodes, strict=True):
        torch.cat([tensor.reshape(-1) for tensor in node.value], out=row[:numbers])
    sent = sent.view(len(nodes), world.size, chunk).transpose(0, 1).contiguous().flatten(0, 1)
    got = sent.new_empty(sum(map(len, known)), chunk)
    with lost():
        dist.all_to_all_single(got, sent, [*map(len, known)], [len(nodes)] * world.size)
        tree = Tree()
        for (start, size), row in zip(itertools.chain(*known), got, strict=True):
            tree.add(Node(start, size, [row]))
        whole = sent.new_empty(world.size * chunk)
        all_gather(whole, tree.total()[0])
    parts = whole[:numbers].split([tensor.numel() for tensor in first.value])
    for tensor, part in zip(first.value, parts, strict=True):
        yield tensor.copy_(part.view(tensor.shape))


# --- in PyTorch's own way ----------------------------------------------------------------------


class _Called(nn.Module):
    """What calls a denoiser's network, as a module that has the same weights."""

    def __init__(self, model: Denoiser) -> None:
        super().__init__()
        self.net, self._call = model.net, model.call

    def forward(self, weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
        return self._call(self.net, weights, arguments)


class Reducer:
    """PyTorch's own reduction of gradients, while backward is still at work; to the mean over processes.

    Its bits depend on the number of processes.

    Args:
        model: whose network is called by way of it from now on.
    """

    def __init__(self, model: Denoiser) -> None:
        with lost():
            self._module = DistributedDataParallel(_Called(model))
        model.call = lambda net, weights, arguments: self._module(weights, arguments)

    @contextlib.contextmanager
    def reducing(self, last: bool) -> Iterator[None]:
        """Within it, backward reduces the gradients if it is the last of those that are added up."""
        with contextlib.nullcontext() if last else self._module.no_sync(), lost("gloo", "nccl"):
            yield
