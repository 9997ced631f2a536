"""The output of the commands that draw samples: a folder of samples and sheets, and a line about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .sampling import guidance_words
from .told import told_from, told_of

if TYPE_CHECKING:
    from ..data.space import Space
    from ..sampling.output import SampleWriter
    from ..sampling.sampler import SampleStream
    from ..world import World


def asked_folder(out: str | None) -> Path | None:
    """--out as a folder to write; ValueError if that can't be, before anything takes long."""
    from ..sampling.output import check_free

    if out is not None and Path(out).suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".npy", ".json"):
        stem = Path(out).with_suffix("")
        raise ValueError(
            f"--out is a folder for all that is written (pictures, grid.png, samples.npy, …), got {out}: "
            f"give --out {stem}, and look at {stem / 'grid.png'}"
        )
    return None if out is None else check_free(out)


@contextmanager
def drawn(
    folder: Path | None, stem: str, stream: SampleStream, world: World | None = None, **facts: Any
) -> Iterator[SampleWriter]:
    """Draw samples into a folder, or the next free one; yield it for what else belongs there; finish it.

    Only what is missing is drawn; if that is interrupted, say how to go on. Of several processes, of which
    this is the first, the others `help_draw`.
    """
    from ..sampling.output import SampleWriter
    from ..sampling.together import share_of
    from .console import say

    made = (
        SampleWriter.beside(stem, stream, **facts)
        if folder is None
        else SampleWriter(folder, stream, **facts)
    )
    with made as writer:
        missing, number = writer.missing, len(stream.indices)
        if before := number - len(missing):
            say(f"{writer.folder} has {before:,} of {number:,} samples; going on with the rest")
        share = missing
        if world:
            world.tell((writer.folder, missing))
            share = share_of(missing, stream, world)
        try:
            for block in stream.only(share):
                writer.write(block)
            if world:
                world.wait()
        except KeyboardInterrupt:
            say(f"stopped: {writer.num_written:,} of {number:,} samples are in {writer.folder}; "
                "the same command draws the rest")  # fmt: skip
            raise
        yield writer
        writer.finish()


def help_draw(stream: SampleStream, world: World, **facts: Any) -> None:
    """Draw a share of what the first process draws, into the same folder."""
    from ..sampling.part import PartWriter
    from ..sampling.together import share_of

    place, missing = world.hear()
    with PartWriter(place, stream, world.rank, **facts) as part:
        for block in stream.only(share_of(missing, stream, world)):
            part.write(block)
        world.wait()


def save_sheets(folder: Path, sheets: Mapping[str, np.ndarray], space: Space, columns: int = 8) -> None:
    """Save sheets of samples, (n, *shape) in data space, by their names."""
    for name, images in sheets.items():
        _save_sheet(folder / name, images, space, columns)


def _save_sheet(path: Path, images: np.ndarray, space: Space, columns: int) -> None:
    """Save (n, *shape) in data space as one sheet; shapes may differ from a sample's, as observations do."""
    from ..data.space import Space
    from ..images import enlarged, save_picture, tiled

    if images.shape[1:] != space.shape:
        low: Any = None if space.low is None else min(space.low)
        high: Any = None if space.high is None else max(space.high)
        kind = "series" if space.kind == "series" else ""
        space = Space(images.shape[1:], space.dtype, low, high, kind)
    sheet = tiled(space.shown(images), min(len(images), columns))
    save_picture(path, enlarged(sheet, 256 if len(images) == 1 else 512))


def say_if_drawn(samples: SampleStream, how: Mapping[str, Any], each: str) -> None:
    """Say which conditions have random values because none were given."""
    from .console import say

    given = {**told_of(how), **(told_from(how["cond_from"]) if "cond_from" in how else {})}
    for name, values in samples.told.items():
        if name not in given and values is not None and any(value is not None for value in values):
            flag = "--class" if name == "class" else f"--cond {name}=…"
            say(f"no {flag} was given: the {name} of each{each} is drawn at random")


def report_written(folder: Path, samples: SampleStream, json: bool, elapsed_s: float, **more: Any) -> None:
    """Print what was drawn, and where it is."""
    from .console import document, show

    n, evaluations = len(samples.indices), samples.facts["evaluations"]
    if json:
        document({"folder": folder, "samples": n, "evaluations": evaluations, "elapsed_s": elapsed_s, **more})
        return
    plan = samples.facts["plan"].get("made_by", samples.facts["plan"])
    name, guidance = plan.get("sampler", "a given plan"), samples.facts["guidance"]
    words = ("scale", "interval", "every")
    led = "" if guidance is None else f", {guidance_words(*(guidance[word] for word in words))}"
    show(
        f"{n} sample{'s' * (n > 1)} in {evaluations} evaluation{'s' * (evaluations > 1)} ({name}{led}), "
        f"{elapsed_s:.1f} s; look at {folder / 'grid.png'}"
    )
