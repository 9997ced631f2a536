"""alphabar tune and probe: what is fitted to, and asked of, one model."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def tune(
    run: options.Model,
    evaluations: Annotated[
        int | None, typer.Option(help="Fit a plan of so many, 2 to 20.", show_default=False)
    ] = None,
    variance: Annotated[
        bool, typer.Option("--variance", help="Estimate the optimal variance of ddpm.")
    ] = False,
    noises: Annotated[int, typer.Option(help="Fit to so many noises; as many are held out.")] = 64,
    guidance: Annotated[float, typer.Option(help="Fit the model under this guidance.")] = 1.0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="A plan that adds no noise, as those below 5 evaluations.")
    ] = False,
    seed: options.Seed = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="A new .safetensors file.", show_default="the model's")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Fit a sampler to a model and keep it in the model's file: sample --steps N then uses it.

    No data is needed: the model's own long run says where each noise should end.
    """
    from ..denoiser import load, model_path
    from ..files import read_facts
    from ..sampling import Guidance, estimate_x0_mse, fit_plan, store_plan
    from .console import errors, output
    from .files import new_file

    if evaluations is None and not variance:
        raise ValueError("say what to fit: --evaluations N, --variance, or both")
    target = model_path(run) if out is None else new_file(out, ".safetensors")
    denoiser = load(run, options.parse_device(device))
    if out is None and "format" not in read_facts(target)[0]:
        raise ValueError(f"{target} is a checkpoint, from which training resumes: give --out, a new file")
    with errors.status("…") as status:
        if evaluations is not None:
            noise = False if deterministic else None
            plan, report = fit_plan(
                denoiser, evaluations, noises, seed, Guidance(guidance), noise, status.update
            )
            store_plan(denoiser, plan)
            output.print(str(plan))
            output.print(
                f"distance to the long run on {noises} held-out noises, without noise on the way (root mean "
                f"square, model space): {report['error']:.4f}; "
                f"the best plain plan ({report['before']}): {report['error_before']:.4f}"
            )
        if variance:
            denoiser.x0_mse = estimate_x0_mse(denoiser, noises, seed, status.update)
    denoiser.save(target)
    asked = [f"--steps {evaluations}"] * (evaluations is not None)
    asked += ["--sampler ddpm --variance optimal"] * variance
    output.print(f"kept in {target}; now: alphabar sample {out or run} {' or '.join(asked)}")


def probe(
    run: options.Model,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Use held-out samples of it.", show_default="the model's own"),
    ] = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many samples.")] = 128,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Tell whether a model uses the class at all: whether it errs more with a wrong one. Exit code 1: no."""
    from ..denoiser import load
    from ..evaluation import condition_probe
    from .console import errors, output, table

    denoiser = load(run, options.parse_device(device))
    images = labels = None
    if data is not None:
        images, labels = _held_out(run, data, denoiser.data.classes, number)
    with errors.status("…"):
        found = condition_probe(denoiser, images, labels, number, seed)
    table((f"t = {t:.0f}", f"{gain:+.2%}") for t, gain in zip(found.times, found.gain, strict=True))
    verdict = "the class is used" if found.used else "the class is hardly used, or not at all"
    output.print(
        f"with a wrong class the error of x0_hat is {found.total:+.2%} (z = {found.z:.1f}): {verdict}"
    )
    if not found.used:
        raise typer.Exit(1)


def _held_out(run: str, data: str, classes: tuple[str, ...], n: int) -> tuple:
    """Up to n held-out samples of a data set, prepared as the model's was, and their classes."""
    from .given import data_of

    dataset = data_of(run, data)
    if dataset.spec.classes != classes:
        raise ValueError(
            f"the model has the classes {', '.join(classes) or 'none'}, and {data} "
            f"{', '.join(dataset.spec.classes) or 'none'}"
        )
    chosen = dataset.held_out[:n]
    if len(chosen) < 2:
        raise ValueError(f"{data} has only {len(chosen)} held-out samples, and the probe needs 2 or more")
    assert dataset.labels is not None
    return dataset.images[chosen], dataset.labels[chosen]
