"""Batches in which sample i is the same bytes however it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..random import stream
from ..theory.plans import Plan
from .executor import Denoise, OnX0, trajectory

SLOTS = 16
"""The network always sees batches of this size, and sample i always sits at place i mod SLOTS of
one: kernels may round differently at another batch size or place, so neither ever changes."""

Start = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sample_noise(seed: int, index: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """The standard normal numbers of sample `index`: step 0 for the start, k + 1 for a plan's row k."""
    return stream(seed, "sample", index, step).standard_normal(shape, np.float32)


def run_plan(
    denoise: Denoise,
    plan: Plan,
    start: Start,
    numbers: np.ndarray,
    seed: int,
    shape: tuple[int, ...],
    labels: np.ndarray | None = None,
    on_x0: Sequence[OnX0] = (),
    rows: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Run a plan for the samples of these numbers, batch by batch of slots.

    Args:
        denoise: (x_t, t, label) → x0_hat, as for `trajectory`.
        plan: the plan.
        start: (standard normal numbers (n, …), positions within `numbers`) → states at plan.times[0].
        numbers: of the samples.
        seed: of their noise.
        shape: of one sample.
        labels: one a sample.
        on_x0: functions on x0_hat.
        rows: which states, 0 … N, to keep.
        progress: called with (done, total) evaluations.
        device: where `denoise` wants its tensors.

    Returns:
        The last states (n, …), and those of `rows` (R, n, …); model space, float32.
    """
    out = np.empty((len(numbers), *shape), dtype=np.float32)
    kept = np.empty((len(rows), len(numbers), *shape), dtype=np.float32)
    blocks = np.unique(numbers // SLOTS)
    evaluations = plan.num_evaluations
    for done, block in enumerate(blocks):
        where = np.flatnonzero(numbers // SLOTS == block)
        slots = numbers[where] % SLOTS

        def seated(values: np.ndarray, slots: np.ndarray = slots) -> torch.Tensor:
            """Values of the samples at their places; zeros where no sample sits."""
            batch = np.zeros((SLOTS, *values.shape[1:]), values.dtype)
            batch[slots] = values
            return torch.from_numpy(batch).to(device)

        def noise(step: int, where: np.ndarray = where) -> np.ndarray:
            return np.stack([sample_noise(seed, i, step, shape) for i in numbers[where].tolist()])

        def keep(k: int, x: np.ndarray, where: np.ndarray = where) -> None:
            if k in rows:
                kept[list(rows).index(k), where] = x

        x = np.asarray(start(noise(0), where), dtype=np.float32)
        keep(0, x)
        label = None if labels is None else seated(labels[where])
        steps = trajectory(
            denoise, plan, seated(x), lambda k, noise=noise, seated=seated: seated(noise(k + 1)), label, on_x0
        )
        for k, step in enumerate(steps, 1):
            x = step.x_s.cpu().numpy()[slots]
            keep(k, x)
            if progress is not None:
                progress(done * evaluations + k, len(blocks) * evaluations)
        out[where] = x
    return out, kept
