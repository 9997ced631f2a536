"""What is fitted to one model's weights: a plan of few evaluations, and the optimal variance.

No data is needed: a model's own long run says where each noise should end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..random import stream
from ..theory.gaussian import q_sample
from ..theory.plans import GRIDS, LEAST, SAMPLERS, Plan, dpmpp, log_snr, make_plan
from ..theory.schedule import Schedule
from .executor import clip, trajectory
from .guidance import Guidance, guided
from .sampler import draw_labels, sample, usual_precision
from .slots import SLOTS

LONG = 100  # evaluations of the long run
LAST_LONG = 20  # of the part of it that a plan's last row stands for
HISTORY = 3  # predictions that a row combines
FIRST_MOVE, LAST_MOVE = 0.08, 0.002  # of a time in the search, as shares of T
MOST_GROWTH = 3.0
LEAST_NOISY = 5
MSE_TIMES = 24

Progress = Callable[[str], None]


@dataclass
class Bench:
    """Long runs of a model from n noises, and the way to measure others against them."""

    denoise: Callable[[Tensor, float], Tensor]
    within: Callable[[Tensor], Tensor]  # the data's range
    long: Plan
    states: Tensor  # (LONG + 1, n, …): of the long run, at each of its times
    schedule: Schedule
    numbers: list[int]  # of the noises

    def as_denoise(self, x: Tensor, t: float, label: Tensor | None) -> Tensor:
        """`denoise` as `trajectory` wants it; the labels are in it already."""
        return self.denoise(x, t)

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
        *_, last = trajectory(self.as_denoise, plan, self.states[0], _no_noise)
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
            A[k], B[k, : len(history)], x = _nearest(x, history, self.target(s))
        return Plan(times, self.schedule.alpha_bar_at(times), A, B, np.zeros(n)), self.error(x)


def fit_plan(
    denoiser: Denoiser,
    evaluations: int,
    n: int = 64,
    seed: int = 0,
    guidance: Guidance | None = None,
    noise: bool | None = None,
    progress: Progress = lambda message: None,
) -> tuple[Plan, dict[str, Any]]:
    """A plan of `evaluations` for this very model, and how near to its long run it comes.

    The times are found by moving one after the other, ever less far, as long as the end comes nearer
    to that of the long run (DPM-Solver++ 2 with 100 evaluations) from the same noises; for each
    choice of times the coefficients are a least-squares solution (`Bench.fitted`), so only the
    times are searched, and no gradient is needed. The same idea, with gradients, is in LD3 and S4S
    (arXiv 2405.15506, 2502.17423).

    With noise, the rows that end at alpha_bar > 1/2 become those of the SDE (`dpmpp_sde`) on the times
    that were found, and the last is fitted to what they come to: what is lost in being near to the long
    run is more than won by the noise, which corrects the errors of the rows before (docs/sampling.md).

    Args:
        denoiser: the model.
        evaluations: of the plan, 2 to 20.
        n: noises to fit to; as many others are held out to measure the error.
        seed: of the noises.
        guidance: fit the guided model.
        noise: whether the plan adds noise; without it, every row is the least-squares solution. Unless
            given, from 5 evaluations on: noise needs some rows to pay.
        progress: called with what is going on.

    Returns:
        The plan, and a report on the deterministic one: its `error` and `error_before`, the least of
        all plain plans (`before`), both on held-out noises, in model space; and the error on those
        that it was fitted to.
    """
    if isinstance(evaluations, bool) or not isinstance(evaluations, int) or not 2 <= evaluations <= 20:
        raise ValueError(
            f"a plan can be fitted to 2 to 20 evaluations, got {evaluations}: one has no times to choose, "
            "and many don't need it"
        )
    if isinstance(n, bool) or not isinstance(n, int) or n < 8:
        raise ValueError(f"a plan needs at least 8 noises to be fitted to, a whole number, got {n}")
    guidance = guidance or Guidance()
    schedule = denoiser.schedule
    progress(f"long runs of {LONG} evaluations from {2 * n} noises")
    bench = long_runs(denoiser, guidance, seed, 0, n)
    held_out = long_runs(denoiser, guidance, seed, n, n)

    starts = [grid(schedule, schedule.T, evaluations) for grid in GRIDS.values()]
    times, (plan, error) = min(
        ((times, bench.fitted(times)) for times in starts), key=lambda found: found[1][1]
    )
    move = np.full(evaluations + 1, FIRST_MOVE * schedule.T)
    while move[1:-1].max() > LAST_MOVE * schedule.T:
        progress(f"error {error:.4f} with times {', '.join(f'{t:.0f}' for t in times)}")
        for i in range(1, evaluations):
            for direction in (1, -1):
                moved = times.copy()
                moved[i] += direction * move[i]
                if _even_enough(schedule, moved) and (better := bench.fitted(moved))[1] < error:
                    times, (plan, error) = moved, better
                    move[i] *= 1.5
                    break
            else:
                move[i] *= 0.4
    before = _plain(schedule, evaluations)
    errors = {name: held_out.error_of(other) for name, other in before.items()}
    best = min(errors, key=lambda name: errors[name])
    report = {
        "before": best,
        "error_before": errors[best],
        "error": held_out.error_of(plan),
        "error_fitted_to": error,
        "noises": n,
        "seed": seed,
    }
    noise = evaluations >= LEAST_NOISY if noise is None else noise
    if noise:
        plan = _with_noise(bench, plan, seed)
    plan.made_by.update({"sampler": "fitted", "guidance": guidance.facts(), "noise": noise, **report})
    return plan, report


def _even_enough(schedule: Schedule, times: np.ndarray) -> bool:
    """Whether times fall, no step in lambda is MOST_GROWTH times the one before, and none is below t = 1.

    Two times close together would do no harm to least squares, but the rows of the SDE extrapolate
    by the ratio of steps.
    """
    if np.any(np.diff(times) >= 0) or times[-2] < LEAST:
        return False
    h = np.diff(schedule.lam_at(times[:-1]))
    return bool(np.all(h[1:] <= MOST_GROWTH * h[:-1]))


def _with_noise(bench: Bench, plan: Plan, seed: int) -> Plan:
    """A fitted plan whose rows that end at alpha_bar > 1/2 are those of the SDE, but for the last.

    Before, where noise outweighs the signal, long rows of the SDE err more than their noise mends. The
    last row is the least-squares solution for where the equation leads, in LAST_LONG evaluations, from
    the noisy states that the rows before it come to.
    """
    schedule, last = bench.schedule, float(plan.times[-2])
    sde = dpmpp(schedule, plan.times, eta=1.0)
    late = (plan.alpha_bar[1:] > 0.5) & (plan.times[1:] > 0)
    A, B, C = plan.A.copy(), plan.B.copy(), np.where(late, sde.C, 0.0)
    A[late], B[late] = sde.A[late], 0.0
    B[late, : sde.B.shape[1]] = sde.B[late]

    def z(k: int) -> Tensor:
        return _noises(seed, bench.numbers, k + 1, bench.states.shape[2:], bench.states.device)

    started = Plan(plan.times, plan.alpha_bar, A, B, C)
    steps = list(trajectory(bench.as_denoise, started, bench.states[0], z))
    history = [step.x0_hat for step in steps[::-1][:HISTORY]]
    follow = dpmpp(schedule, log_snr(schedule, last, LAST_LONG))
    *_, end = trajectory(bench.as_denoise, follow, steps[-1].x_t, z)
    B[-1] = 0.0
    A[-1], B[-1, : len(history)], _ = _nearest(steps[-1].x_t, history, end.x_s)
    return Plan(plan.times, plan.alpha_bar, A, B, C)


def _nearest(x: Tensor, history: list[Tensor], target: Tensor) -> tuple[float, np.ndarray, Tensor]:
    """(A, B, x_s): the least-squares solution of A x + sum_j B_j h_j = target, and what it comes to."""
    terms = torch.stack([term.double().flatten() for term in (x, *history)])
    gram = terms @ terms.T
    gram += 1e-9 * gram.trace() * torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram, terms @ target.double().flatten())
    return float(weights[0]), weights[1:].cpu().numpy(), (weights @ terms).float().reshape(x.shape)


def store_plan(denoiser: Denoiser, plan: Plan) -> None:
    """Keep a fitted plan with its model, in place of one for as many evaluations and equal guidance."""
    guidance = plan.made_by.get("guidance")
    if not isinstance(guidance, dict):
        raise ValueError("only plans by fit_plan are kept with a model: this one doesn't say its guidance")

    def replaced(other: Plan) -> bool:
        return other.num_evaluations == plan.num_evaluations and other.made_by["guidance"] == guidance

    others = [other for other in denoiser.plans if not replaced(other)]
    denoiser.plans = sorted(
        [*others, plan], key=lambda p: (p.num_evaluations, p.made_by["guidance"]["scale"])
    )


def estimate_x0_mse(
    denoiser: Denoiser, n: int = 64, seed: int = 0, progress: Progress = lambda message: None
) -> tuple[list[float], list[float]]:
    """(times, E (x_0 - x0_hat)^2 per dimension there), over samples of the model itself.

    What the optimal variance of ancestral sampling needs (arXiv 2201.06503, which has it as
    (1 - alpha_bar) / alpha_bar (1 - E eps_hat^2), the same for an ideal model).
    """
    spec, schedule = denoiser.data, denoiser.schedule
    progress(f"drawing {n} samples")
    drawn = sample(denoiser, n, seed=seed, sampler="unipc", steps=20)
    x_0 = torch.from_numpy(spec.to_model(drawn.images)).to(denoiser.device)
    labels = None if drawn.labels is None else torch.from_numpy(drawn.labels).to(denoiser.device)
    denoise = _chunked(denoiser, Guidance(), labels)
    times = np.unique(np.linspace(1, schedule.T, MSE_TIMES).round()).tolist()
    errors = []
    for level, t in enumerate(times):
        progress(f"t = {t:.0f}")
        x_t = q_sample(schedule, x_0, t, _noises(seed, range(n), level + 1, spec.shape, denoiser.device))
        errors.append(float((x_0 - denoise(x_t, t)).square().mean()))
    return times, errors


# --- shared ------------------------------------------------------------------------------------


def long_runs(denoiser: Denoiser, guidance: Guidance, seed: int, first: int, n: int) -> Bench:
    """Long runs from noises `first` … `first + n - 1` of a seed, with classes drawn as by `sample`."""
    schedule, numbers = denoiser.schedule, np.arange(first, first + n)
    x = _noises(seed, numbers.tolist(), 0, denoiser.data.shape, denoiser.device)
    drawn = draw_labels(denoiser.data, numbers, seed)
    labels = None if drawn is None else torch.from_numpy(drawn).to(denoiser.device)
    within = _within(denoiser)
    denoise = _chunked(denoiser, guidance, labels)
    long = make_plan(schedule, "dpmpp", LONG, grid="log_snr", order=2)
    steps = trajectory(lambda x, t, _: denoise(x, t), long, x, _no_noise)
    states = torch.stack([x, *(step.x_s for step in steps)])
    return Bench(denoise, within, long, states, schedule, numbers.tolist())


def _noises(
    seed: int, numbers: Iterable[int], row: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Standard normal numbers (n, …): those of row 0 are where a run starts."""
    drawn = [stream(seed, "tune", i, row).standard_normal(shape, np.float32) for i in numbers]
    return torch.from_numpy(np.stack(drawn)).to(device)


