"""What is known of a sample, y = A x_0, and the ways to make x0_hat agree with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..data.space import Space
from ..errors import unknown
from ..model import Codec, Cond
from ..theory.gaussian import column
from ..theory.schedule import Schedule
from .executor import Denoise, OnX0

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, Pillow's for "L"
METHODS = {
    "projection": "DDNM, exactly",
    "gradient": "DPS, approximately and slower, for noise or a strong blur",
}


class Operator(Protocol):
    """A linear A on samples (B, C, *sides), with the pseudo-inverse."""

    name: str
    norm2: float
    """The largest eigenvalue of A A^T."""
    shape: tuple[int, ...] | None
    """(C, *sides) of the samples that it takes; None for that of what it measures."""

    def measure(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A^+ (y - A x): the nearest to x of all that measure y (as nearly as any can)."""
        ...

    def in_model_space(self, codec: Codec, y: np.ndarray) -> tuple[Operator, np.ndarray]:
        """(A', y'), so that A' x_0 = y' exactly where A image = y, for image = codec.decode(x_0)."""
        ...


class Known:
    """A x: the known numbers of x, the others 0.

    Args:
        known: true where x is known, of the sample's shape, or of a shape that broadcasts to it (one channel
            for all). A mask of numbers must hold 0 (unknown) and 1 (known) alone: where a soft one is cut is
            the caller's decision, such as mask > 127.
    """

    name, norm2 = "known pixels", 1.0
    shape: tuple[int, ...] | None = None

    def __init__(self, known: np.ndarray) -> None:
        known = np.asarray(known)
        if known.dtype != bool:
            if not np.isin(known, (0, 1)).all():
                raise ValueError(
                    "a mask of what is known must be true or false (or 1 and 0), got values "
                    f"{known.min()} to {known.max()}: cut a soft mask first, such as mask > {known.max()} / 2"
                )
            known = known.astype(bool)
        self.known = torch.from_numpy(known.copy())

    def measure(self, x: Tensor) -> Tensor:
        """x where it is known, else 0."""
        return torch.where(self.known.to(x.device), x, 0.0)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """y where it is known, else x, exactly."""
        return torch.where(self.known.to(x.device), y, x)

    def in_model_space(self, codec: Codec, y: np.ndarray) -> tuple[Known, np.ndarray]:
        """The same of encoded values."""
        known = np.broadcast_to(self.known.numpy(), y.shape)
        numbers = codec.numbers_of(known)
        operator = self if numbers is known else Known(numbers)
        return operator, np.where(numbers, codec.encode(np.where(known, y, 0)), np.float32(0))


