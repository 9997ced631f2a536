"""Long runs of a model, and plans measured against them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..model import Batched, Cond, Denoiser
from ..theory.plans import SAMPLERS, SPACINGS, Plan, dpmpp, log_snr, make_plan
from ..theory.schedule import Schedule
from .choices import usual_precision
from .executor import Denoise, OnX0, clip, trajectory
from .guidance import Guidance, guided
from .told import Told, tell

LONG = 100  # evaluations of a long run
LAST_LONG = 20  # of the part of it that a plan's last row stands for
HISTORY = 3  # predictions that a row combines


@dataclass
class Bench:
    """Long runs of a model from n noises, and the way to measure others against them; all on the CPU."""

    batched: Batched
    told: Told
    within: OnX0  # the data's range
    long: Plan
    states: Tensor  # (LONG + 1, n, *shape): of the long runs, at each of their times
    numbers: np.ndarray  # of the noises
    seed: int

    @property
    def schedule(self) -> Schedule:
        """The model's."""
        return self.batched.model.schedule

    def denoise(self, x: Tensor, t: Any, cond: Cond | None = None) -> Tensor:
        """x0_hat within the data's range; what each sample is told is known."""
        return torch.from_numpy(self.batched(x.numpy(), t, self.told))

    def noise(self, row: int) -> Tensor:
        """Standard normal numbers (n, *shape): those of row -1 are where a run starts."""
        return _noise(self.batched.model, self.seed, self.numbers, row)

    def target(self, s: float) -> Tensor:
        """Where the long run is at time s: its states, interpolated in lambda."""
        if s == 0:
            return self.states[-1]
        lam, wanted = self.schedule.lam_at(self.long.times[:-1]), float(self.schedule.lam_at(s))
        j = int(np.clip(np.searchsorted(lam, wanted) - 1, 0, len(lam) - 2))
        f = float(np.clip((wanted - lam[j]) / (lam[j + 1] - lam[j]), 0, 1))
        return (1 - f) * self.states[j] + f * self.states[j + 1]

    def error(self, x: Tensor) -> float:
        """Root of the mean square of the distance to the long run's end."""
        return float((self.within(x) - self.within(self.states[-1])).square().mean().sqrt())

    def error_of(self, plan: Plan) -> float:
        """The error of a plan that adds no noise."""
        *_, last = trajectory(self.denoise, plan, self.states[0], no_noise)
        return self.error(last.x_s)

    def fitted(self, times: np.ndarray) -> tuple[Plan, float]:
        """The plan on these times whose every row comes nearest to the long run, and its error.

        Row by row, A and B are the least-squares solution of A x + sum_j B_j h_(k-j) = the long run's
        state at times[k + 1], where x and h are what this plan itself arrives at.
        """
        n = len(times) - 1
        A, B = np.zeros(n), np.zeros((n, HISTORY))
        x, history = self.states[0], []
        for k, s in enumerate(times[1:].tolist()):
            history = [self.denoise(x, float(times[k])), *history][:HISTORY]
            A[k], B[k, : len(history)], x = nearest(x, history, self.target(s))
        return Plan(times, self.schedule.alpha_bar_at(times), A, B, np.zeros(n)), self.error(x)

    def with_noise(self, plan: Plan) -> Plan:
        """A fitted plan whose rows that end at alpha_bar > 1/2 are those of the SDE, but for the last.

        Before, where noise outweighs the signal, long rows of the SDE err more than their noise mends. The
        last row is the least-squares solution for where the equation leads, in LAST_LONG evaluations, from
        the noisy states that the rows before it come to.
        """
        last = float(plan.times[-2])
        sde = dpmpp(self.schedule, plan.times, eta=1.0)
        late = (plan.alpha_bar[1:] > 0.5) & (plan.times[1:] > 0)
        A, B, C = plan.A.copy(), plan.B.copy(), np.where(late, sde.C, 0.0)
        A[late], B[late] = sde.A[late], 0.0
        B[late, : sde.B.shape[1]] = sde.B[late]
        started = Plan(plan.times, plan.alpha_bar, A, B, C)
        steps = list(trajectory(self.denoise, started, self.states[0], self.noise))
        history = [step.x0_hat for step in steps[::-1][:HISTORY]]
        follow = dpmpp(self.schedule, log_snr(self.schedule, last, LAST_LONG))
        *_, end = trajectory(self.denoise, follow, steps[-1].x_t, no_noise)
        B[-1] = 0.0
        A[-1], B[-1, : len(history)], _ = nearest(steps[-1].x_t, history, end.x_s)
        return Plan(plan.times, plan.alpha_bar, A, B, C)


def nearest(x: Tensor, history: list[Tensor], target: Tensor) -> tuple[float, np.ndarray, Tensor]:
    """(A, B, x_s): the least-squares solution of A x + sum_j B_j h_j = target, and what it comes to."""
    terms = torch.stack([term.double().flatten() for term in (x, *history)])
    gram = terms @ terms.T
    gram += 1e-9 * gram.trace() * torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram, terms @ target.double().flatten())
    return float(weights[0]), weights[1:].numpy(), (weights @ terms).float().reshape(x.shape)


def long_runs(denoiser: Denoiser, guidance: Guidance, seed: int, first: int, n: int) -> Bench:
    """Long runs from noises `first` … `first + n - 1` of a seed, told what `sample` would draw."""
    numbers = np.arange(first, first + n)
    x = _noise(denoiser, seed, numbers, -1)
    long = make_plan(denoiser.schedule, "dpmpp", LONG, spacing="log_snr", order=2)
    batched = Batched(denoiser, in_range(denoiser, guidance))
    bench = Bench(
        batched, tell(denoiser, numbers, seed, {}), range_of(denoiser), long, x[None], numbers, seed
    )
    bench.states = torch.stack([x, *(step.x_s for step in trajectory(bench.denoise, long, x, no_noise))])
    return bench


def in_range(denoiser: Denoiser, guidance: Guidance) -> Denoise:
    """The guided model as it is sampled from, its x0_hat within the data's range."""
    model, within = guided(denoiser.in_precision(usual_precision(denoiser)), guidance), range_of(denoiser)
    return lambda x_t, t, cond: within(model(x_t, t, cond))


def range_of(denoiser: Denoiser) -> OnX0:
    """The function that keeps x_0 within the data's range, if it has one."""
    bounds = denoiser.codec.bounds
    return (lambda x_0: x_0) if bounds is None else clip(*bounds)


def deterministic_plans(schedule: Schedule, evaluations: int) -> dict[str, Plan]:
    """Every plan of the tables that adds no noise, by name."""
    plans = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Heun's, which can be far off
        for sampler in SAMPLERS:
            for spacing in SPACINGS:
                plan = make_plan(schedule, sampler, evaluations, spacing=spacing)
                if not plan.stochastic:
                    plans[f"{sampler}, {spacing}"] = plan
    return plans


def no_noise(k: int) -> Tensor:
    """For plans that ask for none."""
    raise AssertionError(f"row {k} of a deterministic plan asks for noise")


def _noise(denoiser: Denoiser, seed: int, numbers: np.ndarray, row: int) -> Tensor:
    return torch.from_numpy(rng.normal(seed, "fit", numbers, row + 1, shape=denoiser.shape))
