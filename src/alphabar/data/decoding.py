"""All pictures of a source → blocks of samples at one size."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .config import NUM_CHANNELS, DataConfig
from .pictures import GRAY_MODES, has_alpha, picture_array, reason, upright_size
from .source_types import BLOCK, Pictures, block_size, files, some
from .space import Space

LARGEST_DEFAULT_SIZE = 64
SHARE_OF_ONE_SIZE = 0.9
"""From this share on, the size of most pictures is that of all."""
Progress = Callable[[int, int], None]


class Header(NamedTuple):
    """What a picture says before it is decoded; `written`: what Alphabar wrote inside, if it did."""

    size: tuple[int, int]
    mode: str
    alpha: bool
    frames: bool
    written: str | None


def _header(image: Image.Image) -> Header:
    frames = image.format in ("GIF", "TIFF", "WEBP", "PNG") and getattr(image, "is_animated", False)
    return Header(upright_size(image), image.mode, has_alpha(image), frames, image.info.get("alphabar"))


@dataclass
class Decoder:
    """Pictures on their way to samples; `notes` grows as they are read."""

    source: Pictures
    config: DataConfig
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bad: dict[int, str] = {}
        headers = dict(self._each(range(len(self.source.names)), _header))
        if not headers:
            raise ValueError(self._bad_message())
        headers = self._without_own(headers)
        self.numbers = sorted([*headers, *self.bad])
        self.source.labels(self.numbers)  # what is wrong with classes is said before all is decoded
        self.size = self._choose_size({i: header.size for i, header in headers.items()})
        modes = Counter(header.mode for header in headers.values())
        self.notes.append("modes: " + ", ".join(f"{n} × {mode}" for mode, n in modes.most_common()))
        self.channels = NUM_CHANNELS[self.config.channels] or (1 if set(modes) <= GRAY_MODES else 3)
        self.background = None
        if self.channels != 4 and any(header.alpha for header in headers.values()):
            self.background = self.config.background
            self.notes.append(f"transparent pixels are laid over {self.background}")
        frames = [self.source.names[i] for i, header in headers.items() if header.frames]
        if frames:
            self.notes.append(f"{files(len(frames))} with several frames, the first is used: {some(frames)}")

    @property
    def space(self) -> Space:
        """Of the samples; a fourth channel of pictures is their alpha."""
        return Space(
            (self.channels, *self.size),
            layout="HWC" if self.channels > 1 else "HW",
            names=("red", "green", "blue", "alpha") if self.channels == 4 else (),
            background=self.background,
        )

    def blocks(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Blocks of samples with their numbers; ValueError at the end that names all that can't be read."""
        background = self.background or self.config.background
        decode = lambda image: picture_array(image, self.size, self.channels, background)  # noqa: E731
        at_once = block_size(self.space.shape)
        numbers, block = [], []
        for i, array in self._each(self.numbers, decode, at_once, self.progress):
            numbers.append(i)
            block.append(array)
            if len(block) == at_once:
                yield numbers, np.stack(block)
                numbers, block = [], []
        if self.bad and not self.config.skip_bad:
            raise ValueError(self._bad_message())
        if block:
            yield numbers, np.stack(block)
        if self.bad:
            self.notes.append(f"left out as unreadable: {self._bad_names()}")

    def _each(
        self,
        numbers: Sequence[int],
        act: Callable[[Image.Image], Any],
        at_once: int = BLOCK,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """(i, act(picture i)) in order, over some threads; what fails goes into `bad` and is passed over."""

        def one(i: int) -> Any:
            if i in self.bad:
                return None
            try:
                with self.source.open(i) as image:
                    return act(image)
            except Exception as error:  # decoders raise many kinds, all about the picture
                self.bad[i] = reason(error)
                return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(numbers), at_once):
                block = numbers[start : start + at_once]
                with warnings.catch_warnings():  # around the threads: within them it isn't safe
                    warnings.simplefilter("ignore")  # Pillow's, about odd metadata
                    results = list(pool.map(one, block))
                if progress is not None:
                    progress(start + len(block), len(numbers))
                both = zip(block, results, strict=True)
                yield from ((i, result) for i, result in both if result is not None)

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

    def _choose_size(self, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """The size that was asked for, or that of most pictures if it is small, or else 64; noted."""
        counts = Counter(sizes.values())
        most, n = counts.most_common(1)[0]
        mostly = n >= SHARE_OF_ONE_SIZE * len(sizes)
        default = (
            most
            if mostly and max(most) <= LARGEST_DEFAULT_SIZE
            else (LARGEST_DEFAULT_SIZE, LARGEST_DEFAULT_SIZE)
        )
        height, width = size = self.config.size or default
        if set(counts) == {size}:
            self.notes.append(f"all {height} × {width} pixels (height × width), taken as they are")
            return size
        smaller = sum(h < height or w < width for h, w in sizes.values())
        enlarged = f" ({smaller} of {len(sizes)} are enlarged)" if smaller else ""
        if mostly and most == size:
            odd = [f"{self.source.names[i]} ({h} × {w})" for i, (h, w) in sizes.items() if (h, w) != size]
            note = f"{n} of {len(sizes)} are {height} × {width} pixels; resized and cut to that: {some(odd)}"
        else:
            heights, widths = [h for h, _ in counts], [w for _, w in counts]
            own = f"{_span(heights)} × {_span(widths)} pixels (height × width)"
            note = f"{own}, resized and cut to {height} × {width}{enlarged}"
            if len(counts) == 1 and self.config.size is None:
                note += f"; --size {most[0]}x{most[1]} keeps them"
        self.notes.append(note)
        return size

    def _bad_message(self) -> str:
        return (
            f"{len(self.bad)} of {len(self.source.names)} pictures cannot be read: {self._bad_names()}. "
            "Repair, shrink or remove them, or go on without them (--skip-bad, skip_bad=True)"
        )

    def _bad_names(self) -> str:
        shown = some([f"{self.source.names[i]} ({self.bad[i]})" for i in sorted(self.bad)])
        kept = {self._top(i) for i in range(len(self.source.names)) if i not in self.bad}
        lost = sorted({self._top(i) for i in self.bad} - kept - {""})
        return shown + (f"; nothing in {some(lost)} can be read" if lost else "")

    def _top(self, i: int) -> str:
        top, slash, _ = self.source.names[i].partition("/")
        return top if slash else ""


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