class Separable:
    """A x: a matrix on the channels, and one on each side.

    Their singular vectors are those of A, and A's singular values the products of theirs, so the
    pseudo-inverse is small matrices, a division, and small matrices again. Products below `rcond` times
    the largest count as 0, lest noise be blown up.
    """

    def __init__(self, name: str, channels: ArrayLike, *sides: ArrayLike, rcond: float = 1e-6) -> None:
        self.name, self.rcond = name, rcond
        self.matrices = [np.asarray(m, np.float64) for m in (channels, *sides)]
        self.shape: tuple[int, ...] | None = tuple(m.shape[1] for m in self.matrices)
        parts = [np.linalg.svd(m, full_matrices=False) for m in self.matrices]
        self.to_singular, self.from_singular = [u.T for u, _, _ in parts], [v.T for _, _, v in parts]
        values = np.ones(())
        for _, s, _ in parts:
            values = values[..., None] * s
        kept = values > rcond * values.max()
        self.inverse = np.where(kept, 1 / np.where(kept, values, 1), 0)
        self.norm2 = float(values.max() ** 2)

    def measure(self, x: Tensor) -> Tensor:
        """A x."""
        return _apply(self.matrices, x)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A^+ (y - A x)."""
        missed = _apply(self.to_singular, y - self.measure(x))
        return x + _apply(self.from_singular, missed * torch.from_numpy(self.inverse).to(x))

    def in_model_space(self, codec: Codec, y: np.ndarray) -> tuple[Separable, np.ndarray]:
        """A' = A scale / s and y' = (y - A offset) / s, with s the mean scale: A itself if all are equal."""
        if codec.known is not None:
            raise ValueError(
                f"{self.name}: that is of all numbers of a sample, and these lack some (NaN); what can be "
                "restored from is some of the others (edit inpaint)"
            )
        if not codec.linear:
            raise ValueError(
                f"{self.name} are no linear function of what the model sees ({codec.name}): of these samples "
                "only masked pixels can be restored"
            )
        scale = np.array(codec.scale)
        s = float(scale.mean())
        offset = np.broadcast_to(codec.space.column(codec.offset), codec.space.shape)
        shifted = (y - self.measure(torch.from_numpy(offset[None].copy()))[0].numpy()) / s
        first, *sides = self.matrices
        operator = (
            Separable(self.name, first * (scale / s), *sides, rcond=self.rcond) if np.ptp(scale) else self
        )
        return operator, shifted.astype(np.float32)


def _apply(matrices: Sequence[np.ndarray], x: Tensor) -> Tensor:
    """Each matrix along its own axis of x (B, C, *sides)."""
    if x.ndim != len(matrices) + 1:
        raise ValueError(f"an operator on samples of {len(matrices)} axes, got {tuple(x.shape[1:])}")
    for axis, matrix in enumerate(matrices, 1):
        m = torch.from_numpy(np.ascontiguousarray(matrix)).to(x)
        x = (x.movedim(axis, -1) @ m.T).movedim(-1, axis)
    return x


def downscaled(shape: Sequence[int], factor: int) -> Separable:
    """Means of factor numbers along every side: super-resolution is its inversion."""
    c, *sides = shape
    whole = isinstance(factor, int | np.integer) and not isinstance(factor, bool)
    if not sides or not whole or factor < 2 or any(n % factor for n in sides):
        shown = " × ".join(map(str, sides)) or "sides, of which these samples have none"
        raise ValueError(f"the factor must be 2 or more and divide {shown}, got {factor}")
    means = [np.kron(np.eye(n // factor), np.full((1, factor), 1 / factor)) for n in sides]
    return Separable(f"means of {' × '.join([str(factor)] * len(sides))} pixels", np.eye(c), *means)


def gray(shape: Sequence[int]) -> Separable:
    """The luminance of the three channels: colorization is its inversion."""
    c, *sides = shape
    if c != 3:
        raise ValueError(f"colorizing needs a model of three channels, and this one has {c}")
    return Separable("luminance", [LUMINANCE], *(np.eye(n) for n in sides))


def blurred(shape: Sequence[int], sigma: float, rcond: float = 0.05) -> Separable:
    """A Gaussian blur of standard deviation `sigma` along every side, mirrored at the edges."""
    c, *sides = shape
    if not sides:
        raise ValueError(f"only samples with sides can be blurred, and these have the shape {tuple(shape)}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"the blur must be above 0 pixels, got {sigma}")
    matrices = [_gaussian(n, sigma) for n in sides]
    return Separable(f"blur of {sigma:g} pixels", np.eye(c), *matrices, rcond=rcond)


def _gaussian(n: int, sigma: float) -> np.ndarray:
    """(n, n): row i is a Gaussian about i, its part beyond an edge folded back."""
    reach = math.ceil(4 * sigma)
    matrix = np.zeros((n, n))
    for offset in range(-reach, reach + 1):
        place = (np.arange(n) + offset) % (2 * n)
        place = np.where(place >= n, 2 * n - 1 - place, place)
        np.add.at(matrix, (np.arange(n), place), math.exp(-0.5 * (offset / sigma) ** 2))
    return matrix / matrix.sum(1, keepdims=True)


def measure(operator: Operator, images: np.ndarray) -> np.ndarray:
    """A of samples (n, *shape) in data space, float64."""
    return operator.measure(torch.from_numpy(np.array(images, np.float64))).numpy()


def measured_of(operator: Operator, image: np.ndarray, space: Space) -> np.ndarray:
    """A of one sample in data space and in its type: what one would measure of it."""
    return space.as_dtype(measure(operator, np.asarray(image)[None])[0])


def misses(operator: Operator, images: np.ndarray, y: np.ndarray) -> np.ndarray:
    """sqrt(mean (A image - y)^2) of each of images (n, *shape), in data space; of what is known alone."""
    if isinstance(operator, Known):
        known = np.broadcast_to(operator.known.numpy(), y.shape)
        miss = np.subtract(images[:, known], y[known], dtype=np.float64)
    else:
        miss = measure(operator, images) - np.asarray(y, np.float64)
    return np.sqrt(np.nanmean(np.square(miss).reshape(len(images), -1), 1))  # what samples lack is NaN


@dataclass(frozen=True)
class Observation:
    """y = A x_0, in model space, and how x0_hat is made to agree with it.

    Attributes:
        operator: A.
        y: what was measured, of one sample.
        method: `projection`, x0_hat <- x0_hat + A^+ (y - A x0_hat), exact where A A^+ = 1 (DDNM, arXiv
            2212.00490); or `gradient`, x0_hat <- x0_hat - strength / (2 sqrt(alpha_bar_t) |A|^2) grad over
            x_t of |y - A x0_hat|^2, where noise or a badly invertible A forbid that (DPS, arXiv 2209.14687;
            as a shift of x0_hat by Tweedie's formula, with the weight of PiGDM for r_t = sigma_t).
        strength: a factor on the gradient.
    """

    operator: Operator
    y: np.ndarray
    method: str = "projection"
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        if not np.all(np.isfinite(self.y)):
            raise ValueError("what was measured holds values that are not finite")
        if not self.strength > 0 or (self.method == "projection" and self.strength != 1):
            raise ValueError(f"strength is a positive factor on the gradient, got {self.strength}")

    @classmethod
    def of_data(
        cls,
        operator: Operator,
        measured: np.ndarray,
        codec: Codec,
        method: str = "projection",
        strength: float = 1.0,
    ) -> Observation:
        """From what was measured in data space, `operator` of a sample there."""
        return cls(*operator.in_model_space(codec, np.asarray(measured)), method, strength)

    def target(self, x: Tensor) -> Tensor:
        """y as a batch of one, where x is."""
        return torch.from_numpy(np.ascontiguousarray(self.y, np.float32))[None].to(x)

    def on_x0(self) -> list[OnX0]:
        """The projection, as a function on x0_hat; none for the gradient."""
        if self.method == "gradient":
            return []
        return [lambda x0_hat: self.operator.project(x0_hat, self.target(x0_hat))]

    def within(self, denoise: Denoise, schedule: Schedule) -> Denoise:
        """`denoise` shifted by the gradient; itself for the projection."""
        return by_gradient(denoise, schedule, self) if self.method == "gradient" else denoise

    def error(self, x_0: np.ndarray) -> np.ndarray:
        """sqrt(mean (y - A x_0)^2) for each of x_0 (n, *shape), in model space."""
        return misses(self.operator, np.asarray(x_0), np.asarray(self.y, np.float32))

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"operator": self.operator.name, "method": self.method, "strength": self.strength}


def by_gradient(denoise: Denoise, schedule: Schedule, observation: Observation) -> Denoise:
    """The denoiser whose x0_hat is shifted down the gradient of the observation's error."""

    def x0_hat(x_t: Tensor, t: ArrayLike, cond: Cond | None = None) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x_0 = denoise(x, t, cond or {})
            miss = observation.target(x) - observation.operator.measure(x_0)
            (gradient,) = torch.autograd.grad(miss.square().sum(), x)
        weight = observation.strength / (2 * np.sqrt(schedule.alpha_bar_at(t)) * observation.operator.norm2)
        return x_0.detach() - column(weight, x_t) * gradient

    return x0_hat
