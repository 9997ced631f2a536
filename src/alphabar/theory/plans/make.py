"""Plans by name."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...errors import Option, check_whole, row_help, row_options, unknown
from ..schedule import Schedule
from .first_order import Times, ancestral, ddim
from .multistep import deis, dpmpp, dpmpp_sde, ipndm, sa_solver, unipc
from .plan import Plan
from .spacing import SPACINGS
from .two_stage import heun

DEFAULT_SAMPLER, DEFAULT_SPACING, DEFAULT_EVALUATIONS = "sa_solver", "flow", 20  # measured: docs/sampling.md
ORIGINAL_SAMPLER = "ddpm"


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
    times = SPACINGS[spacing](schedule, schedule.T if start is None else start, intervals)
    return _named(row.make(schedule, times, **options), spacing=spacing)


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
