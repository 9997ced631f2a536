"""alphabar schedule: beta, alpha_bar and log-SNR as a picture and in numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Seed


def schedule(
    name: Annotated[str, typer.Option(help="linear, cosine or sigmoid.")] = "linear",
    T: Annotated[int, typer.Option("--T", help="Number of noising steps; 100 or more are advised.")] = 1000,
    beta_min: Annotated[float | None, typer.Option(help="Of linear, taken literally.")] = None,
    beta_max: Annotated[float | None, typer.Option(help="Of linear, taken literally.")] = None,
    out: Annotated[str | None, typer.Option(metavar="PNG", help="Write the plot here.")] = None,
    picture: Annotated[
        str | None, typer.Option(help="Also show the forward process on this picture.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side that the picture is brought to.")] = 128,
    seed: Seed = 0,
) -> None:
    """Show a schedule: beta, alpha_bar, log-SNR; with --picture, the forward process as a strip."""
    from ..errors import unknown
    from ..theory.schedule import SCHEDULES
    from .console import output, table
    from .files import new_file

    makers = {key: make for key, make in SCHEDULES.items() if key != "alpha_bar"}
    if name not in makers:
        raise unknown("schedule", name, makers)
    bounds = {"beta_min": beta_min, "beta_max": beta_max}
    given = {key: value for key, value in bounds.items() if value is not None}
    if given and name != "linear":
        raise ValueError(f"{', '.join(given)}: bounds are for the linear schedule, got {name}")
    target = new_file(out) if out else None
    if picture and target is None:
        raise ValueError("--picture needs --out, the file to draw into")
    if size < 1:
        raise ValueError(f"--size must be at least 1, got {size}")
    chosen = makers[name](T, **given)
    beta = chosen.beta
    table([
        ("schedule", name),
        ("T", chosen.T),
        ("beta", f"{beta[1]:.4g} to {beta[-1]:.4g}"),
        ("terminal signal", f"sqrt(alpha_bar_T) = {chosen.terminal_signal:.4g}"),
        ("log-SNR", f"{2 * chosen.lam[1]:.3f} at t = 1 to {2 * chosen.lam[-1]:.3f} at t = {chosen.T}"),
    ])  # fmt: skip
    if target is not None:
        from .plots import forward_strip, plot_schedule

        plot_schedule(target, chosen, forward_strip(chosen, picture, size, seed) if picture else None)
        output.print(f"wrote {target}")
