"""The output of the commands that draw samples: a folder of samples and sheets, and a line about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .sampling import told_of

if TYPE_CHECKING:
    from ..data.space import Space
    from ..sampling.samples import Samples


def asked_folder(out: str | None, unfinished: bool = False) -> Path | None:
    """--out as a folder to write; ValueError if that can't be, before anything takes long."""
    from ..sampling.output import new_folder

    if out is not None and Path(out).suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".npy", ".json"):
        stem = Path(out).with_suffix("")
        raise ValueError(
            f"--out is a folder for all that is written (pictures, grid.png, samples.npy, …), got {out}: "
            f"give --out {stem}, and look at {stem / 'grid.png'}"
        )
    return None if out is None else new_folder(out, unfinished)


def write(
    folder: Path | None,
    stem: str,
    samples: Samples,
    sheets: Mapping[str, np.ndarray],
    columns: int = 8,
    **facts: Any,
) -> Path:
    """Write samples with facts about them, and sheets beside them, into a new folder or the next free one."""
    from ..sampling.output import folder_for, write_samples

    folder = folder_for(stem, samples, **facts) if folder is None else folder
    write_samples(folder, samples, **facts)
    for name, images in sheets.items():
        _save_sheet(folder / name, images, samples.space, columns)
    return folder


def _save_sheet(path: Path, images: np.ndarray, space: Space, columns: int) -> None:
    """Save (n, *shape) in data space as one sheet; shapes may differ from a sample's, as observations do."""
    from ..data.space import Space
    from ..images import enlarged, save_picture, tiled

    if images.shape[1:] != space.shape:
        low: Any = None if space.low is None else min(space.low)
        high: Any = None if space.high is None else max(space.high)
        space = Space(images.shape[1:], space.dtype, low, high)
    sheet = tiled(space.shown(images), min(len(images), columns))
    save_picture(path, enlarged(sheet, 256 if len(images) == 1 else 512))


def say_if_drawn(samples: Samples, how: Mapping[str, Any], each: str) -> None:
    """Say which conditions have random values because none were given."""
    from .console import say

    given = told_of(how)
    for name, values in samples.told.items():
        if name not in given and values is not None and any(value is not None for value in values):
            flag = "--class" if name == "class" else f"--cond {name}=…"
            say(f"no {flag} was given: the {name} of each{each} is drawn at random")


def report_written(folder: Path, samples: Any, json: bool, elapsed_s: float, **more: Any) -> None:
    """Print what was drawn, and where it is."""
    from .console import document, show

    n, evaluations = len(samples.indices), samples.facts["evaluations"]
    if json:
        document({"folder": folder, "samples": n, "evaluations": evaluations, "elapsed_s": elapsed_s, **more})
        return
    plan = samples.facts["plan"].get("made_by", samples.facts["plan"])
    name = plan.get("sampler", "a given plan")
    show(
        f"{n} sample{'s' * (n > 1)} in {evaluations} evaluation{'s' * (evaluations > 1)} ({name}), "
        f"{elapsed_s:.1f} s; look at {folder / 'grid.png'}"
    )
