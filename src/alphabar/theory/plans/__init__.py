"""Samplers as tables, one file a family. Every one is a function of a schedule and falling times."""

from .first_order import ancestral, ddim
from .make import (
    DEFAULT_EVALUATIONS,
    DEFAULT_SAMPLER,
    DEFAULT_SPACING,
    ORIGINAL_SAMPLER,
    SAMPLERS,
    Sampler,
    SamplerOption,
    make_plan,
    sampler_options,
)
from .multistep import deis, dpmpp, dpmpp_sde, inversion, ipndm, sa_solver, unipc
from .plan import Plan
from .spacing import LEAST, SPACINGS, check_times, flow, karras, log_snr, scales, trailing
from .two_stage import heun

__all__ = [
    "DEFAULT_EVALUATIONS",
    "DEFAULT_SAMPLER",
    "DEFAULT_SPACING",
    "LEAST",
    "ORIGINAL_SAMPLER",
    "SAMPLERS",
    "SPACINGS",
    "Plan",
    "Sampler",
    "SamplerOption",
    "ancestral",
    "check_times",
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
