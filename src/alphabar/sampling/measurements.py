"""What is known of a picture, y = A x_0, and the ways to make x0_hat agree with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.spec import DataSpec
from ..errors import unknown
from ..theory.schedule import Schedule
from .executor import Denoise, OnX0

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, Pillow's for "L"
METHODS = ("projection", "gradient")


class Operator(Protocol):
    """A linear A on samples (B, C, H, W), with the pseudo-inverse."""

    name: str
    norm2: float
    """The largest eigenvalue of A A^T."""

    def measure(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A^+ (y - A x): the nearest to x of all that measure y (as nearly as any can)."""
        ...


class Known:
    """A x: the known pixels of x, the others 0. `known` is (1 or C, H, W), true where known."""

    name, norm2 = "known pixels", 1.0

    def __init__(self, known: np.ndarray) -> None:
        self.known = torch.from_numpy(np.asarray(known, dtype=bool))

    def measure(self, x: Tensor) -> Tensor:
        """x where it is known, else 0."""
        return torch.where(self.known.to(x.device), x, 0.0)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """y where it is known, else x, exactly."""
        return torch.where(self.known.to(x.device), y, x)


class Separable:
    """A x: matrices on the channels, the rows and the columns.

    Their singular vectors are those of A, and A's singular values the products of theirs, so the
    pseudo-inverse is three small matrices, a division, and three more. Products below `rcond` times
    the largest count as 0, lest noise be blown up.
    """

    def __init__(
        self, name: str, channels: np.ndarray, rows: np.ndarray, columns: np.ndarray, rcond: float = 1e-6
    ) -> None:
        self.name = name
        self.matrices = [np.asarray(m, np.float64) for m in (channels, rows, columns)]
        parts = [np.linalg.svd(m, full_matrices=False) for m in self.matrices]
        self.to_singular, self.from_singular = [u.T for u, _, _ in parts], [v.T for _, _, v in parts]
        values = np.einsum("c,i,j->cij", *(s for _, s, _ in parts))
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


def _apply(matrices: list[np.ndarray], x: Tensor) -> Tensor:
    channels, rows, columns = (torch.from_numpy(np.ascontiguousarray(m)).to(x) for m in matrices)
    return torch.einsum("dc,ih,jw,bchw->bdij", channels, rows, columns, x)


def downscaled(shape: tuple[int, int, int], factor: int) -> Separable:
    """Means of factor x factor pixels: super-resolution is its inversion."""
    c, h, w = shape
    if factor < 2 or h % factor or w % factor:
        raise ValueError(f"the factor must be 2 or more and divide {h} × {w}, got {factor}")
    rows, columns = (np.kron(np.eye(n // factor), np.full((1, factor), 1 / factor)) for n in (h, w))
    return Separable(f"means of {factor} × {factor} pixels", np.eye(c), rows, columns)


def grey(shape: tuple[int, int, int]) -> Separable:
    """The luminance of the three channels: colourisation is its inversion."""
    c, h, w = shape
    if c != 3:
        raise ValueError(f"colourising needs a model of three channels, and this one has {c}")
    return Separable("luminance", np.array([LUMINANCE]), np.eye(h), np.eye(w))


def blurred(shape: tuple[int, int, int], sigma: float, rcond: float = 0.05) -> Separable:
    """A Gaussian blur of standard deviation `sigma` pixels, mirrored at the edges."""
    c, h, w = shape
    if not sigma > 0:
        raise ValueError(f"the blur must be above 0 pixels, got {sigma}")
    return Separable(f"blur of {sigma:g} pixels", np.eye(c), _gaussian(h, sigma), _gaussian(w, sigma), rcond)


def _gaussian(n: int, sigma: float) -> np.ndarray:
    """(n, n): row i is a Gaussian about i, its part beyond an edge folded back."""
    reach = math.ceil(4 * sigma)
    matrix = np.zeros((n, n))
    for offset in range(-reach, reach + 1):
        place = (np.arange(n) + offset) % (2 * n)
        place = np.where(place >= n, 2 * n - 1 - place, place)
        np.add.at(matrix, (np.arange(n), place), math.exp(-0.5 * (offset / sigma) ** 2))
    return matrix / matrix.sum(1, keepdims=True)


def measured_of(operator: Operator, image: np.ndarray | None, spec: DataSpec) -> np.ndarray:
    """A of an image (C, H, W), in data space and in its type; of a blank one if there is none."""
    x = np.zeros(spec.shape, np.float32) if image is None else spec.to_model(image)
    return spec.to_data(operator.measure(torch.from_numpy(x)[None])[0].numpy())


@dataclass(frozen=True)
class Measurement:
    """y = A x_0, and how x0_hat is made to agree with it.

    Attributes:
        operator: A.
        y: what was measured, (…) of one sample in model space.
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
        """sqrt(mean (y - A x_0)^2) for each of x_0 (n, C, H, W), in model space."""
        x = torch.from_numpy(np.asarray(x_0, dtype=np.float64))
        miss = (self.operator.measure(x) - self.target(x)).flatten(1)
        if isinstance(self.operator, Known):
            share = self.operator.known.expand(x.shape[1:]).double().mean()
            return (miss.square().mean(1) / share).sqrt().numpy()
        return miss.square().mean(1).sqrt().numpy()

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"operator": self.operator.name, "method": self.method, "strength": self.strength}


def by_gradient(denoise: Denoise, schedule: Schedule, measured: Measurement) -> Denoise:
    """The denoiser whose x0_hat is shifted down the gradient of the measurement's error."""

    def x0_hat(x_t: Tensor, t: float, label: Tensor | None) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x_0 = denoise(x, t, label)
            miss = measured.target(x) - measured.operator.measure(x_0)
            (gradient,) = torch.autograd.grad(miss.square().sum(), x)
        weight = measured.strength / (2 * math.sqrt(schedule.alpha_bar_at(t)) * measured.operator.norm2)
        return x_0.detach() - weight * gradient

    return x0_hat
