"""alphabar plan show: a sampler as the table it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .drawing import OPTIONS, read_plan, takes

PLANNED = ("steps", "sampler", "grid", "order", "eta", "variance", "churn")

plan = typer.Typer(no_args_is_help=True, help="Samplers as tables.")


@plan.callback()
def _plan() -> None:
    pass


@plan.command()
@takes(**{name: OPTIONS[name] for name in PLANNED})
def show(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run or model file, or a plan's .json.", show_default=False),
    ] = None,
    start: Annotated[float | None, typer.Option(help="The first time.", show_default="T")] = None,
    times: Annotated[
        str | None, typer.Option(metavar="T,…,0", help="The times themselves, falling, such as 1000,400,0.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Without RUN: linear, cosine or sigmoid.", show_default="linear")
    ] = None,
    T: Annotated[
        int | None, typer.Option("--T", help="Without RUN: its noising steps.", show_default="1000")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="JSON", help="Write it here, for sample --plan.")] = None,
    *,
    how: dict[str, Any],
) -> None:
    """Print a plan: what each evaluation adds to x, and at which time."""
    from ..files import write_json
    from .console import output
    from .files import new_file

    target = None if out is None else new_file(out, ".json")
    how = {**how, "start": start}
    given = {name: value for name, value in how.items() if value is not None}
    if times is not None:
        given["times"] = _numbers(times)
    if run is not None and run.lower().endswith(".json"):
        if given or schedule or T:
            raise ValueError("a plan's file has its own schedule and options: give it alone")
        made = read_plan(run)
    else:
        made = _made(run, schedule, T, given)
    output.print(str(made))
    about = ", ".join(f"{k} {v}" for k, v in made.made_by.items() if not isinstance(v, dict))
    noise = "adds noise" if made.stochastic else "deterministic"
    output.print(f"{made.num_evaluations} evaluations, {noise}: {about}")
    if target is not None:
        write_json(target, made.to_dict())
        output.print(f"wrote {target}")


def _made(run: str | None, schedule: str | None, T: int | None, given: dict[str, Any]) -> Any:
    from ..theory.plans import make_plan
    from ..theory.schedule import Schedule

    if run is None:
        entry = {"name": schedule or "linear", "T": 1000 if T is None else T}
        chosen = Schedule.from_dict(entry)
        if given.get("variance") == "optimal":
            raise ValueError("the optimal variance is a model's: give a RUN that was tuned for it")
        return make_plan(chosen, **given)
    if schedule is not None or T is not None:
        raise ValueError("a RUN has its own schedule; --schedule and --T are for a plan without one")
    from ..denoiser import load
    from ..sampling import choose_plan

    denoiser = load(run)
    return choose_plan(denoiser, **given)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--times must be numbers with commas between, such as 1000,400,0, got {text!r}"
        ) from None
