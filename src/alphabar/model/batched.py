"""The one place that cuts work for a denoiser into batches of fixed size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..theory.gaussian import q_sample
from .conditions import take
from .denoiser import Denoiser

SIZE, VECTORS, PLACES = 16, 256, 2**18
"""Networks see batches of this size outside of training: kernels may round differently at another one, so a
sample's numbers would depend on its company. Of vectors more, as they are small; of large samples fewer: at
most as many as have `PLACES`."""
WIDER, MORE_PLACES = 16, 4
"""How many times as many on a GPU, which small batches leave idle, and how many times as many places."""

Progress = Callable[[int, int], None]


def batch_size(shape: Sequence[int], device: torch.device | str = "cpu") -> int:
    """How many samples (C, *sides) or (D,) a network sees at once: `SIZE`, `VECTORS`, or less by halves.

    On a GPU it is `WIDER` times as many, and less from `MORE_PLACES` times as many places on.

    >>> batch_size((10,)), batch_size((1, 28, 28)), batch_size((3, 256, 256)), batch_size((1, 64, 64, 64))
    (256, 16, 4, 1)
    >>> batch_size((1, 28, 28), "cuda"), batch_size((3, 256, 256), "cuda")
    (256, 16)
    """
    wide = torch.device(device).type == "cuda"
    size = (SIZE if len(shape) > 1 else VECTORS) * (WIDER if wide else 1)
    while size > 1 and size * math.prod(shape[1:]) > PLACES * (MORE_PLACES if wide else 1):
        size //= 2
    return size


class Batched:
    """A denoiser on NumPy arrays of any number of samples, in batches of `batch_size`.

    Attributes:
        denoiser: the model, or a function of its kind (x_t, t, cond) → x0_hat.
        model: the model that says what conditions mean, where it is.
        progress: called with the number of batches done, and that of this call's.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        denoise: Callable[..., Tensor] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model = denoiser
        self.denoise = denoiser if denoise is None else denoise
        self.progress = progress or (lambda done, total: None)

    def __call__(self, x_t: np.ndarray, t: ArrayLike, values: Mapping[str, Any] | None = None) -> np.ndarray:
        """x0_hat of x_t (n, *shape) at one time or one a sample (n,), float32; values as for `told`."""
        n = len(x_t)
        times, cond = np.asarray(t, dtype=np.float64), self.model.told(values, n)
        found = np.empty(x_t.shape, np.float32)
        size = batch_size(self.model.shape, self.model.device)
        total = math.ceil(n / size)
        with torch.no_grad():
            for done, (k, seats) in enumerate(batches(n, size), 1):
                x = torch.from_numpy(np.ascontiguousarray(x_t[seats], np.float32)).to(self.model.device)
                at = times[seats] if times.ndim else float(times)
                found[k] = self.denoise(x, at, take(cond, seats)).cpu().numpy()[: len(k)]
                self.progress(done, total)
        return found

    def square_errors(
        self, x_0: np.ndarray, t: ArrayLike, eps: np.ndarray, values: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Mean (x_0 - x0_hat)^2 of each sample noised to t by eps, float64 (n,), over the numbers it has."""
        x0_hat = self(q_sample(self.model.schedule, x_0, t, eps), t, values)
        errors, known = np.square(x_0 - x0_hat.astype(np.float64)), self.model.codec.known
        return errors.reshape(len(x_0), -1).mean(1) / (1.0 if known is None else known.mean(dtype=np.float64))


def batches(n: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(k, seats): the numbers 0 … n - 1 batch by batch, and the same with some again to make `size`."""
    for first in range(0, n, size):
        k = np.arange(first, min(first + size, n))
        yield k, np.resize(k, size)
