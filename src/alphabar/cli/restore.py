"""alphabar inpaint, upscale, colourise and deblur: the rest of a picture of which something is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .drawing import arguments, bar, draws, load_model
from .pictures import show
from .read import read_mask, read_measured, read_sample
from .sample import Out, new_or_free, write

if TYPE_CHECKING:
    import numpy as np

    from ..denoiser import Denoiser
    from ..sampling import Operator

Number = Annotated[int, typer.Option("-n", "--number", help="How many.")]
Picture = Annotated[str, typer.Argument(metavar="PICTURE", help="A picture, or a sample as .npy.")]
Method = Annotated[
    str, typer.Option(help="projection (DDNM), or gradient (DPS) where noise or a hard blur forbid that.")
]
Strength = Annotated[float, typer.Option(help="Of the gradient.")]
Whole = Annotated[
    bool, typer.Option("--whole", help="PICTURE is whole: degrade it first, to see what can be restored.")
]


@draws
def inpaint(
    run: options.Model,
    picture: Picture,
    mask: Annotated[
        str, typer.Argument(metavar="MASK", help="White is filled; or left, right, top, bottom: that half.")
    ],
    number: Number = 8,
    out: Out = None,
    method: Method = "projection",
    strength: Strength = 1.0,
    *,
    how: dict[str, Any],
) -> None:
    """Fill a part of a picture; the rest comes back as it is, to the bit."""
    from ..sampling import Known

    denoiser = load_model(run, how)
    operator = Known(read_mask(mask, denoiser.data))
    whole = read_sample(picture, denoiser.data)
    facts = {"picture": picture, "mask": mask}
    _restore(run, denoiser, operator, whole, whole, number, out, "inpainted", method, strength, how, facts)


@draws
def upscale(
    run: options.Model,
    picture: Picture,
    factor: Annotated[int, typer.Option(help="How many times larger.")] = 4,
    number: Number = 8,
    out: Out = None,
    whole: Whole = False,
    method: Method = "projection",
    strength: Strength = 1.0,
    *,
    how: dict[str, Any],
) -> None:
    """Super-resolution: pictures whose means over factor × factor pixels are PICTURE."""
    from ..sampling import downscaled

    denoiser = load_model(run, how)
    operator = downscaled(denoiser.data.shape, factor)
    _measured(run, denoiser, operator, picture, whole, number, out, "upscaled", method, strength, how)


@draws
def colourise(
    run: options.Model,
    picture: Picture,
    number: Number = 8,
    out: Out = None,
    whole: Whole = False,
    method: Method = "projection",
    strength: Strength = 1.0,
    *,
    how: dict[str, Any],
) -> None:
    """Pictures in colour whose luminance is PICTURE."""
    from ..sampling import grey

    denoiser = load_model(run, how)
    operator = grey(denoiser.data.shape)
    _measured(run, denoiser, operator, picture, whole, number, out, "colourised", method, strength, how)


@draws
def deblur(
    run: options.Model,
    picture: Picture,
    sigma: Annotated[float, typer.Option(help="The blur's standard deviation, in pixels.")] = 1.5,
    number: Number = 8,
    out: Out = None,
    whole: Whole = False,
    method: Method = "projection",
    strength: Strength = 1.0,
    *,
    how: dict[str, Any],
) -> None:
    """Sharp pictures that, blurred, are PICTURE."""
    from ..sampling import blurred

    denoiser = load_model(run, how)
    operator = blurred(denoiser.data.shape, sigma)
    _measured(run, denoiser, operator, picture, whole, number, out, "deblurred", method, strength, how)


# --- shared ------------------------------------------------------------------------------------


def _measured(
    run: str,
    denoiser: Denoiser,
    operator: Operator,
    picture: str,
    whole: bool,
    number: int,
    out: str | None,
    stem: str,
    method: str,
    strength: float,
    how: dict[str, Any],
) -> None:
    """Restore from a picture that was measured, or from a whole one that is measured first."""
    from ..sampling.measurements import measured_of

    spec = denoiser.data
    if whole:
        given = read_sample(picture, spec)
        y = measured_of(operator, given, spec)
    else:
        given = None
        shape = measured_of(operator, None, spec).shape
        y = read_measured(picture, spec, shape)
    facts = {"picture": picture}
    _restore(run, denoiser, operator, y, given, number, out, stem, method, strength, how, facts)


def _restore(
    run: str,
    denoiser: Denoiser,
    operator: Operator,
    y: np.ndarray,
    whole: np.ndarray | None,
    number: int,
    out: str | None,
    stem: str,
    method: str,
    strength: float,
    how: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    import numpy as np

    from ..sampling import Known, restore
    from .console import output, say

    spec = denoiser.data
    folder = new_or_free(out, stem)
    begin = time.perf_counter()
    drawing = arguments(denoiser, how)
    with bar() as progress:
        samples, errors = restore(
            denoiser, operator, y, number, method=method, strength=strength, progress=progress, **drawing
        )
    if samples.labels is not None and "label" not in drawing and samples.labels.min() >= 0:
        say("no --class was given: the class of each is drawn at random")
    elapsed_s = time.perf_counter() - begin
    write(folder, samples, spec, run, elapsed_s, **facts, measurement_error=errors.tolist())
    show(folder / "measured.png", _shown(operator, y, spec.low)[None], spec)
    if whole is not None and not isinstance(operator, Known):
        show(folder / "whole.png", whole[None], spec)
    span = "" if spec.low is None or spec.high is None else f" of a range of {spec.high - spec.low:g}"
    worst = f", at most {np.max(errors):.3g}" if number > 1 else ""
    output.print(f"measurement error ({operator.name}): {np.mean(errors):.3g}{worst}{span}")


def _shown(operator: Operator, y: np.ndarray, low: float | None) -> np.ndarray:
    """What was measured, as a picture: what is unknown of it is black."""
    import numpy as np

    from ..sampling import Known

    if not isinstance(operator, Known):
        return y
    return np.where(operator.known.numpy(), y, y.min() if low is None else low).astype(y.dtype)
