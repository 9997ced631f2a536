"""A data set of which a few files at a time are at hand, prepared when their turn comes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from ... import rng
from ...files import DamagedFile
from ...torchrun import end_with_parent
from ..augment import Draw
from ..conditions.base import is_told
from ..conditions.named import ClassCondition
from ..config import DataConfig
from ..dataset import Batch, Dataset
from .cache import cache_folder, read_entry, remove_entry
from .keeping import dataset_of, kept

TRIES = 3


class PartFile(NamedTuple):
    """A file of a stream.

    Attributes:
        data: its path or address.
        entry: the name of the folder of the cache that it is prepared in.
        samples: how many it has.
        training: how many of them are trained on.
        fingerprint: of them.
    """

    data: str
    entry: str
    samples: int
    training: int
    fingerprint: str


class Shelf:
    """Prepared files: those whose turn it is, and the ones after them, which another process prepares
    meanwhile. The others are given up.

    Args:
        parts: all files, by number.
        config: how each is read.
    """

    def __init__(self, parts: Sequence[PartFile], config: DataConfig) -> None:
        self.parts, self.config = parts, config
        self._open: dict[int, Dataset] = {}
        self._wanted: set[int] = set()
        self._next: list[int] = []
        self._lock = RLock()
        self._ahead: subprocess.Popen[bytes] | None = None
        self._leads = os.environ.get("LOCAL_RANK", "0") == "0"  # one of the processes of a machine

    def turn(self, now: Sequence[int], later: Sequence[int]) -> None:
        """Say whose turn it is, and whose it will be."""
        with self._lock:
            if self._wanted != {*now, *later}:
                self._wanted = {*now, *later}
                self._open = {number: data for number, data in self._open.items() if number in self._wanted}
                self._next = [number for number in later if number not in self._open]
                if self._leads:
                    self._give_up()
            if self._leads and self._next and (self._ahead is None or self._ahead.poll() is not None):
                self._begin()

    def _give_up(self) -> None:
        entries = {self.parts[number].entry for number in self._wanted}
        for part in self.parts:
            if part.entry not in entries:
                with contextlib.suppress(OSError):
                    remove_entry(cache_folder() / part.entry)

    def _begin(self) -> None:
        """Prepare the next ones in another process. It is never waited for: whoever needs one prepares it."""
        files, self._next = [self.parts[number].data for number in self._next], []
        told = {"files": files, "config": self.config.model_dump(mode="json", exclude_defaults=True)}
        words = [sys.executable, "-c", f"from {__name__} import prepare_ahead; prepare_ahead()"]
        quiet = subprocess.DEVNULL
        process = self._ahead = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        weakref.finalize(self, _end, process)
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin:
            process.stdin.write(json.dumps(told).encode())

    def dataset(self, number: int) -> Dataset:
        """A file's samples, prepared by now. ValueError if they aren't those that they were."""
        with self._lock:
            if number not in self._open:
                self._open[number] = self._prepared(self.parts[number])
            return self._open[number]

    def _prepared(self, part: PartFile) -> Dataset:
        for last in range(TRIES, 0, -1):
            place, _ = kept(part.data, self.config, alone=True)
            try:
                found = dataset_of(read_entry(place), self.config, is_part=True)
            except DamagedFile:  # another run may have given it up since
                if last == 1:
                    raise
                continue
            if found.fingerprint != part.fingerprint:
                raise ValueError(f"{part.data} has changed since its samples were counted: start a new run")
            return found
        raise AssertionError


def prepare_ahead() -> None:
    """Prepare the files that standard input names, one after another, while others are trained on."""
    end_with_parent()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    told = json.load(sys.stdin)
    config = DataConfig(**told["config"])
    for name in told["files"]:
        kept(name, config, alone=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.terminate()
        process.wait()


@dataclass(eq=False, repr=False)
class Streamed(Dataset):
    """Samples in many files. `images` and what is told of them are a few of all, which are kept, for what is
    measured; batches have all of them.

    In each epoch the files stand in another order, and each `window` of them, one after another, is shuffled:
    a function of (seed, epoch), in which each sample is seen once.

    Attributes:
        parts: the files.
        window: how many are shuffled together.
        config: how each is read.
    """

    parts: Sequence[PartFile] = ()
    window: int = 1
    config: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sizes = np.array([part.training for part in self.parts], np.int64)
        self._starts = np.cumsum([0, *self._sizes])
        self.shelf = Shelf(self.parts, self.config)
        self._files = lru_cache(4)(self._draw_files)
        self._within = lru_cache(3)(self._draw_within)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def is_at_hand(self) -> bool:
        return False

    @property
    def disk_bytes(self) -> int:
        """Of the samples that stay, and of as many files as are kept prepared."""
        share = min(2 * self.window / len(self.parts), 1.0)
        each = math.prod(self.space.shape) * np.dtype(self.space.dtype).itemsize
        return self.images.nbytes + round(share * self.num_samples * each)

    @property
    def num_samples(self) -> int:
        """How many there are in all files, held out or not."""
        return sum(part.samples for part in self.parts)

    # --- the order ---------------------------------------------------------------------------------

    @property
    def _windows(self) -> int:
        """In an epoch; they are counted through all of them."""
        return -(-len(self.parts) // self.window)

    def _draw_files(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of files in an epoch, and how many samples come before the end of each window."""
        order = rng.stream(seed, "order", epoch).permutation(len(self.parts))
        ends = np.cumsum(self._sizes[order])
        return order, ends[[*range(self.window - 1, len(order) - 1, self.window), len(order) - 1]]

    def _files_of(self, seed: int, window: int) -> np.ndarray:
        """The files of a window."""
        epoch, w = divmod(window, self._windows)
        return self._files(seed, epoch)[0][w * self.window : (w + 1) * self.window]

    def _draw_within(self, seed: int, window: int) -> np.ndarray:
        """The order of samples in a window."""
        epoch, w = divmod(window, self._windows)
        n = int(self._sizes[self._files_of(seed, window)].sum())
        return rng.stream(seed, "order", epoch, w + 1).permutation(n)

    def _window_at(self, seed: int, place: int) -> int:
        epoch, within = divmod(place, len(self))
        return epoch * self._windows + int(np.searchsorted(self._files(seed, epoch)[1], within, "right"))

    def indices(self, seed: int, k: int, size: int) -> np.ndarray:
        """Which samples make batch k, counted through the training samples of all files.

        The files that they are in are wanted now, those of the next window later.
        """
        first, last = (self._window_at(seed, place) for place in (k * size, (k + 1) * size - 1))
        now = [
            number for window in range(first, last + 1) for number in self._files_of(seed, window).tolist()
        ]
        self.shelf.turn(now, self._files_of(seed, last + 1).tolist())
        return super().indices(seed, k, size)

    def _shuffled(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        ends = self._files(seed, epoch)[1]
        which, found = np.searchsorted(ends, places, "right"), np.empty_like(places)
        for w in np.unique(which).tolist():
            here, window = which == w, epoch * self._windows + w
            files = self._files_of(seed, window)
            within = self._within(seed, window)[places[here] - (ends[w - 1] if w else 0)]
            stops = np.cumsum(self._sizes[files])
            at = np.searchsorted(stops, within, "right")
            found[here] = self._starts[files[at]] + within - (stops - self._sizes[files])[at]
        return found

    def balanced_indices(self, seed: int, k: int, size: int) -> np.ndarray:
        """ValueError: a class may be in no file that is at hand."""
        raise ValueError(
            "balanced needs all samples of a class at hand, and these are streamed: leave it out"
        )

    # --- samples -----------------------------------------------------------------------------------

    def _drawn(self, indices: np.ndarray, draw: Draw) -> Batch:
        which = np.searchsorted(self._starts, indices, "right") - 1
        back, batches = np.argsort(np.argsort(which, kind="stable")), list[Batch]()
        for number in np.unique(which).tolist():
            here = np.flatnonzero(which == number)
            data = self.shelf.dataset(number)
            taken = data.take(
                data.training[indices[here] - self._starts[number]], draw._replace(places=draw.places[here])
            )
            values = {name: self._renamed(name, v, data) for name, v in taken.values.items()}
            batches.append(taken._replace(values=values))
        told = {name: np.concatenate([each.values[name] for each in batches])[back] for name in self.values}
        return Batch(np.concatenate([each.images for each in batches])[back], told)

    def _renamed(self, name: str, values: np.ndarray, data: Dataset) -> np.ndarray:
        """The values of a file's condition as those of this one: a class has another number there."""
        ours, theirs = self.conditions[name], data.conditions[name]
        if not (isinstance(ours, ClassCondition) and isinstance(theirs, ClassCondition)):
            return values
        return renumbered(values, theirs.names, ours.names)


def renumbered(values: np.ndarray, before: Sequence[str], now: Sequence[str]) -> np.ndarray:
    """Numbers of classes, or NaN, as the numbers of the same names among others."""
    if tuple(before) == tuple(now):
        return values
    place: dict[str, int] = {name: i for i, name in enumerate(now)}
    table: Any = np.array([place[name] for name in before])
    found, told = values.copy(), is_told(values)
    found[told] = table[values[told].astype(np.int64)]
    return found
