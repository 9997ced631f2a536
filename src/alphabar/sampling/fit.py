"""What is fitted to one model's weights: a plan of few evaluations, and the optimal variance.

No data is needed: a model's own long run says where each noise should end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import rng
from ..model import Batched, Denoiser
from ..model.whole import of_crops
from ..theory.plans import LEAST, SPACINGS, Plan
from ..theory.schedule import Schedule
from .bench import LONG, Bench, deterministic_plans, in_range, long_runs
from .choices import rule_of
from .config import SampleConfig
from .guidance import Guidance
from .sampler import stream_samples

FIRST_MOVE, LAST_MOVE = 0.08, 0.002  # of a time in the search, as shares of T
MOST_GROWTH = 3.0
LEAST_NOISY = 5
MSE_TIMES = 24

Say = Callable[[str], None]


def fit_sampler(
    denoiser: Denoiser,
    evaluations: int,
    n: int = 64,
    seed: int = 0,
    guidance: Guidance | float | None = None,
    noise: bool | None = None,
    progress: Say = lambda message: None,
) -> tuple[Plan, dict[str, Any]]:
    """A plan of `evaluations` for this very model, and how near to its long run it comes.

    The times are found by moving one after the other, ever less far, as long as the end comes nearer
    to that of the long run (DPM-Solver++ 2 with 100 evaluations) from the same noises; for each
    choice of times the coefficients are a least-squares solution (`Bench.fitted`), so only the
    times are searched, and no gradient is needed. The same idea, with gradients, is in LD3 and S4S
    (arXiv 2405.15506, 2502.17423).

    With noise, the rows that end at alpha_bar > 1/2 become those of the SDE (`dpmpp_sde`) on the times
    that were found, and the last is fitted to what they come to. The plan is then less near to the long
    run, but its samples are better: noise corrects the errors of the rows before (docs/sampling.md).

    Args:
        denoiser: the model.
        evaluations: of the plan, 2 to 20.
        n: noises to fit to; as many others are held out to measure the error.
        seed: of the noises.
        guidance: fit the guided model: a scale, or a `Guidance`; the model's own, or none, unless given.
        noise: whether the plan adds noise; without it, every row is the least-squares solution. Unless
            given, from 5 evaluations on: noise needs some rows to pay off.
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
    if not isinstance(guidance, Guidance):
        guidance = rule_of(denoiser, SampleConfig()) if guidance is None else Guidance(guidance)
    progress(f"long runs of {LONG} evaluations from {2 * n} noises")
    bench, held_out = (long_runs(denoiser, guidance, seed, first, n) for first in (0, n))
    plan, error = _search(bench, evaluations, progress)
    before = deterministic_plans(denoiser.schedule, evaluations)
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
    plan = bench.with_noise(plan) if noise else plan
    plan.made_by.update({"sampler": "fitted", "guidance": guidance.facts(), "noise": noise, **report})
    return plan, report


def _search(bench: Bench, evaluations: int, progress: Say) -> tuple[Plan, float]:
    """The fitted plan on the best times found from the best of all spacings, and its error."""
    schedule = bench.schedule
    starts = [spacing(schedule, schedule.T, evaluations) for spacing in SPACINGS.values()]
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
    return plan, error


def _even_enough(schedule: Schedule, times: np.ndarray) -> bool:
    """Whether times fall, no step in lambda is MOST_GROWTH times the one before, and none is below t = 1.

    Two times close together would do no harm to least squares, but the rows of the SDE extrapolate
    by the ratio of steps.
    """
    if np.any(np.diff(times) >= 0) or times[-2] < LEAST:
        return False
    h = np.diff(schedule.lam_at(times[:-1]))
    return bool(np.all(h[1:] <= MOST_GROWTH * h[:-1]))


def store_plan(denoiser: Denoiser, plan: Plan) -> None:
    """Keep a fitted plan with its model, in place of one for as many evaluations and equal guidance."""
    guidance = plan.made_by.get("guidance")
    if not isinstance(guidance, dict):
        raise ValueError("only plans by fit_sampler are kept with a model: this one doesn't say its guidance")

    def replaced(other: Plan) -> bool:
        return other.num_evaluations == plan.num_evaluations and other.made_by["guidance"] == guidance

    others = [other for other in denoiser.plans if not replaced(other)]
    denoiser.plans = sorted(
        [*others, plan], key=lambda p: (p.num_evaluations, _rank(p.made_by["guidance"]["scale"]))
    )


def _rank(scale: float | dict[str, float]) -> tuple[int, str, float]:
    """Numbers in their order, then scales by name."""
    return (1, str(scale), 0.0) if isinstance(scale, dict) else (0, "", scale)


def estimate_x0_mse(
    denoiser: Denoiser, n: int = 64, seed: int = 0, progress: Say = lambda message: None
) -> tuple[list[float], list[float]]:
    """(times, E (x_0 - x0_hat)^2 per dimension there), over samples of the model itself.

    What the optimal variance of ancestral sampling needs (arXiv 2201.06503, which has it as
    (1 - alpha_bar) / alpha_bar (1 - E eps_hat^2), the same for an ideal model).
    """
    progress(f"drawing {n} samples")
    drawn = stream_samples(of_crops(denoiser), n, seed=seed, sampler="unipc", evaluations=20)
    x_0, _ = drawn.collected_states()
    batched = Batched(denoiser, in_range(denoiser, Guidance()))
    times = np.unique(np.linspace(1, denoiser.schedule.T, MSE_TIMES).round()).tolist()
    errors = []
    for level, t in enumerate(times):
        progress(f"t = {t:.0f}")
        eps = rng.normal(seed, "fit", np.arange(n), level + 1, shape=denoiser.shape)
        errors.append(float(batched.square_errors(x_0, t, eps, drawn.told).mean()))
    return times, errors
