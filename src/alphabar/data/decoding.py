"""All pictures of a source → blocks of samples at one size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import some
from .config import NUM_CHANNELS, DataConfig
from .dataset import spread
from .sources.fitting import centered, placed
from .sources.headers import GRAY_MODES, Header, choose_size, found_notes, header_of, pixel_art_note
from .sources.pictures import color_of, is_transparent, picture_array, reason
from .sources.source_types import BLOCK, Pictures, block_size, files
from .space import Space
from .survey import LITTLE, Survey

FRAMES_AT_ONCE = 32
LOOKED_AT = 64  # pictures, for transparent pixels
WHITE, BLACK = "white", "black"
Progress = Callable[[int, int], None]


class Part(NamedTuple):
    """Some frames of a file, which are decoded one after another."""

    file: int
    frames: tuple[int, ...]


@dataclass
class Decoder:
    """Pictures on their way to samples; `notes` grows as they are read."""

    source: Pictures
    config: DataConfig
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = self.source.names
        self.bad: dict[tuple[int, int], str] = {}  # by file and frame
        self.frames: dict[int, tuple[int, ...]] = {}
        self.total = len(names)
        parts = [Part(i, (0,)) for i in range(len(names))]
        headers = {part.file: found for part, found in self._each(parts, lambda image, _: header_of(image))}
        if not headers:
            raise ValueError(self._bad_message())
        headers = self._without_own(headers)
        self.numbers = sorted([*headers, *(i for i, _ in self.bad)])
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
        around = [
            h
            for h in headers
            if self.config.fit == "pad" and placed(h.size, self.size, "pad")[1] != self.size
        ]
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
            found = [clear for _, clear in self._each(parts, lambda image, _: is_transparent(image))]
            if 2 * sum(found) > len(found):
                self.notes.append(
                    f"alpha is kept as a fourth channel: {sum(found)} of {len(found)} pictures looked at "
                    f"have transparent pixels (--channels rgb lays them over {WHITE})"
                )
                return 4
        return 1 if {header.mode for header in headers.values()} <= GRAY_MODES else 3

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
        """Blocks of samples with the numbers of their files; ValueError at the end names all bad ones."""
        at_once = block_size(self.shape, self.dtype)
        most = min(at_once, FRAMES_AT_ONCE, max(map(len, self.frames.values())))
        parts = [
            Part(i, frames[start : start + most])
            for i, frames in self.frames.items()
            for start in range(0, len(frames), most)
        ]
        numbers, block, deepest = [], [], 0
        for part, arrays in self._each(parts, self._decode, at_once // most, self.progress):
            numbers += [part.file] * len(arrays)
            block += arrays
            if self.headers[part.file].deep:
                _, own = placed(self.headers[part.file].size, self.size, self.config.fit)
                deepest = max([deepest, *(int(centered(array, own).max()) for array in arrays)])
            while len(block) >= at_once:
                yield numbers[:at_once], np.stack(block[:at_once])
                numbers, block = numbers[at_once:], block[at_once:]
        self._check_depths(deepest)
        if self.bad and not self.config.skip_bad:
            raise ValueError(self._bad_message())
        if block:
            yield numbers, np.stack(block)
        if self.bad:
            self.notes.append(f"left out as unreadable: {self._bad_names()}")

    def _decode(self, image: Image.Image, part: Part) -> list[np.ndarray]:
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
                self.bad[part.file, frame] = reason(error)
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
        at_once: int = BLOCK,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Part, Any]]:
        """(part, act(its file, part)) in order, over some threads; what fails goes into `bad`."""

        def one(part: Part) -> Any:
            try:
                with self.source.open(part.file) as image:
                    return act(image, part)
            except Exception as error:  # decoders raise many kinds, all about the picture
                self.bad.update({(part.file, frame): reason(error) for frame in part.frames})
                return None

        done, total = 0, sum(len(part.frames) for part in parts)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
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

    def _without_own(self, headers: dict[int, Header]) -> dict[int, Header]:
        """Leave out what Alphabar wrote; where it wrote all, take its samples without its sheets."""
        own = {i for i, header in headers.items() if header.written is not None}
        if not own:
            return headers
        all_own = len(own) == len(headers)
        samples = {i for i in own if all_own and '"index"' in str(headers[i].written)}
        out = sorted(own - samples)
        if len(out) == len(headers):
            raise ValueError(
                f"all pictures are sheets that Alphabar wrote ({some([self.source.names[i] for i in out])}); "
                "give a folder of pictures or of samples"
            )
        if out:
            names = some([self.source.names[i] for i in out])
            self.notes.append(f"left out, written by Alphabar: {names} ({files(len(out))})")
        return {i: header for i, header in headers.items() if i not in out}

    def _bad_message(self) -> str:
        return (
            f"{len(self.bad)} of {self.total} pictures cannot be read: {self._bad_names()}. "
            "Repair, shrink or remove them, or go on without them (--skip-bad, skip_bad=True)"
        )

    def _bad_names(self) -> str:
        named = {(i, k): self.source.names[i] + (f", frame {k + 1}" if k else "") for i, k in self.bad}
        shown = some([f"{named[key]} ({self.bad[key]})" for key in sorted(self.bad)])
        bad = {i for i, k in self.bad if len(self.frames.get(i, ())) <= 1}
        kept = {self._top(i) for i in range(len(self.source.names)) if i not in bad}
        lost = sorted({self._top(i) for i in bad} - kept - {""})
        return shown + (f"; nothing in {some(lost)} can be read" if lost else "")

    def _top(self, i: int) -> str:
        top, slash, _ = self.source.names[i].partition("/")
        return top if slash else ""
