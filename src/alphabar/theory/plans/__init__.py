"""Samplers as tables, one file a family. Every one is a function of a schedule and falling times."""

from .first_order import ancestral, ddim
from .grids import GRIDS, LEAST, check_times, flow, karras, log_snr, trailing
from .heun import heun
from .make import DEFAULT_SAMPLER, DEFAULT_STEPS, SAMPLERS, make_plan
from .multistep import deis, dpmpp, dpmpp_sde, inversion, ipndm, sa_solver, unipc
from .plan import Plan

__all__ = [
    "DEFAULT_SAMPLER",
    "DEFAULT_STEPS",
    "GRIDS",
    "LEAST",
    "SAMPLERS",
    "Plan",
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
    "trailing",
    "unipc",
]
