"""Plans by name."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...errors import Option, check_whole, row_help, row_options, unknown
from ..scales import Scales
from ..schedule import Schedule
from .first_order import Times, ancestral, ddim
from .multistep import deis, dpmpp, dpmpp_sde, ipndm, sa_solver, unipc
from .plan import Plan
from .spacing import LEAST, SPACINGS
from .two_stage import heun

DEFAULT_SAMPLER, DEFAULT_SPACING, DEFAULT_EVALUATIONS = (
    "sa_solver",
    "scales",
    20,
)  # measured: docs/sampling.md
ORIGINAL_SAMPLER = "ddpm"
KEPT = 0.98  # of the energy of the data's finest detail


@dataclass(frozen=True)
class Sampler:
    """A row of SAMPLERS.

    Attributes:
        make: (schedule, times, **options) -> Plan. Its docstring begins with what it is; its options are
            the parameters that are annotated with a help text, `eta: Annotated[float, "…"] = 0.0`.
        spacing: the times it takes unless told others.
        intervals: how many intervals so many evaluations are, where an interval takes more than one;
            `make` is then told the `evaluations` too.
    """

    make: Callable[..., Plan]
    spacing: str = DEFAULT_SPACING
    intervals: Callable[[int], int] | None = None

    @property
    def help(self) -> str:
        """What it is, from its docstring."""
        return row_help(self.make)

    @property
    def options(self) -> dict[str, Option]:
        """Its own options by name."""
        return row_options(self.make)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(ancestral, spacing="trailing"),  # the paper's, which in T steps visits every time
    "ddim": Sampler(ddim),
    "heun": Sampler(heun, intervals=lambda evaluations: evaluations // 2 + 1),
    "dpmpp": Sampler(dpmpp),
    "dpmpp_sde": Sampler(dpmpp_sde),
    "unipc": Sampler(unipc),
    "sa_solver": Sampler(sa_solver),
    "deis": Sampler(deis),
    "ipndm": Sampler(ipndm),
}
"""Samplers by name. A new one is a function and a row here: `SAMPLERS["mine"] = Sampler(mine)`."""


def make_plan(
    schedule: Schedule,
    sampler: str = DEFAULT_SAMPLER,
    evaluations: int | None = None,
    start: float | None = None,
    spacing: str | None = None,
    times: Times | None = None,
    scales: Scales | None = None,
    **options: Any,
) -> Plan:
    """The plan of a sampler by name, in `evaluations` of the network from `start` down to 0.

    Args:
        schedule: the schedule.
        sampler: a name in SAMPLERS; DEFAULT_SAMPLER unless given.
        evaluations: how often the network is evaluated, at least once; DEFAULT_EVALUATIONS unless given.
        start: the first time, within (0, T]; T unless given.
        spacing: which times, a name in SPACINGS; the sampler's own unless given.
        times: the times themselves, instead of evaluations, start and spacing.
        scales: the data's, for the spacing `scales`; those of small photographs unless given.
        options: the sampler's own, see `sampler_options`.

    >>> make_plan(Schedule.linear(), "ddim", 4, spacing="trailing").times
    array([1000.,  750.,  500.,  250.,    0.])
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    row = SAMPLERS[sampler]
    extra = [name for name in options if name not in row.options]
    if extra:
        raise ValueError(
            f"{sampler} takes {', '.join(row.options) or 'no options'}, and not {', '.join(extra)}"
        )
    if times is not None:
        if evaluations is not None or start is not None or spacing is not None:
            raise ValueError("times are given: evaluations, start and spacing follow from them")
        return _named(row.make(schedule, times, **options), spacing="given")
    evaluations = check_whole("evaluations", DEFAULT_EVALUATIONS if evaluations is None else evaluations, 1)
    spacing = row.spacing if spacing is None else spacing
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    intervals = evaluations
    if row.intervals is not None:
        intervals, options["evaluations"] = row.intervals(evaluations), evaluations
    known = {} if scales is None or spacing != "scales" else {"data": scales}
    times = SPACINGS[spacing](schedule, schedule.T if start is None else start, intervals, **known)
    plan = row.make(schedule, times, **options)
    if known and np.isclose(plan.times[-2], LEAST) and not plan.A[-1]:
        plan = _keeping(plan, known["data"].finest)
    return _named(plan, spacing=spacing)


def _keeping(plan: Plan, finest: float) -> Plan:
    """The plan, ending with as much of the noise at its last time as the data's finest detail needs.

    x0_hat, where a plan ends, is a mean: of detail of standard deviation f it keeps w = f^2 / (f^2 + sigma^2)
    of x / sqrt(alpha_bar), whose variance there is f^2 + sigma^2, and so w of the energy f^2. Where sigma is
    that of t = 1, no network was trained on less, and r of the difference stays:

        x_0 = x0_hat + r (x / sqrt(alpha_bar) - x0_hat),    (r + (1 - r) w)^2 / w = KEPT,

    where that is above 0. What has no such detail gets noise of r sigma: 0.007 at most with T = 1000.
    """
    bar = plan.alpha_bar[-2]
    w = finest**2 / (finest**2 + (1 - bar) / bar)
    r = max((np.sqrt(KEPT * w) - w) / (1 - w), 0.0)
    A, B = plan.A.copy(), plan.B.copy()
    A[-1], B[-1] = r / np.sqrt(bar), (1 - r) * B[-1]
    return replace(plan, A=A, B=B)


class SamplerOption(NamedTuple):
    """An option of samplers: its type (int, float, str, a Literal, …), its help, and who takes it."""

    type: Any
    help: str
    samplers: tuple[str, ...]


def sampler_options() -> dict[str, SamplerOption]:
    """Every option of every sampler, by name.

    The type is that of one value on the command line, where there is one: float of
    `float | Sequence[float]`, int of `int | None`.

    >>> sampler_options()["eta"].samplers
    ('ddim', 'dpmpp', 'unipc')
    """
    found: dict[str, SamplerOption] = {}
    for name, row in SAMPLERS.items():
        for key, option in row.options.items():
            entry = found.get(key, SamplerOption(_scalar(option.type), option.help, ()))
            found[key] = entry._replace(samplers=(*entry.samplers, name))
    return found


def _scalar(annotation: Any) -> Any:
    """The member of a union that one word on a command line can be; else the annotation itself."""
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else ()
    return next((member for member in members if member in (int, float, str, bool)), annotation)


def _named(plan: Plan, **more: Any) -> Plan:
    plan.made_by.update(more)
    return plan
