"""Some of the samples of a folder, written as they are drawn."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..data.conditions.kinds import condition_from
from ..data.kinds import KINDS
from ..files import Lines, write_bytes, write_rows
from ..images import save_picture
from ..version import __version__
from .sampler import SampleStream
from .samples import Samples
from .told import DRAWN

UNFINISHED = "unfinished.jsonl"
"""In a folder that is not finished: a line with its settings, and a line of numbers for each block done."""
PART = "unfinished-{}.jsonl"
"""Beside it, the lines of another process that writes to the same folder, by its rank."""
FRAMES = ".frames.npy"
ON_FILM = 64  # samples whose way is shown


class PartWriter:
    """Writes some samples into a folder, which a `SampleWriter` of another process has opened and finishes.

    Args:
        folder: which that one has opened.
        head: what all of the samples are.
        rank: of this process.
        more: facts to add.

    Attributes:
        done: the numbers of the samples that are written.
        drawn: how many of them were written now.
    """

    def __init__(
        self, folder: Path, head: Samples | SampleStream, rank: int | None = None, **more: Any
    ) -> None:
        self.folder, self.space = folder, head.space
        self.facts = {"alphabar": __version__, **head.facts, **more}
        self.conditions = {k: condition_from(c) for k, c in self.facts.get("conditions", {}).items()}
        self.indices, self.told, self.frame_times = head.indices, head.told, head.frame_times
        self.place = {int(index): i for i, index in enumerate(self.indices)}
        self.drawn, self.done = 0, set[int]()
        self._held = contextlib.ExitStack()
        if rank is not None:
            self._log = self._held.enter_context(contextlib.closing(Lines(folder / PART.format(rank))))

    def write(self, block: Samples) -> None:
        """Write some of the samples; they count as missing until all of them are written.

        ValueError unless they are of the folder's shape and type.
        """
        for images, lead in ((block.images, ()), (block.frames, (len(self.frame_times),))):
            wanted = (*lead, len(block.indices), *self.space.shape)
            if images is not None and (images.shape, images.dtype) != (wanted, np.dtype(self.space.dtype)):
                raise ValueError(
                    f"samples to be written here are {self.space.dtype} of shape {wanted}, "
                    f"got {images.dtype} of shape {images.shape}"
                )
        where = [self.place[index] for index in block.indices.tolist()]
        write_rows(self.folder / "samples.npy", where, self.space.to_layout(block.images))
        if block.frames is not None:
            film = [(i, j) for j, i in enumerate(where) if i < ON_FILM]
            frames = np.moveaxis(block.frames, 0, 1)[[j for _, j in film]]
            write_rows(self.folder / FRAMES, [i for i, _ in film], frames)
        if self.space.bounds is not None:
            self._write_pictures(where, self.space.written(block.images))
        if each := KINDS[self.space.kind].each(self.space):
            for index, image in zip(block.indices.tolist(), block.images, strict=True):
                write_bytes(self.folder / f"{index:06d}{each[0]}", each[1](image))
        self._note(block.indices.tolist())
        self.drawn += len(block.indices)

    def _note(self, indices: list[int]) -> None:
        if indices:
            self.done |= set(indices)
            self._log.write(indices)
            self._log.flush()

    def _inside(self, **more: Any) -> dict[str, Any]:
        """The facts inside of a picture, without the names of all classes."""
        return {name: value for name, value in self.facts.items() if name != "conditions"} | more

    def _write_pictures(self, where: list[int], images: np.ndarray) -> None:
        if self.space.kind not in DRAWN:
            return
        for i, image in zip(where, images, strict=True):
            index = int(self.indices[i])
            told = {name: self.conditions[name].title(values[i]) for name, values in self.told.items()}
            save_picture(self.folder / f"{index:06d}.png", image, self._inside(index=index, told=told))

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
