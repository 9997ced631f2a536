"""Randomness as an argument: number n of (seed, purpose, index, step) is one function, on every device.

Philox turns a counter and a key into four words of 32 bits, and keeps no state. Here

    key     = (low word, high word) of the seed
    counter = (block, step, low word of the index, 2^24 purpose + high word of the index)

and block b holds the normal numbers 4 b … 4 b + 3 of its sample. So a slice of a batch, a prefix of a shape,
a micro-batch, another process and a GPU have the same numbers, equal to the bit: see `philox`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import brief, unknown
from .kernels import can_be_built
from .philox import MASK, box_muller, doubles, philox

PURPOSES = {
    "weights": 0,
    "order": 1,
    "flip": 2,
    "time": 3,
    "noise": 4,
    "dropout": 5,
    "network": 6,
    "validation": 7,
    "sample": 8,
    "condition": 9,
    "condition_dropout": 10,
    "fit": 11,
    "evaluation": 13,
    "turn": 14,
    "crop": 15,
}
"""What random numbers are for. The number of each is a part of all its random numbers: it never changes, and
a new purpose takes a new one."""

BLOCKS_AT_ONCE, BLOCKS_AT_ONCE_ON_DEVICE = 2**13, 2**22
"""On a CPU what fits a core's cache; elsewhere what fits the memory."""

Whole = int | np.integer | Sequence[int] | np.ndarray
"""One whole number, or one for each sample."""
Indices = Whole | Tensor
"""The same; or an int64 tensor, (n,) or (1,), where the numbers are made: unchecked, as a look would wait."""


class Law(NamedTuple):
    """How a block's four words become numbers: by `fill`, so many of them, of this type."""

    fill: Callable[[tuple[Any, Any, Any, Any], Any], None]
    numbers: int
    dtype: str


NORMAL, UNIFORM = Law(box_muller, 4, "float32"), Law(doubles, 2, "float64")


def normal(
    seed: Whole, purpose: str, indices: Whole, step: Whole = 0, *, shape: Sequence[int] = ()
) -> np.ndarray:
    """Standard normal numbers, float32: (n, *shape) for n indices, (*shape) for a single one.

    Args:
        seed: 0 … 2^63 - 1; one, or one for each index.
        purpose: among PURPOSES.
        indices: which samples, each 0 … 2^56 - 1; one or a row of them.
        step: 0 … 2^32 - 1; one, or one for each index.
        shape: of one sample. Its numbers are counted in row-major order.

    >>> whole = normal(0, "noise", range(5), 7, shape=(2, 3))
    >>> bool((whole[3] == normal(0, "noise", 3, 7, shape=(2, 3))).all())
    True
    """
    return _made(NORMAL, seed, purpose, indices, step, shape)


def uniform(
    seed: Whole, purpose: str, indices: Whole, step: Whole = 0, *, shape: Sequence[int] = ()
) -> np.ndarray:
    """Uniform numbers of 53 bits within [0, 1), float64, two a block; arguments as for `normal`."""
    return _made(UNIFORM, seed, purpose, indices, step, shape)


def normal_tensor(
    seed: Indices,
    purpose: str,
    indices: Indices,
    step: Indices = 0,
    *,
    shape: Sequence[int] = (),
    device: str | torch.device = "cpu",
) -> Tensor:
    """The numbers of `normal`, equal to the bit, made on the device (on the CPU where it has no float64)."""
    return _tensor(NORMAL, device, seed, purpose, indices, step, shape)


def uniform_tensor(
    seed: Whole,
    purpose: str,
    indices: Indices,
    step: Indices = 0,
    *,
    shape: Sequence[int] = (),
    device: str | torch.device = "cpu",
) -> Tensor:
    """The numbers of `uniform`, equal to the bit, made on the device (on the CPU where it has no float64)."""
    return _tensor(UNIFORM, device, seed, purpose, indices, step, shape)


def by_numpy(device: torch.device) -> bool:
    """Whether numbers for this device are made by NumPy: it is the CPU, or one without float64."""
    return device.type in ("cpu", "mps")


