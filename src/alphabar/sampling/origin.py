"""What sampling starts from: pure noise, a clean sample noised to t, or a noisy one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rng
from ..model import Denoiser
from ..theory.gaussian import q_sample
from ..theory.plans import Plan


@dataclass(frozen=True)
class Origin:
    """One of x_0 and x_t, or neither.

    Attributes:
        x_0: clean, in data space, to be noised to the plan's first time: one (*shape) for every sample, or
            one for each (n, *shape).
        x_t: already noisy, in model space, likewise.
    """

    x_0: np.ndarray | None = None
    x_t: np.ndarray | None = None

    @property
    def given(self) -> bool:
        """Whether it is not pure noise."""
        return self.x_0 is not None or self.x_t is not None

    def check(self, denoiser: Denoiser, plan: Plan, n: int) -> None:
        """Raise ValueError unless n samples of the model can start from it."""
        start = float(plan.times[0])
        if self.x_0 is not None and self.x_t is not None:
            raise ValueError("give x_0 (clean) or x_t (already noisy), not both")
        for name, array, shape in (
            ("x_0", self.x_0, denoiser.space.shape),
            ("x_t", self.x_t, denoiser.shape),
        ):
            if array is not None and np.shape(array) not in (shape, (n, *shape)):
                raise ValueError(
                    f"{name} must have the model's shape {shape}, got {np.shape(array)} "
                    f"(or {(n, *shape)}, one for each sample)"
                )
            finite = denoiser.space.is_whole_sample if name == "x_0" else lambda x: np.isfinite(x).all()
            if array is not None and not finite(np.asarray(array)):
                raise ValueError(f"{name} holds values that are not finite")
        if not self.given and start != denoiser.schedule.T:
            raise ValueError(
                f"from pure noise sampling starts at T = {denoiser.schedule.T}, got {start:g}; to start "
                "there, give x_0 (a clean sample, to be noised) or x_t (a noisy one)"
            )

    def states(
        self, denoiser: Denoiser, t: float, seed: int, indices: np.ndarray, where: np.ndarray
    ) -> np.ndarray | None:
        """The states at time t of samples `indices`, at places `where` among all; None for pure noise."""
        if self.x_t is not None:
            return _of_each(np.asarray(self.x_t, dtype=np.float32), denoiser.shape, where)
        if self.x_0 is None:
            return None
        x_0 = denoiser.codec.encode(_of_each(np.asarray(self.x_0), denoiser.space.shape, where))
        return q_sample(denoiser.schedule, x_0, t, rng.normal(seed, "sample", indices, shape=denoiser.shape))

    def facts(self) -> dict[str, Any]:
        """As JSON: where it starts from, and the SHA-256 of what was given."""
        given = self.x_0 if self.x_0 is not None else self.x_t
        digest = None if given is None else hashlib.sha256(np.ascontiguousarray(given).data).hexdigest()
        words = "x_0 noised to t" if self.x_0 is not None else "x_t as given" if self.given else "pure noise"
        return {"from": words, "start_sha256": digest}


def _of_each(given: np.ndarray, shape: tuple[int, ...], where: np.ndarray) -> np.ndarray:
    """Those at `where`: the single one repeated, or each sample's own."""
    return np.broadcast_to(given, (len(where), *shape)) if given.shape == shape else given[where]
