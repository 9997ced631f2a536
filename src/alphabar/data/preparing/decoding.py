"""All pictures of a source → blocks of samples at one size."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...errors import some
from ...files import write_all, written
from ...torchrun import cores
from ..config import NUM_CHANNELS, DataConfig
from ..dataset import spread
from ..sources.fitting import centered, placed
from ..sources.headers import (
    GRAY_MODES,
    Header,
    choose_size,
    found_notes,
    header_from,
    header_of,
    pixel_art_note,
    without_own,
)
from ..sources.pictures import color_of, is_transparent, picture_array
from ..sources.source_types import BLOCK, Pictures, block_size, files
from ..space import Space
from ..stored import StoredSamples
from .building import IMAGES, Building
from .shards import Progress, Shards
from .survey import LITTLE, Survey
from .unreadable import Unreadable

FRAMES_AT_ONCE = 32
LOOKED_AT = 64  # pictures, for transparent pixels
WHITE, BLACK = "white", "black"


class Part(NamedTuple):
    """Some frames of a file, which are decoded one after another."""

    file: int
    frames: tuple[int, ...]


@dataclass
class Decoder:
    """Pictures on their way to samples; `notes` grows as they are read.

    Attributes:
        source, config: which ones, and how.
        progress: called with (done, total) while they are decoded.
        place: where samples are written by shards, and what is known of these; or they are not.
    """

    source: Pictures
    config: DataConfig
    progress: Progress | None = None
    place: Building | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = self.source.names
        self.bad = Unreadable(names)
        self.frames: dict[int, tuple[int, ...]] = {}
        self.total = len(names)
        self.shards = Shards(len(names), self.place and self.place.parts, self.source.apart)
        self.files: list[tuple[int, str]] = []
        headers = self._read_headers()
        if not headers:
            raise ValueError(self.bad.message(self.total, self.frames))
        headers, note = without_own(headers, names)
        self.notes += [note] * bool(note)
        self.numbers = sorted([*headers, *(i for i, _ in self.bad.why)])
        self.source.labels(self.numbers)  # what is wrong with classes is said before all is decoded
        named = {names[i]: header for i, header in headers.items()}
        self.size, note = choose_size({name: header.size for name, header in named.items()}, self.config)
        self.notes += [note, *found_notes(named, self.config)]
        if note := pixel_art_note(list(named.values()), self.size, self.config):
            self.notes.append(note)
        every = headers.values()
        self.channels = NUM_CHANNELS[self.config.channels] or self._channels(headers)
        self.dtype = np.dtype(np.uint16 if any(header.deep for header in every) else np.uint8)
        self.background = self._background(list(headers.values()))
        self.headers = headers
        first = self.config.frames == "first"
        self.frames = {i: header.frames[:1] if first else header.frames for i, header in headers.items()}
        self.total = sum(map(len, self.frames.values())) + len(self.bad)

    def _background(self, headers: list[Header]) -> str | None:
        """The color under what is transparent and around what is padded; None if there is neither."""
        pads = self.config.fit == "pad"
        around = [h for h in headers if pads and placed(h.size, self.size, "pad")[1] != self.size]
        self.padded = bool(around)
        if self.channels == 4:
            self.notes += [f"padded with transparent pixels: {files(len(around))}"] * self.padded
            return None
        clear = any(header.alpha for header in headers)
        color = self.config.background or (BLACK if around and self.dtype == np.uint16 else WHITE)
        if clear:
            self.notes.append(f"transparent pixels are laid over {color} (--channels rgba keeps them)")
        if around:
            self.notes.append(f"padded with {color} (--background): {files(len(around))}")
        return color if clear or around else None

    def _channels(self, headers: dict[int, Header]) -> int:
        """4 if transparency is plainly meant: if most pictures may have it, and of some most do."""
        may = np.array([i for i, header in headers.items() if header.alpha], np.int64)
        if self.config.background is None and 2 * len(may) > len(headers):
            parts = [Part(int(i), (0,)) for i in spread(may, LOOKED_AT)]
            each = self._each(parts, lambda image, _: is_transparent(image), self.bad)
            found = [clear for _, clear in each]
            if 2 * sum(found) > len(found):
                self.notes.append(
                    f"alpha is kept as a fourth channel: {sum(found)} of {len(found)} pictures looked at "
                    f"have transparent pixels (--channels rgb lays them over {WHITE})"
                )
                return 4
        return 1 if {header.mode for header in headers.values()} <= GRAY_MODES else 3

    def _read_headers(self) -> dict[int, Header]:
        """The header of each file that has one; equal ones are one object."""
        headers, alike = {}, {}

        def read(_: int, shard: range, progress: Progress) -> dict[str, Any]:
            bad = Unreadable(self.source.names)
            parts = [Part(i, (0,)) for i in shard]
            found = [(part.file, h) for part, h in self._each(parts, lambda one, _: header_of(one), bad)]
            kinds = {header: k for k, header in enumerate(dict.fromkeys(header for _, header in found))}
            return {
                "kinds": [*kinds], "files": [i for i, _ in found], "which": [kinds[h] for _, h in found],
                "bad": bad.listed(),
            }  # fmt: skip

        for found in self.shards.results("headers", read):
            self.bad.add_listed(found["bad"])
            kinds = [alike.setdefault(header, header) for header in map(header_from, found["kinds"])]
            headers |= {i: kinds[k] for i, k in zip(found["files"], found["which"], strict=True)}
        return headers

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return (self.channels, *self.size)

    def space(self, survey: Survey) -> Space:
        """Of the samples; a fourth channel of pictures is their alpha, the others share one range."""
        colors = min(self.channels, 3)
        top = float(np.iinfo(self.dtype).max)
        known = self.config.range or ((0.0, top) if self.dtype == np.uint8 else None)
        low, high = survey.ends(known, slice(colors))
        alpha = self.channels - colors
        return Space(
            self.shape,
            str(self.dtype),
            (min(low),) * colors + (0.0,) * alpha,
            (max(high),) * colors + (top,) * alpha,
            layout="HWC" if self.channels > 1 else "HW",
            names=("red", "green", "blue", "alpha") if alpha else (),
            background=self.background,
            resize=self.config.resize,
            fit=self.config.fit,
        )

    def blocks(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Blocks of samples with the numbers of their files; ValueError at the end names all bad ones.

        If there is a place for it, they are written there, and read again.
        """
        self.deepest = 0
        if self.place is None:
            yield from self._decoded(range(len(self.source.names)), self.bad, self.progress)
        else:
            yield from self._written(self.place.folder)
        self._check_depths(self.deepest)
        if self.bad and not self.config.skip_bad:
            raise ValueError(self.bad.message(self.total, self.frames))
        if self.bad:
            self.notes.append(f"left out as unreadable: {self.bad.shown(self.frames)}")

    def _written(self, folder: Path) -> Iterator[tuple[list[int], np.ndarray]]:
        def write(k: int, shard: range, progress: Progress) -> dict[str, Any]:
            bad, numbers, digest = Unreadable(self.source.names), [], hashlib.sha256()
            self.deepest = 0
            with written(folder / IMAGES.format(k)) as file:
                for some_numbers, block in self._decoded(shard, bad, progress):
                    numbers += some_numbers
                    digest.update(block.data)
                    write_all(file, block)
            found = {"numbers": numbers, "deepest": self.deepest, "sha256": digest.hexdigest()}
            return found | {"bad": bad.listed()}

        def is_whole(k: int, found: dict[str, Any]) -> bool:
            file, each = folder / IMAGES.format(k), np.dtype((self.dtype, self.shape)).itemsize
            return file.exists() and file.stat().st_size == each * len(found["numbers"])

        deepest, at_once = 0, block_size(self.shape, self.dtype)
        for k, found in enumerate(self.shards.results("images", write, self.progress, is_whole)):
            numbers, deepest = found["numbers"], max(deepest, found["deepest"])
            self.bad.add_listed(found["bad"])
            self.files.append((len(numbers), found["sha256"]))
            stored = StoredSamples({folder / IMAGES.format(k): len(numbers)}, self.shape, self.dtype)
            for start in range(0, len(numbers), at_once):
                yield numbers[start : start + at_once], stored[start : start + at_once]
        self.deepest = deepest

    def _decoded(
        self, files: range, bad: Unreadable, progress: Progress | None
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Blocks of samples of some files, with the numbers of these."""
        at_once = block_size(self.shape, self.dtype)
        most = min(at_once, FRAMES_AT_ONCE, max(map(len, self.frames.values())))
        parts = [
            Part(i, frames[start : start + most])
            for i in files
            for frames in [self.frames.get(i, ())]
            for start in range(0, len(frames), most)
        ]
        numbers, block = [], []
        for part, arrays in self._each(parts, partial(self._decode, bad), bad, at_once // most, progress):
            numbers += [part.file] * len(arrays)
            block += arrays
            if self.headers[part.file].deep:
                _, own = placed(self.headers[part.file].size, self.size, self.config.fit)
                self.deepest = max([self.deepest, *(int(centered(array, own).max()) for array in arrays)])
            while len(block) >= at_once:
                yield numbers[:at_once], np.stack(block[:at_once])
                numbers, block = numbers[at_once:], block[at_once:]
        if block:
            yield numbers, np.stack(block)

    def _decode(self, bad: Unreadable, image: Image.Image, part: Part) -> list[np.ndarray]:
        """Frames as samples; those that cannot be read are noted and passed over."""
        background, arrays = self.background or WHITE, []
        for frame in part.frames:
            try:
                if frame or len(part.frames) > 1:
                    image.seek(frame)
                one = image.copy() if len(part.frames) > 1 else image  # it may be changed
                form = self.channels, background, self.dtype, self.config.resize, self.config.fit
                arrays.append(picture_array(one, self.size, *form))
            except Exception as error:  # decoders raise many kinds, all about the picture
                bad.add(part.file, (frame,), error)
        return arrays

    def _check_depths(self, deepest: int) -> None:
        """ValueError where pictures of 8 bits, stretched to 16, or padding would outshine those of 16."""
        if self.dtype != np.uint16:
            return
        plain = [self.source.names[i] for i, header in self.headers.items() if not header.deep]
        if plain and deepest < LITTLE * 65535:
            raise ValueError(
                f"pictures of 16 bits, with values up to {deepest} alone, cannot be put beside those of 8, "
                f"where white is 255: {some(plain)} ({files(len(plain))}). Leave these out, or save all alike"
            )
        fill = int(color_of(self.background, 1, self.dtype)) if self.padded and self.background else 0
        if deepest < min(fill, LITTLE * 65535):
            raise ValueError(
                f"pictures of 16 bits, with values up to {deepest} alone, would be padded with {fill}, which "
                f"is {self.background}: give a darker --background, such as {BLACK}"
            )

    def _each(
        self,
        parts: Sequence[Part],
        act: Callable[[Image.Image, Part], Any],
        bad: Unreadable,
        at_once: int = BLOCK,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Part, Any]]:
        """(part, act(its file, part)) in order, over some threads; what fails is added to `bad`."""

        def one(part: Part) -> Any:
            try:
                with self.source.open(part.file) as image:
                    return act(image, part)
            except Exception as error:  # decoders raise many kinds, all about the picture
                bad.add(part.file, part.frames, error)
                return None

        done, total = 0, sum(len(part.frames) for part in parts)
        with ThreadPoolExecutor(max(1, min(8, cores()) // self.shards.processes)) as pool:
            for start in range(0, len(parts), at_once):
                block = parts[start : start + at_once]
                with warnings.catch_warnings():  # around the threads: within them it isn't safe
                    warnings.simplefilter("ignore")  # Pillow's, about odd metadata
                    results = list(pool.map(one, block))
                done += sum(len(part.frames) for part in block)
                if progress is not None:
                    progress(done, total)
                both = zip(block, results, strict=True)
                yield from ((part, result) for part, result in both if result is not None)
