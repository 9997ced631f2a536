"""Plans by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...errors import unknown
from ..schedule import Schedule
from .first_order import Times, ancestral, ddim
from .grids import GRIDS, trailing
from .heun import heun
from .multistep import deis, dpmpp, dpmpp_sde, ipndm, sa_solver, unipc
from .plan import Plan

SAMPLERS: dict[str, Callable[..., Plan]] = {
    "ddpm": ancestral,
    "ddim": ddim,
    "heun": heun,
    "dpmpp": dpmpp,
    "dpmpp_sde": dpmpp_sde,
    "unipc": unipc,
    "sa_solver": sa_solver,
    "deis": deis,
    "ipndm": ipndm,
}
DEFAULT_SAMPLER, DEFAULT_GRID, DEFAULT_STEPS = "sa_solver", "flow", 20  # measured: docs/sampling.md
OWN_GRID = {"ddpm": "trailing"}  # the paper's, which in T steps visits every time


def make_plan(
    schedule: Schedule,
    sampler: str = DEFAULT_SAMPLER,
    steps: int | None = None,
    start: float | None = None,
    grid: str | None = None,
    times: Times | None = None,
    **options: Any,
) -> Plan:
    """A sampler by name, in `steps` evaluations from `start` (T unless given) down to 0.

    Args:
        schedule: the schedule.
        sampler: `ddpm` (the paper's), `ddim`, `heun`, `dpmpp`, `dpmpp_sde`, `unipc`, `sa_solver` (unless
            given), `deis` or `ipndm`.
        steps: network evaluations, any number from 1; 20 unless given.
        start: the first time.
        grid: which times: `flow` (unless given; but `trailing` for ddpm), `trailing`, `log_snr` or `karras`.
        times: the times themselves, instead of steps, start and grid.
        options: the sampler's own: `variance` and `x0_mse` of ddpm, `eta` of ddim, `order` of the
            multistep ones, `eta` of dpmpp and unipc, `churn` … of heun.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    maker = SAMPLERS[sampler]
    accepted = [name for name in list(inspect.signature(maker).parameters)[2:] if name != "evaluations"]
    extra = sorted(set(options) - set(accepted))
    if extra:
        raise ValueError(f"{sampler} takes {', '.join(accepted)}, and not {', '.join(extra)}")
    if times is not None:
        if steps is not None or start is not None or grid is not None:
            raise ValueError("times are given: steps, start and grid follow from them")
        return _named(maker(schedule, times, **options), grid="given")
    steps = DEFAULT_STEPS if steps is None else steps
    grid = OWN_GRID.get(sampler, DEFAULT_GRID) if grid is None else grid
    if grid not in GRIDS:
        raise unknown("grid", grid, GRIDS)
    start = schedule.T if start is None else start
    schedule.alpha_bar_at(start)  # raises if it lies outside
    trailing(start, steps)  # raises if there are no such steps
    intervals = steps
    if sampler == "heun":
        intervals, options["evaluations"] = steps // 2 + 1, steps
    return _named(maker(schedule, GRIDS[grid](schedule, start, intervals), **options), grid=grid)


def _named(plan: Plan, **more: Any) -> Plan:
    plan.made_by.update(more)
    return plan
