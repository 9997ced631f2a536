"""A batch of fixed size in which every slot is at a row of its own plan.

Sample i always sits at place i mod n of a batch of n = `batch_size`: kernels may round differently at another
size or place, so its bytes would depend on its company. It is what sampling, editing and serving run on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..model.batched import batch_size
from ..model.devices import keep_memory
from ..theory.plans import Plan
from .executor import (
    Denoise,
    NotFinite,
    OnX0,
    Row,
    advance,
    as_columns,
    ends_in_a_mixture,
    not_finite,
    row_of,
    through,
)

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class Job:
    """One sample on its way.

    Attributes:
        plan: to follow.
        index, seed: of the sample, and of its noise: normal numbers (seed, "sample", index, row + 1) where
            row 0 … N - 1 adds noise, and (…, 0) for a start from pure noise.
        cond: what it is told, each of one sample's shape.
        x: the state at plan.times[0], in model space; pure noise unless given.
        keep: which states, 0 … N, to keep.
        kept: those that were, by row.
        tag: for whoever made the job.
    """

    plan: Plan
    index: int
    seed: int = 0
    cond: Mapping[str, Tensor] = field(default_factory=dict)
    x: np.ndarray | None = None
    keep: Sequence[int] = ()
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    tag: Any = None
    row: int = 0

    @property
    def time(self) -> float:
        """Where x is now."""
        return float(self.plan.times[self.row])


class Slots:
    """`put` jobs in, and `step`: the network is evaluated once, and every job moves by one row of its plan.

    The bytes of a sample are the same whatever the others are: fewer, in another order, of other plans, told
    other things, at other rows.

    Args:
        denoise: (x_t, t, cond) → x0_hat.
        shape: of one sample.
        on_x0: functions on x0_hat, for all.
        device: where `denoise` wants its tensors.
    """

    def __init__(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        on_x0: Sequence[OnX0] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.denoise, self.shape, self.on_x0, self.device = denoise, tuple(shape), tuple(on_x0), device
        keep_memory(torch.device(device))
        self.size = batch_size(self.shape, device)
        self.jobs: list[Job | None] = [None] * self.size
        self.x = torch.zeros(self.size, *self.shape, device=device)
        self.history: list[Tensor] = []  # what was remembered, the newest first
        # whether each job's predictions were finite so far, and how many were: on the device until it is done
        self.finite = torch.ones(self.size, dtype=torch.bool, device=device)
        self.sound = torch.zeros(self.size, dtype=torch.int64, device=device)
        self.cond: dict[str, Tensor] = {}
        # seed and index of each job, where a device makes its own noise
        self.apart = not rng.by_numpy(torch.device(device))
        self.seeds, self.indices = torch.zeros(2, self.size, dtype=torch.int64, device=device)

    @property
    def live(self) -> list[Job]:
        """The jobs under way."""
        return [job for job in self.jobs if job is not None]

    def place(self, job: Job) -> int:
        """Where in the batch it sits."""
        return job.index % self.size

    def has_room(self, job: Job) -> bool:
        """Whether the job's place is free."""
        return self.jobs[self.place(job)] is None

    def put(self, *jobs: Job) -> None:
        """Seat new jobs; ValueError where another sits."""
        for job in jobs:
            if not self.has_room(job):
                raise ValueError(f"place {self.place(job)} is taken: sample {job.index} must wait")
            self.jobs[self.place(job)] = job
            self.finite[self.place(job)], self.sound[self.place(job)] = True, job.row
            self.seeds[self.place(job)], self.indices[self.place(job)] = job.seed, job.index
            for name, value in job.cond.items():
                self.cond.setdefault(name, torch.zeros(self.size, *value.shape, device=self.device))
            for name, told in self.cond.items():
                told[self.place(job)] = job.cond[name].to(told) if name in job.cond else 0.0
            if job.x is not None:
                self.x[self.place(job)] = torch.from_numpy(np.array(job.x, np.float32)).to(self.device)
        fresh = [job for job in jobs if job.x is None]
        if fresh:
            self.x[[self.place(job) for job in fresh]] = self._noise(fresh, start=True)
        self._keep(jobs)

    def step(self) -> list[tuple[Job, np.ndarray]]:
        """Move every job by one row; the finished ones with their samples (float32, model space)."""
        live = self.live
        if not live:
            return []
        together = len({(id(job.plan), job.row) for job in live}) == 1
        times = [live[0].time if job is None else job.time for job in self.jobs]
        t = times[0] if len(set(times)) == 1 else np.array(times)
        with torch.no_grad():
            predicted = self.denoise(self.x, t, self.cond)
            self.finite &= predicted.isfinite().flatten(1).all(1)
            self.sound += self.finite
            x0_hat = through(self.on_x0, predicted)
            row = row_of(live[0].plan, live[0].row) if together else self._columns()
            _, x, h = advance(self.x, x0_hat, self.history, row, self._z(live, together))
            mixed = [self.place(job) for job in live if ends_in_a_mixture(job.plan, job.row)]
            if mixed and together:
                x = through(self.on_x0, x)
            elif mixed:
                x[mixed] = through(self.on_x0, x)[mixed]
        self.x = x
        longest = max(job.plan.B.shape[1] for job in live)
        self.history = [h, *self.history][: longest - 1]
        for job in live:
            job.row += 1
        self._keep(live)
        return self._finished(live)

    def run(self, jobs: Iterable[Job], progress: Progress | None = None, total: int = 0) -> Iterator[
        list[tuple[Job, np.ndarray]]
    ]:  # fmt: skip
        """Put jobs in as there is room, in their order, and yield those that finish, step by step.

        Jobs are taken from the iterable no earlier than they are seated. `progress` is called with (steps
        done, total).
        """
        waiting = iter(jobs)
        after = next(waiting, None)
        done = 0
        while after is not None or self.live:
            seated: dict[int, Job] = {}
            while after is not None and self.has_room(after) and self.place(after) not in seated:
                seated[self.place(after)] = after
                after = next(waiting, None)
            self.put(*seated.values())
            finished = self.step()
            done += 1
            if progress is not None:
                progress(done, total)
            if finished:
                yield finished

    # --- shared --------------------------------------------------------------------------------

    def _columns(self) -> Row:
        """The row that each job is at; nothing for empty places."""
        return as_columns([None if job is None else row_of(job.plan, job.row) for job in self.jobs], self.x)

    def _noise(self, jobs: Sequence[Job], start: bool = False) -> Tensor:
        """The normal numbers of each job for its start, or for its row."""
        seeds, indices = [job.seed for job in jobs], [job.index for job in jobs]
        steps = [0 if start else job.row + 1 for job in jobs]
        return rng.normal_tensor(seeds, "sample", indices, steps, shape=self.shape, device=self.device)

    def _z(self, live: Sequence[Job], together: bool) -> Tensor | None:
        """The noise of this step, where none is added any numbers; None if none is anywhere."""
        noisy = [job for job in live if job.plan.C[job.row]]
        if not noisy:
            return None
        if together and self.apart:
            step, shape = live[0].row + 1, self.shape
            return rng.normal_tensor(
                self.seeds, "sample", self.indices, step, shape=shape, device=self.device
            )
        z = torch.zeros_like(self.x)
        z[[self.place(job) for job in noisy]] = self._noise(noisy)
        return z

    def _keep(self, jobs: Iterable[Job]) -> None:
        """The states that are to be kept."""
        for job in jobs:
            if job.row in job.keep:
                job.kept[job.row] = self.x[self.place(job)].cpu().numpy().copy()

    def _finished(self, live: Sequence[Job]) -> list[tuple[Job, np.ndarray]]:
        """Take the jobs that are done off their places."""
        done = [job for job in live if job.row == job.plan.num_evaluations]
        if not done:
            return []
        places = [self.place(job) for job in done]
        x, sound = self.x[places].cpu().numpy(), self.sound[places].tolist()
        for job, state, k in zip(done, x, sound, strict=True):
            self.jobs[self.place(job)] = None
            if k < job.row or not np.isfinite(state).all():
                raise NotFinite(f"sample {job.index} {not_finite(min(k, job.row - 1), job.plan)}")
        return [(job, x[i]) for i, job in enumerate(done)]


def steps_of(indices: Iterable[int], plan: Plan, size: int) -> int:
    """How many steps `run` takes for jobs of one plan with these indices, in batches of this size."""
    batches, taken = 0, set(range(size))
    for index in indices:
        if index % size in taken:
            batches, taken = batches + 1, set()
        taken.add(index % size)
    return batches * plan.num_evaluations
