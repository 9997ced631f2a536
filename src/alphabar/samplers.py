"""Samplers, and the times they visit: functions that make a `Plan`, the table that every sampler is.

A sampler is a function of a schedule and falling times, `unipc(schedule, karras(schedule, schedule.T, 20))`;
`make_plan(schedule, "unipc", 20, spacing="karras")` is the same by name. `SAMPLERS` and `SPACINGS` hold
what there is: a new one is a function and a row in its table.
"""

from .theory.plans import (
    DEFAULT_EVALUATIONS,
    DEFAULT_SAMPLER,
    DEFAULT_SPACING,
    SAMPLERS,
    SPACINGS,
    Plan,
    Sampler,
    ancestral,
    ddim,
    deis,
    dpmpp,
    dpmpp_sde,
    flow,
    heun,
    inversion,
    ipndm,
    karras,
    log_snr,
    make_plan,
    sa_solver,
    sampler_options,
    scales,
    trailing,
    unipc,
)

__all__ = [
    "DEFAULT_EVALUATIONS",
    "DEFAULT_SAMPLER",
    "DEFAULT_SPACING",
    "SAMPLERS",
    "SPACINGS",
    "Plan",
    "Sampler",
    "ancestral",
    "ddim",
    "deis",
    "dpmpp",
    "dpmpp_sde",
    "flow",
    "heun",
    "inversion",
    "ipndm",
    "karras",
    "log_snr",
    "make_plan",
    "sa_solver",
    "sampler_options",
    "scales",
    "trailing",
    "unipc",
]
