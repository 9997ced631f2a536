"""The options that every command has that draws samples, as one dictionary."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..denoiser import Denoiser
    from ..sampling import Guidance, Samples

PANEL = "How to draw"


def option(
    kind: Any,
    text: str,
    *names: str,
    default: Any = None,
    shown: Any = None,
    metavar: Any = None,
    panel: str | None = PANEL,
) -> Any:
    """A parameter's annotation and default."""
    more = {"help": text, "rich_help_panel": panel, "metavar": metavar}
    if shown is not None:
        more["show_default"] = shown
    return Annotated[kind, typer.Option(*names, **more)], default


OPTIONS = {
    "steps": option(int | None, "Evaluations of x0_hat.", shown="20 from T, fewer from below"),
    "sampler": option(
        str | None,
        "ddpm (the paper's), ddim, heun, dpmpp, dpmpp_sde, unipc, sa_solver, deis or ipndm.",
        shown="sa_solver",
    ),
    "grid": option(str | None, "Times: flow, trailing, log_snr or karras.", shown="flow; ddpm's trailing"),
    "order": option(int | None, "1 to 3 (ipndm: to 4), of the multistep samplers."),
    "eta": option(float | None, "Noise of ddim, dpmpp and unipc: 0 none, 1 the SDE's.", shown="0"),
    "variance": option(str | None, "Of ddpm: posterior, beta or optimal (after tune).", shown="posterior"),
    "churn": option(float | None, "Of heun: S_churn.", shown="0"),
    "plan": option(str | None, "A plan to follow (alphabar plan show --out).", metavar="JSON"),
    "class_name": option(str | None, "Only this class; none: of no class.", "--class"),
    "seed": option(int, "Sample i of a seed is always the same.", default=0),
    "guidance": option(float, "Guidance scale towards the class; 1 is none.", default=1.0),
    "guidance_interval": option(
        tuple[float, float] | None, "Guide at LOW < t <= HIGH only.", metavar="LOW HIGH"
    ),
    "guidance_rescale": option(float, "Bring the contrast back, 0 to 1.", default=0.0),
    "guide": option(str | None, "Guide by this earlier or smaller model.", metavar="RUN"),
    "threshold": option(float | None, "Dynamic thresholding at this share of values, such as 0.995."),
    "no_clip": option(bool, "Don't keep x0_hat within the data's range.", "--no-clip", default=False),
    "precision": option(
        str | None, "Of the network: float32 or bfloat16.", shown="as trained, if the device has it"
    ),
    "device": option(str, "cpu, cuda, mps, …; auto: a GPU if there is one.", default="auto"),
}


def takes(**table: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a table; it receives them as `how`, a dictionary."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.name != "how"]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in table.items()
        ]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            how = {name: given.pop(name) for name in table}
            command(**given, how=how)

        with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return give


draws = takes(**OPTIONS)


def load_model(run: str, how: dict[str, Any]) -> Denoiser:
    """The model, on the device that was asked for."""
    from ..denoiser import load
    from .options import parse_device

    return load(run, parse_device(how["device"]))


def arguments(denoiser: Denoiser, how: dict[str, Any]) -> dict[str, Any]:
    """`how` as arguments of `sample`."""
    names = (
        "steps",
        "sampler",
        "grid",
        "order",
        "eta",
        "variance",
        "churn",
        "threshold",
        "seed",
        "precision",
    )
    found = {name: how[name] for name in names if how[name] is not None}
    if how["class_name"] is not None:
        found["label"] = class_label(denoiser, how["class_name"])
    if how["no_clip"]:
        found["clip"] = False
    if how["plan"] is not None:
        found["plan"] = read_plan(how["plan"])
    found["guidance"] = _guidance(denoiser, how)
    return found


def class_label(denoiser: Denoiser, name: str) -> int:
    """A class by name or number; -1 for `none`."""
    if name == "none" and "none" not in denoiser.data.classes:
        return -1
    return denoiser.data.class_index(name)


def read_plan(path: str) -> Any:
    """A plan from its JSON file."""
    from ..theory.plans import Plan

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        return Plan.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is no plan: {error}") from None


def _guidance(denoiser: Denoiser, how: dict[str, Any]) -> Guidance:
    from ..denoiser import load
    from ..sampling import Guidance

    by = None if how["guide"] is None else load(how["guide"], str(denoiser.device))
    return Guidance(how["guidance"], how["guidance_interval"], how["guidance_rescale"], by)


def say_if_drawn(samples: Samples, drawing: dict[str, Any], each: str) -> None:
    """Say so where classes were drawn because none was given."""
    from .console import say

    if samples.labels is not None and "label" not in drawing and samples.labels.min() >= 0:
        say(f"no --class was given: the class of each{each} is drawn at random")


def bar() -> Any:
    """A progress bar as a context that gives the function to call with (done, total)."""
    import contextlib

    from rich.progress import Progress

    from .console import errors

    @contextlib.contextmanager
    def shown() -> Any:
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task("sampling", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return shown()
