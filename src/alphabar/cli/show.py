"""alphabar show: the theory's tables, a noise schedule or a sampler's plan, as pictures and numbers."""

from __future__ import annotations

from dataclasses import replace
from inspect import Parameter
from typing import Annotated, Any

import typer

from ..errors import brief
from . import options
from .app import Group
from .flags import Flag, described, flags_of_rows, takes
from .sampling import planning_flags, with_defaults

# --- schedule ------------------------------------------------------------------------------------

SIDE = 128  # of a picture to show the forward process on


def schedule_rows() -> dict[str, dict[str, Any]]:
    """The schedules that numbers alone define, by name, with their options."""
    from ..errors import row_options
    from ..theory.schedule import SCHEDULES

    rows = {name: row_options(row) for name, row in SCHEDULES.items()}
    return {
        name: found
        for name, found in rows.items()
        if all(o.default is not Parameter.empty for o in found.values())
    }


def default_schedule() -> str:
    """The schedule of training."""
    from ..training.config import DEFAULT_SCHEDULE

    return DEFAULT_SCHEDULE["name"]


def schedule_flags() -> dict[str, Flag]:
    """Which schedule, and the options of each."""
    rows = schedule_rows()
    name = Flag("name", "--name", str, described("", rows), default_schedule())
    return {"name": name, **flags_of_rows(rows, None)}


def make_schedule(asked: dict[str, Any]) -> Any:
    """A schedule from its options; ValueError for options that it doesn't take."""
    from ..errors import unknown
    from ..theory.schedule import Schedule

    name, rows = asked.get("name", default_schedule()), schedule_rows()
    if name not in rows:
        raise unknown("schedule", name, rows)
    given = {key: value for key, value in asked.items() if key != "name"}
    other = [key for key in given if key not in rows[name]]
    if other:
        raise ValueError(f"the {name} schedule takes {', '.join(rows[name])}, and not {', '.join(other)}")
    return Schedule.from_dict({"name": name, **given})


@takes(asked=schedule_flags)
def schedule(
    out: Annotated[
        str | None, typer.Option(metavar="PNG", help="Draw its curves into this new file.")
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(help="Also show the forward process on this picture (with --out).", metavar="FILE"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help=rf"Side to resize that picture to. \[default: {SIDE}]", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, replace(options.SEED, help="Random seed of the noise on it.").option()
    ] = None,
    json: options.Json = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Show a noise schedule: beta, alpha_bar and log-SNR; with --picture, the forward process on it."""
    from .console import document, show, table
    from .files import new_file

    target = new_file(out) if out else None
    if picture and target is None:
        raise ValueError("--picture needs --out, the file to draw into")
    if not picture and (size is not None or seed is not None):
        raise ValueError("--size and --seed are for a picture: give --picture as well")
    if size is not None and size < 1:
        raise ValueError(f"--size must be at least 1, got {size}")
    chosen = make_schedule(asked)
    if target is not None:
        from ..runs.plots import forward_strip, plot_schedule

        strip = forward_strip(chosen, picture, size or SIDE, seed or 0) if picture else ()
        plot_schedule(target, chosen, strip)
    if json:
        known = {"T": chosen.T, "terminal_signal": chosen.terminal_signal}
        tables = {"beta": chosen.beta, "alpha_bar": chosen.alpha_bar, "log_snr": 2 * chosen.lam}
        document({**chosen.to_dict(), **known, **tables, "wrote": None if target is None else str(target)})
        return
    beta = chosen.beta
    table([
        ("schedule", asked.get("name", default_schedule())),
        ("T", chosen.T),
        ("beta", f"{beta[1]:.4g} to {beta[-1]:.4g}"),
        ("terminal signal", f"sqrt(alpha_bar_T) = {chosen.terminal_signal:.4g}"),
        ("log-SNR", f"{2 * chosen.lam[1]:.3f} at t = 1 to {2 * chosen.lam[-1]:.3f} at t = {chosen.T}"),
    ])  # fmt: skip
    if target is not None:
        show(f"wrote {target}")


# --- plan ----------------------------------------------------------------------------------------


TIMES = "Use exactly these times, falling to 0, such as 1000,400,0."
NOISING_STEPS = r"Number of noising steps, if no RUN is given. \[default: 1000]"


def schedule_help() -> str:
    """The help of --schedule, which is for a plan without a model."""
    return (
        described("Noise schedule, if no RUN is given", schedule_rows())
        + rf" \[default: {default_schedule()}]"
    )


def plan_flags() -> dict[str, Flag]:
    """The options that make a plan; only with a model does a smaller --start mean fewer evaluations."""
    flags = planning_flags()
    return with_defaults(
        flags, evaluations=f"{flags['evaluations'].shown}; with RUN, fewer from a smaller --start"
    )


@takes(asked=plan_flags)
def plan(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run, a model file, or a plan's .json.", show_default=False),
    ] = None,
    times: Annotated[str | None, typer.Option(metavar="T,…,0", help=TIMES)] = None,
    schedule: Annotated[str | None, typer.Option(help=schedule_help(), show_default=False)] = None,
    T: Annotated[int | None, typer.Option("--T", help=NOISING_STEPS, show_default=False)] = None,
    out: Annotated[
        str | None, typer.Option(metavar="JSON", help="Write it to this new file, for sample --plan.")
    ] = None,
    json: options.Json = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Show a sampler step by step: the time and coefficients of each network evaluation."""
    from ..files import write_json
    from .console import document, show
    from .files import new_file

    target = None if out is None else new_file(out, ".json")
    given = {"name": schedule, "T": T}
    given = {name: value for name, value in given.items() if value is not None}
    if run is not None and run.lower().endswith(".json"):
        if asked or given or times:
            raise ValueError("a plan's file has its own schedule and options: give it alone")
        from ..sampling.config import read_plan

        made: Any = read_plan(run)
    else:
        made = _made(run, given, asked, None if times is None else _numbers(times))
    if target is not None:
        write_json(target, made.to_dict(), new_file=True)
    if json:
        document(made.to_dict())
        return
    show(made)
    about = ", ".join(f"{k} {v}" for k, v in made.made_by.items() if not isinstance(v, dict))
    noise = "adds noise" if made.stochastic else "deterministic"
    show(f"{made.num_evaluations} evaluations, {noise}: {about}")
    if target is not None:
        show(f"wrote {target}")


def _made(run: str | None, schedule: dict[str, Any], asked: dict[str, Any], times: list[float] | None) -> Any:
    from ..theory.plans import make_plan

    if run is None:
        if asked.get("variance") == "optimal":
            raise ValueError("the optimal variance is a model's: give a RUN that it was estimated for")
        return make_plan(make_schedule(schedule), times=times, **asked)
    if schedule:
        raise ValueError("a RUN has its own schedule; --schedule and --T are for a plan without one")
    from ..model import load
    from ..sampling.choices import choose_plan
    from .told import config_of

    denoiser, config = load(run, "cpu"), config_of(asked)
    if times is not None:
        from ..sampling.choices import own_options

        return make_plan(denoiser.schedule, times=times, **{**asked, **own_options(denoiser, config)})
    return choose_plan(denoiser, config)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--times must be numbers with commas between, such as 1000,400,0, got {brief(text)}"
        ) from None


show = Group({"schedule": schedule, "plan": plan})
