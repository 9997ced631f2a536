"""Samples as files that say how they were made, written as they are drawn."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..data.conditions.picture import PictureCondition, as_json
from ..data.kinds import KINDS, shown_space
from ..data.sources.grid_files import check_grid
from ..data.space import Space
from ..files import (
    DamagedFile,
    Lines,
    Locked,
    expanded,
    is_temporary,
    json_lines,
    locked,
    make_array,
    write_array,
    write_bytes,
    write_json,
)
from ..images import save_animation, save_picture
from .part import FRAMES, ON_FILM, PART, UNFINISHED, PartWriter
from .sampler import SampleStream
from .samples import Samples, differences, settings_of
from .sheets import sheet, strip, with_told
from .told import told_table

TOLD_GRIDS = "told-{}.npy"
"""The grids of a condition of this name."""
FACTS = "samples.json"
"""How all of them were made, the last to be written."""
LABELS = "labels.csv"
"""What each sample was told, for people and other programs."""
ON_SHEET = 1024  # pictures on a sheet at most, the first


class Taken(ValueError):
    """A folder that samples can't be written to, because something else is in it."""


def check_free(path: str | Path) -> Path:
    """The folder at `path`; Taken unless it is absent, empty, or one that a writer left unfinished."""
    folder = expanded(path)
    if os.path.lexists(folder) and not folder.is_dir():
        raise Taken(f"{folder} is a file; --out must be a folder")
    if folder.exists() and not (folder / UNFINISHED).exists() and not _is_empty(folder):
        done = "its samples are finished, and " * (folder / FACTS).exists()
        raise Taken(f"{folder} is not empty; choose a new folder ({done}nothing was written)")
    return folder


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in it but what a killed writer may leave before its first line."""
    return all(path.name == UNFINISHED or is_temporary(path) for path in folder.iterdir())


def write_samples(folder: str | Path, samples: Samples, **more: Any) -> list[Path]:
    """Write samples into a new folder; return the files (see `SampleWriter`)."""
    with SampleWriter(folder, samples, **more) as writer:
        writer.write(samples)
        return writer.finish()


def write_stream(folder: str | Path, stream: SampleStream, **more: Any) -> list[Path]:
    """Draw samples into a folder, or those that are still missing there; return the files."""
    with SampleWriter(folder, stream, **more) as writer:
        for block in stream.only(writer.missing):
            writer.write(block)
        return writer.finish()


class SampleWriter(PartWriter):
    """A folder of samples that is finished, or is marked as unfinished and can be continued.

    000000.png … are named by the sample's number and carry its facts inside (pictures alone; those of data
    without bounds are written last, when the range is known); grid.png shows the first of them side by side;
    samples.npy has the data's own dtype, range and layout; samples.json says how to make any one again;
    labels.csv has what each was told, if anything was.
    With frames, strip.png and trajectory.gif show the way from noise to sample.

    Args:
        folder: new, empty, or left unfinished with the same settings: then only what is `missing` is to be
            drawn.
        head: what the samples are; its facts decide whether settings are the same.
        more: facts to add.

    Attributes:
        results: facts that are known only when all are written, for samples.json.
    """

    def __init__(self, folder: str | Path, head: Samples | SampleStream, **more: Any) -> None:
        super().__init__(check_free(folder), head, **more)
        check_grid(self.space)
        self.results = dict[str, Any]()
        settings = as_json(settings_of(head, more))
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.folder / UNFINISHED, wait=False, keep=True))
            except Locked:
                raise Taken(
                    f"another process is writing samples to {self.folder}; choose another folder"
                ) from None
            self._log = self._opened(settings, held)
            self.gather()
            self._go_on()
            self._held = held.pop_all()

    @classmethod
    def beside(cls, stem: str | Path, head: Samples | SampleStream, **more: Any) -> SampleWriter:
        """A writer to the first of STEM-001, STEM-002, … that is free, or unfinished with these settings."""
        stem = expanded(stem)
        for i in itertools.count(1):
            with contextlib.suppress(Taken):
                return cls(stem.with_name(f"{stem.name}-{i:03d}"), head, **more)
        raise AssertionError

    def _opened(self, settings: Any, held: contextlib.ExitStack) -> Lines:
        """The record of what is done, which begins with the settings; Taken if it is of others."""
        path = self.folder / UNFINISHED
        try:
            before = json_lines(path)
        except DamagedFile as error:
            raise Taken(str(error)) from None
        if before and before[0] != settings:
            raise Taken(
                f"{self.folder} holds unfinished samples of other settings "
                f"({differences(before[0], settings)}): give the same command to go on with them, "
                "or choose a new folder"
            )
        if not path.stat().st_size and not _is_empty(self.folder):  # another process has just finished them
            path.unlink()
            check_free(self.folder)
        log = held.enter_context(contextlib.closing(Lines(path)))
        if not before:
            log.write(settings)
            log.flush()
        self.done = {index for line in before[1:] for index in line}
        return log

    def _go_on(self) -> None:
        """From what was done before; or from the start, if an array is missing."""
        made = make_array(self.folder / "samples.npy", self._rows())
        if self.frame_times:
            film = (min(len(self.indices), ON_FILM), len(self.frame_times), *self.space.shape)
            made |= make_array(self.folder / FRAMES, np.broadcast_to(np.zeros((), self.space.dtype), film))
        if made:
            self._log.cut(1)
            self.done = set()

    def _of_parts(self) -> set[int]:
        """The numbers that other processes have written."""
        logs = self.folder.glob(PART.format("*"))
        return {index for log in logs for line in json_lines(log) for index in line}

    @property
    def num_written(self) -> int:
        """How many samples are written, by other processes too."""
        return len(self.done | self._of_parts())

    def gather(self) -> None:
        """Take over what other processes have written, none of which is at work."""
        self._note(sorted(self._of_parts() - self.done))
        for log in self.folder.glob(PART.format("*")):
            log.unlink()

    def _rows(self) -> np.ndarray:
        """As many blank samples, in the user's layout, that take no memory."""
        blank = np.broadcast_to(np.zeros((), self.space.dtype), (len(self.indices), *self.space.shape))
        return self.space.to_layout(blank)

    @property
    def missing(self) -> np.ndarray:
        """The numbers of the samples that are not written yet."""
        return np.array([i for i in self.indices.tolist() if i not in self.done], np.int64)

    def finish(self) -> list[Path]:
        """Write what is made of all of them, and remove the mark; return the files."""
        self.gather()
        if len(self.missing):
            raise ValueError(f"{len(self.missing)} of {len(self.indices)} samples are still missing")
        space = shown_space(self.space, (images for _, images in self.blocks()))
        if self.space.bounds is None:
            for where, images in self.blocks():
                self._write_pictures(where, space.shown(images))
        _, first = next(self.blocks(ON_SHEET))
        shown = with_told(space.shown(first), self.told, self.conditions)
        save_picture(self.folder / "grid.png", sheet(shown), self._inside())
        told = {name: list(map(self.conditions[name].written, values)) for name, values in self.told.items()}
        self._write_own(told)
        if content := told_table(self.space, self.indices.tolist(), told):
            write_bytes(self.folder / LABELS, content)
        self._write_grids()
        if self.frame_times:
            self._write_film(space)
        listing = {
            "indices": self.indices.tolist(), "shape": [len(self.indices), *self.space.shape],
            "dtype": self.space.dtype, "told": self.told, "space": self.space.to_dict(),
        }  # fmt: skip
        write_json(self.folder / FACTS, as_json({**self.facts, **self.results, **listing}))
        (self.folder / UNFINISHED).unlink()
        self.close()
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))

    def blocks(self, size: int = 256) -> Iterator[tuple[list[int], np.ndarray]]:
        """(places, images (m, *shape) in data space) of all that is written."""
        rows = np.load(self.folder / "samples.npy", mmap_mode="r")
        for first in range(0, len(rows), size):
            block = np.asarray(rows[first : first + size])
            yield list(range(first, first + len(block))), self.space.from_layout(block)

    def images(self) -> np.ndarray:
        """All that is written, as `blocks`."""
        return np.concatenate([images for _, images in self.blocks()])

    def _write_own(self, told: dict[str, list[str]]) -> None:
        """All samples in one file of the form that the data had."""
        if files := KINDS[self.space.kind].files:
            for name, content in files(self.images, self.space, self.indices.tolist(), told):
                write_bytes(self.folder / name, content)

    def _write_grids(self) -> None:
        """Grids that were told, each once, in their own type; samples.json has the digest of each."""
        for name, condition in self.conditions.items():
            if isinstance(condition, PictureCondition):
                grids = {grid.digest: grid.array for grid in self.told.get(name, ()) if grid is not None}
                if grids:
                    write_array(self.folder / TOLD_GRIDS.format(name), np.stack(list(grids.values())))

    def _write_film(self, space: Space) -> None:
        """The way from noise to sample of the first ones."""
        frames = np.moveaxis(np.load(self.folder / FRAMES), 0, 1)
        shown = np.stack([space.shown(frame) for frame in frames])
        save_picture(self.folder / "strip.png", strip(shown), self._inside())
        save_animation(self.folder / "trajectory.gif", np.stack([sheet(frame, 256) for frame in shown]))
        self.facts["frame_times"] = self.frame_times
        (self.folder / FRAMES).unlink()