def _no_noise(k: int) -> Tensor:
    raise AssertionError(f"row {k} of a deterministic plan asks for noise")


def _chunked(
    denoiser: Denoiser, guidance: Guidance, labels: Tensor | None
) -> Callable[[Tensor, float], Tensor]:
    """(x_t, t) → x0_hat within the data's range, for any number of samples, SLOTS at a time."""
    within = _within(denoiser)
    model = guided(denoiser.in_precision(usual_precision(denoiser)), guidance)

    def denoise(x: Tensor, t: float) -> Tensor:
        parts = [slice(i, i + SLOTS) for i in range(0, len(x), SLOTS)]
        with torch.no_grad():
            return torch.cat([within(model(x[p], t, None if labels is None else labels[p])) for p in parts])

    return denoise


def _within(denoiser: Denoiser) -> Callable[[Tensor], Tensor]:
    """The function that keeps x_0 within the data's range, if it has one."""
    low_high = denoiser.data.clip_range
    return (lambda x_0: x_0) if low_high is None else clip(*low_high)


def _plain(schedule: Schedule, evaluations: int) -> dict[str, Plan]:
    """Every deterministic plan of the table, by name."""
    plans = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Heun's, which can be far off
        for sampler in SAMPLERS:
            for grid in GRIDS:
                plan = make_plan(schedule, sampler, evaluations, grid=grid)
                if not plan.stochastic:
                    plans[f"{sampler}, {grid}"] = plan
    return plans