def random_bytes(
    seed: int, purpose: str, indices: Indices, step: Indices, count: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Bytes, uint8 (n, count), sixteen a block: byte j of word w of block b is number 16 b + 4 w + j."""
    device = torch.device(device)
    if by_numpy(device):
        indices, step = _on_host(indices), _on_host(step)
        rows = np.empty((np.size(indices), -(-count // 16), 4), "<u4")
        for here, words in _blocks(seed, purpose, indices, step, rows.shape[1]):
            for w, word in enumerate(words):
                rows[here][..., w] = word
        return torch.from_numpy(rows.reshape(len(rows), -1).view(np.uint8))[:, :count].to(device)
    return _bytes_in_torch(seed, purpose, indices, step, count, device)


def _bytes_in_torch(
    seed: int, purpose: str, indices: Indices, step: Indices, count: int, device: torch.device
) -> Tensor:
    if can_be_built(device):
        from .kernels.draws import octets as by_kernel

        return by_kernel(*_there(seed, purpose, indices, step, device), -(-count // 16))[:, :count]
    octets = torch.empty(_count(indices), -(-count // 16), 16, dtype=torch.uint8, device=device)
    for here, words in _blocks(seed, purpose, indices, step, octets.shape[1], device):
        for i in range(16):
            octets[here][..., i] = (words[i // 4] >> (8 * (i % 4))) & 255
    return octets.flatten(1)[:, :count]


def stream(seed: int, purpose: str, i: int = 0, j: int = 0) -> np.random.Generator:
    """A generator of NumPy's for (seed, purpose, i, j), independent of every other: for orders and choices.

    No state is kept anywhere, so that what is drawn for step i or sample i depends on nothing else.

    >>> a, b = (stream(0, "order", 7, 3).permutation(100) for _ in range(2))
    >>> bool((a == b).all())
    True
    """
    check_seed(seed)
    key = [seed, _number(purpose)]
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, i, j]))


def check_seed(seed: int) -> None:
    """Raise ValueError unless seed is a whole number within 0..2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number within 0..2^63 - 1, got {brief(seed)}")


def _tensor(law: Law, device: str | torch.device, *given: Any) -> Tensor:
    """What `_made` makes of what is given, on the device, and by it if it can."""
    device = torch.device(device)
    if by_numpy(device):
        return torch.from_numpy(_made(law, *given)).to(device)
    return _made(law, *given, device=device)


def _made(
    law: Law,
    seed: Indices,
    purpose: str,
    indices: Indices,
    step: Indices,
    shape: Sequence[int],
    device: torch.device | None = None,
) -> Any:
    """Numbers of a law by NumPy, or by torch on a device."""
    if device is None:
        seed, indices, step = _on_host(seed), _on_host(indices), _on_host(step)
    count = math.prod(shape)
    if device is not None and law is NORMAL and can_be_built(device):
        from .kernels.draws import normal as by_kernel

        rows = by_kernel(*_there(seed, purpose, indices, step, device), -(-count // law.numbers))
        return _shaped(rows, count, indices, shape)
    size = (_count(indices), -(-count // law.numbers), law.numbers)
    rows: Any = (
        np.empty(size, law.dtype)
        if device is None
        else torch.empty(size, dtype=getattr(torch, law.dtype), device=device)
    )
    for here, words in _blocks(seed, purpose, indices, step, size[1], device):
        law.fill(words, rows[here])
    return _shaped(rows, count, indices, shape)


def _blocks(
    seed: Indices,
    purpose: str,
    indices: Indices,
    step: Indices,
    blocks: int,
    device: torch.device | None = None,
) -> Iterator[tuple[tuple[slice, slice], tuple[Any, Any, Any, Any]]]:
    """The words of blocks 0 … blocks - 1 of each index, piece by piece: (samples and blocks, four words)."""
    (seeds, index, steps), n = _rows(seed, indices, step), _count(indices)
    words = [index & MASK, (_number(purpose) << 24) + (index >> 32), steps, seeds & MASK, seeds >> 32]
    # what is one for all stays a plain number: a product or two less in the first rounds
    words = [
        int(word[0]) if w > 1 and len(word) == 1 and not isinstance(word, Tensor) else word[:, None]
        for w, word in enumerate(words)
    ]
    at_once = BLOCKS_AT_ONCE if device is None else BLOCKS_AT_ONCE_ON_DEVICE
    many, width = max(1, at_once // max(1, blocks)), min(at_once, max(1, blocks))

    def of(word: Any, part: slice) -> Any:
        a = word if isinstance(word, int) or len(word) == 1 else word[part]
        return torch.from_numpy(a).to(device) if device is not None and isinstance(a, np.ndarray) else a

    for i in range(0, n, many):
        here = [of(word, slice(i, i + many)) for word in words]
        low, high, at, *key = here
        for b in range(0, blocks, width):
            block: Any = np.arange(b, min(b + width, blocks))
            if device is not None:
                block = torch.arange(b, min(b + width, blocks), device=device)
            yield (slice(i, i + many), slice(b, b + width)), philox((block, at, low, high), key)


def _rows(seed: Indices, indices: Indices, step: Indices) -> tuple[Any, Any, Any]:
    """Seeds, indices and steps as rows, tensors as they are; ValueError unless they go together."""
    index, n = _whole("index", indices, 2**56), _count(indices)
    seeds, steps = _whole("seed", seed, 2**63), _whole("step", step, 2**32)
    for name, row in (("seed", seeds), ("step", steps)):
        if len(row) not in (1, n):
            raise ValueError(f"{name} must be one number, or one for each of {n} indices, got {len(row)}")
    return seeds, index, steps


def _there(
    seed: Indices, purpose: str, indices: Indices, step: Indices, device: torch.device
) -> tuple[Tensor, int, Tensor, Tensor]:
    """(seeds, the purpose's number, indices, steps) as a kernel takes them."""

    rows: list[Any] = [*_rows(seed, indices, step)]
    for i, row in enumerate(rows):
        if not isinstance(row, Tensor) and len(row) == 1:
            rows[i] = torch.full((1,), int(row[0]), dtype=torch.int64, device=device)
        elif not isinstance(row, Tensor):
            rows[i] = torch.from_numpy(row).to(device)
    return rows[0], _number(purpose), rows[1], rows[2]


def _shaped(rows: Any, count: int, indices: Indices, shape: Sequence[int]) -> Any:
    """Rows (n, blocks, numbers a block) cut to `count` numbers each, in the shape that was asked for."""
    rows = rows.reshape(len(rows), rows.shape[1] * rows.shape[2])[:, :count]
    return rows.reshape((*_shape(indices), *shape))


def _shape(indices: Indices) -> tuple[int, ...]:
    return tuple(indices.shape) if isinstance(indices, Tensor) else np.shape(indices)


def _count(indices: Indices) -> int:
    return math.prod(_shape(indices))


def _on_host(indices: Indices) -> Whole:
    return indices.numpy(force=True) if isinstance(indices, Tensor) else indices


def _number(purpose: str) -> int:
    if purpose not in PURPOSES:
        raise unknown("purpose of random numbers", purpose, PURPOSES)
    return PURPOSES[purpose]


def _whole(name: str, values: Indices, end: int) -> Any:
    """Values as a row of int64, each within 0 … end - 1; tensors as they are."""
    if isinstance(values, Tensor):
        return values
    row = np.asarray(values)
    if row.size == 0:
        row = row.astype(np.int64)
    if row.ndim > 1 or row.dtype.kind not in "iu" or (row.size and not 0 <= row.min() <= row.max() < end):
        what = f"a whole number within 0..2^{end.bit_length() - 1} - 1"
        raise ValueError(f"{name} must be {what}, or a row of them, got {brief(values)}")
    return np.atleast_1d(row).astype(np.int64)
