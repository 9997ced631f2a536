"""alphabar inpaint, upscale, colourise and deblur: the rest of a picture of which something is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .drawing import OPTIONS, arguments, bar, load_model, option, say_if_drawn, takes
from .pictures import show
from .read import read_mask, read_measured, read_sample
from .sample import new_or_free, write

if TYPE_CHECKING:
    import numpy as np

    from ..denoiser import Denoiser
    from ..sampling import Operator

Picture = Annotated[str, typer.Argument(metavar="PICTURE", help="A picture, or a sample as .npy.")]
RESTORING = {
    "number": option(int, "How many.", "-n", "--number", default=8, panel=None),
    "out": option(str | None, "A new folder.", shown="the next free name", metavar="DIR", panel=None),
    "method": option(
        str,
        "projection (DDNM), or gradient (DPS) where noise or a hard blur forbid that.",
        default="projection",
        panel=None,
    ),
    "strength": option(float, "Of the gradient.", default=1.0, panel=None),
}
WHOLE = option(
    bool,
    "PICTURE is whole: degrade it first, to see what can be restored.",
    "--whole",
    default=False,
    panel=None,
)
restores = takes(whole=WHOLE, **RESTORING, **OPTIONS)


@takes(**RESTORING, **OPTIONS)
def inpaint(
    run: options.Model,
    picture: Picture,
    mask: Annotated[
        str, typer.Argument(metavar="MASK", help="White is filled; or left, right, top, bottom: that half.")
    ],
    *,
    how: dict[str, Any],
) -> None:
    """Fill a part of a picture; the rest comes back as it is, to the bit."""
    from ..sampling import Known

    denoiser = load_model(run, how)
    operator = Known(read_mask(mask, denoiser.data))
    known = read_sample(picture, denoiser.data)
    _restore(run, denoiser, operator, known, None, "inpainted", how, picture=picture, mask=mask)


@restores
def upscale(
    run: options.Model,
    picture: Picture,
    factor: Annotated[int, typer.Option(help="How many times larger.")] = 4,
    *,
    how: dict[str, Any],
) -> None:
    """Super-resolution: pictures whose means over factor × factor pixels are PICTURE."""
    from ..sampling import downscaled

    denoiser = load_model(run, how)
    _measured(run, denoiser, downscaled(denoiser.data.shape, factor), picture, "upscaled", how)


@restores
def colourise(run: options.Model, picture: Picture, *, how: dict[str, Any]) -> None:
    """Pictures in colour whose luminance is PICTURE."""
    from ..sampling import grey

    denoiser = load_model(run, how)
    _measured(run, denoiser, grey(denoiser.data.shape), picture, "colourised", how)


@restores
def deblur(
    run: options.Model,
    picture: Picture,
    sigma: Annotated[float, typer.Option(help="The blur's standard deviation, in pixels.")] = 1.5,
    *,
    how: dict[str, Any],
) -> None:
    """Sharp pictures that, blurred, are PICTURE."""
    from ..sampling import blurred

    denoiser = load_model(run, how)
    _measured(run, denoiser, blurred(denoiser.data.shape, sigma), picture, "deblurred", how)


# --- shared ------------------------------------------------------------------------------------


def _measured(
    run: str, denoiser: Denoiser, operator: Operator, picture: str, stem: str, how: dict[str, Any]
) -> None:
    """Restore from a picture that was measured, or from a whole one that is measured first."""
    from ..sampling.measurements import measured_of

    spec = denoiser.data
    whole = read_sample(picture, spec) if how["whole"] else None
    y = measured_of(operator, whole, spec)
    if whole is None:
        y = read_measured(picture, spec, y.shape)
    _restore(run, denoiser, operator, y, whole, stem, how, picture=picture)


def _restore(
    run: str,
    denoiser: Denoiser,
    operator: Operator,
    y: np.ndarray,
    whole: np.ndarray | None,
    stem: str,
    how: dict[str, Any],
    **facts: Any,
) -> None:
    """Draw pictures that agree with y, and write them with y and, if there is one, the whole picture."""
    import numpy as np

    from ..sampling import restore
    from .console import output

    spec = denoiser.data
    folder, number = new_or_free(how["out"], stem), how["number"]
    begin = time.perf_counter()
    drawing = arguments(denoiser, how)
    with bar() as progress:
        samples, errors = restore(
            denoiser,
            operator,
            y,
            number,
            method=how["method"],
            strength=how["strength"],
            progress=progress,
            **drawing,
        )
    say_if_drawn(samples, drawing, "")
    elapsed_s = time.perf_counter() - begin
    write(folder, samples, spec, run, elapsed_s, **facts, measurement_error=errors.tolist())
    show(folder / "measured.png", _shown(operator, y, spec.low)[None], spec)
    if whole is not None:
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
