"""alphabar edit inpaint, upscale, colorize and deblur: restore a picture from what is known of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import options
from .flags import Flag, glossed, shown_default, takes
from .masks import read_mask
from .read import model_of, read_observation, read_sample
from .sampling import UNTOLD, load_model, sample_flags, with_defaults
from .told import config_of
from .written import asked_folder, drawn, report_written, save_sheets, say_if_drawn

if TYPE_CHECKING:
    from ..data.space import Space
    from ..model import Denoiser
    from ..sampling.inverse import Operator

Picture = Annotated[
    str,
    typer.Argument(
        metavar="PICTURE",
        help="A picture or sound, a sample as .npy, or FILE:NUMBER, one of several in an array or a table.",
    ),
]
NUMBER = 8  # samples, unless --number says


def restoring_flags() -> dict[str, Flag]:
    """The options that all of them take."""
    from ..sampling.inverse import METHODS, Observation

    method = glossed("how samples are made to agree with PICTURE", METHODS)
    strength = "Factor on the gradient (--method gradient only); not diffusers' strength."
    return {
        "number": replace(options.NUMBER, shown=str(NUMBER)),
        "out": options.OUT,
        "method": Flag("method", "--method", str, method, Observation.method),
        "strength": Flag("strength", "--strength", float, strength, shown_default(Observation.strength)),
        "json": options.JSON,
    }


def restore_flags() -> dict[str, Flag]:
    """The options of sampling; no class is told by default: the picture says more."""
    return with_defaults(sample_flags(), class_name=UNTOLD)


def degrading_flags() -> dict[str, Flag]:
    """The same, for the commands that can degrade a whole picture first."""
    text = "PICTURE is whole: degrade it first, to see what can be restored."
    return {"whole": Flag("whole", "--whole", bool, text)} | restoring_flags()


@takes(asked=restoring_flags, how=restore_flags)
def inpaint(
    run: options.Model,
    picture: Picture,
    mask: Annotated[
        str,
        typer.Argument(
            metavar="MASK",
            help="What to fill in: white in a picture, 1 in an .npy; or left, right, top, bottom: that half; "
            "or START:END of a series, in seconds; or COLUMN,COLUMN of a table.",
        ),
    ],
    *,
    asked: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Fill in part of a picture; all other pixels stay exactly the same."""
    from ..sampling.inverse import Known

    denoiser = model_of(load_model(run, how), picture)
    mask_of_known = read_mask(mask, denoiser.space, picture)
    operator = Known(mask_of_known)
    known = read_sample(picture, denoiser.space, mask_of_known)
    facts = {"model_file": run, "picture": picture, "mask": mask}
    _restore(denoiser, operator, known, None, "inpainted", asked, how, facts)


@takes(asked=degrading_flags, how=restore_flags)
def upscale(
    run: options.Model,
    picture: Picture,
    factor: Annotated[int, typer.Option(help="How many times larger.")] = 4,
    *,
    asked: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Enlarge PICTURE; averaging the result down gives PICTURE back."""
    from ..sampling.inverse import downscaled

    denoiser = model_of(load_model(run, how), picture)
    _degraded(run, denoiser, downscaled(denoiser.space.shape, factor), picture, "upscaled", asked, how)


@takes(asked=degrading_flags, how=restore_flags)
def colorize(run: options.Model, picture: Picture, *, asked: dict[str, Any], how: dict[str, Any]) -> None:
    """Color a gray PICTURE, keeping its luminance."""
    from ..data.kinds import KINDS
    from ..sampling.inverse import gray

    denoiser = model_of(load_model(run, how), picture)
    if denoiser.space.kind != "picture":
        noun = KINDS[denoiser.space.kind].noun
        raise ValueError(f"colorizing is for pictures, and this model's samples are {noun}")
    _degraded(run, denoiser, gray(denoiser.space.shape), picture, "colorized", asked, how)


@takes(asked=degrading_flags, how=restore_flags)
def deblur(
    run: options.Model,
    picture: Picture,
    sigma: Annotated[float, typer.Option(help="The blur's standard deviation, in pixels.")] = 1.5,
    *,
    asked: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Sharpen a blurred PICTURE."""
    from ..sampling.inverse import blurred

    denoiser = model_of(load_model(run, how), picture)
    _degraded(run, denoiser, blurred(denoiser.space.shape, sigma), picture, "deblurred", asked, how)


# --- shared ------------------------------------------------------------------------------------


def _degraded(
    run: str,
    denoiser: Denoiser,
    operator: Operator,
    picture: str,
    stem: str,
    asked: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Restore from a degraded picture, or from a whole one that is degraded first."""
    from ..sampling.inverse import measure, measured_of

    space, whole = denoiser.space, None
    if asked.get("whole"):
        whole = read_sample(picture, space)
        y = measured_of(operator, whole, space)
    else:
        shape = measure(operator, np.zeros((1, *space.shape))).shape[1:]
        y = read_observation(picture, space, shape)
    _restore(denoiser, operator, y, whole, stem, asked, how, {"model_file": run, "picture": picture})


def _restore(
    denoiser: Denoiser,
    operator: Operator,
    y: np.ndarray,
    whole: np.ndarray | None,
    stem: str,
    asked: dict[str, Any],
    how: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Draw samples that agree with y; write them, y, and the whole picture if there is one."""
    from ..sampling.restoration import stream_restored
    from .console import bar, show

    folder = asked_folder(asked.get("out"))
    space, number = denoiser.space, asked.get("number", NUMBER)
    how_to = {name: asked[name] for name in ("method", "strength") if name in asked}
    begin = time.perf_counter()
    with bar("sampling") as progress:
        config = config_of(how, denoiser)
        stream, misses = stream_restored(denoiser, operator, y, number, config, progress=progress, **how_to)
        sheets = {"observed.png": _shown(operator, y, space)[None]}
        sheets |= {} if whole is None else {"whole.png": whole[None]}
        with drawn(folder, stem, stream, **facts) as writer:
            save_sheets(writer.folder, sheets, space)
            errors = misses(writer.images())
            writer.results["observation_error"] = errors.tolist()
    elapsed_s = time.perf_counter() - begin
    say_if_drawn(stream, how, "")
    report_written(writer.folder, stream, bool(asked.get("json")), elapsed_s, observation_error=errors)
    if not asked.get("json"):
        worst = f", at most {np.max(errors):.3g}" if number > 1 else ""
        span = "" if space.bounds is None else f" of a range of {np.max(space.bounds[1] - space.bounds[0]):g}"
        show(f"observation error ({operator.name}): {np.mean(errors):.3g}{worst}{span}")


def _shown(operator: Operator, y: np.ndarray, space: Space) -> np.ndarray:
    """What is known, as a picture: black where nothing is known."""
    from ..sampling.inverse import Known

    if not isinstance(operator, Known):
        return y
    bounds = space.bounds
    return np.where(operator.known.numpy(), y, y.min() if bounds is None else bounds[0]).astype(y.dtype)
