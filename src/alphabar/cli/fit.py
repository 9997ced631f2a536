"""alphabar fit-sampler: plans of few evaluations, and the optimal variance, fitted to one model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..theory.plans import ORIGINAL_SAMPLER
from . import options
from .sampling import OPTIMAL_WORDS, fitted_words

if TYPE_CHECKING:
    from ..model import Denoiser


STEPS = "Fit a plan of this many evaluations, 2 to 20; required unless --variance is given."
VARIANCE = f"Estimate the optimal variance of {ORIGINAL_SAMPLER}; alone, or in addition to a plan."
NOISES = "Number of starting noises to fit to; as many more are held out."
GUIDANCE = r"Guidance scale to fit for; sample with the same one. \[default: what training found, or 1]"
DETERMINISTIC = "Fit a plan that adds no noise (always so below 5 evaluations)."
OUT = r"Write a new .safetensors file instead of adding the plan to the model's own. \[default: add to it]"


def fit_sampler(
    run: options.Model,
    steps: Annotated[int | None, typer.Option(help=STEPS, show_default=False)] = None,
    variance: Annotated[bool, typer.Option("--variance", help=VARIANCE)] = False,
    noises: Annotated[int, typer.Option(help=NOISES)] = 64,
    guidance: Annotated[float | None, typer.Option(help=GUIDANCE, show_default=False)] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help=DETERMINISTIC)] = False,
    seed: options.Seed = 0,
    out: Annotated[str | None, typer.Option(metavar="FILE", help=OUT, show_default=False)] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Fit a sampler to a model, for good samples in few steps: sample --steps N then uses it.

    It learns from the model's own many-step samples; no data are needed.
    """
    from ..model import load
    from ..model.file import model_path
    from ..sampling.fit import estimate_x0_mse
    from .console import document, show, status
    from .files import new_file

    if steps is None:
        _check_variance_alone(variance, guidance, deterministic)
    target = model_path(run) if out is None else new_file(out, ".safetensors")
    denoiser = load(run, device)
    _check_no_checkpoint(target, out)
    found: dict[str, Any] = {}
    with status() as say:
        if steps is not None:
            noise = False if deterministic else None
            found = _fit_plan(denoiser, (steps, noises, seed, guidance, noise), None if json else show, say)
        if variance:
            denoiser.x0_mse = estimate_x0_mse(denoiser, noises, seed, say)
    _keep(denoiser, target, new=out is not None)
    ways = [] if steps is None else [fitted_words(steps, 1.0 if guidance is None else guidance)]
    ways += [OPTIMAL_WORDS] * variance
    if json:
        document({"file": target, "steps": steps, "variance": variance, **found})
    else:
        show(f"kept in {target}; now: alphabar sample {shlex.quote(out or run)} {' or '.join(ways)}")


def _check_variance_alone(variance: bool, guidance: float | None, deterministic: bool) -> None:
    """ValueError unless --variance is given, and nothing that is for a plan."""
    if not variance:
        raise ValueError("say what to fit: --steps N, --variance, or both")
    given = ["--guidance"] * (guidance is not None) + ["--deterministic"] * deterministic
    if given:
        raise ValueError(f"{' and '.join(given)} would be for a plan: give --steps N as well")


def _check_no_checkpoint(target: Path, out: str | None) -> None:
    """ValueError if the file to write is a checkpoint, which training must resume from as it is."""
    from ..files import read_metadata

    if out is None and "checkpoint" in read_metadata(target)[0]:
        raise ValueError(f"{target} is a checkpoint, from which training resumes: give --out, a new file")


def _fit_plan(denoiser: Denoiser, asked: tuple, show: Any, say: Any) -> dict[str, Any]:
    """Fit a plan and keep it with the model; return what is known about it."""
    from ..sampling.fit import fit_sampler, store_plan

    steps, noises, seed, guidance, noise = asked
    plan, found = fit_sampler(denoiser, steps, noises, seed, guidance, noise, say)
    store_plan(denoiser, plan)
    if show is not None:
        show(plan)
        show(
            f"distance to the long run on {noises} held-out noises, without noise on the way (root mean "
            f"square, model space): {found['error']:.4f}; "
            f"the best plain plan ({found['before']}): {found['error_before']:.4f}"
        )
    return found


def _keep(denoiser: Denoiser, target: Path, new: bool) -> None:
    """Write the model with what was fitted to it, but never over one that was written meanwhile."""
    from ..files import save_tensors
    from ..model.file import facts_of

    replacing = None if new else denoiser.digest
    save_tensors(target, denoiser.net.state_dict(), facts_of(denoiser), new_file=new, replacing=replacing)
