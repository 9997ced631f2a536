"""Samples as small pictures within a page, and the previews of training."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...data.sources.pictures import open_picture
from ...images import enlarged, picture, untiled
from ..previews import SAMPLES

SMALLEST, LARGEST = 96, 128  # pixels of a picture's longer side
WHOLE = 900  # of one that shows many samples
FLATTEST = 4  # the most that a picture may be wider than high
LOSSLESS = 12_000  # bytes; a picture that takes more as PNG becomes a JPEG
PREVIEWS = 24  # to slide through, at most


class Picture(NamedTuple):
    """The attributes of an <img>."""

    src: str
    alt: str
    width: int
    height: int


class Frame(NamedTuple):
    """What the slider shows at one of its places."""

    at: str
    pictures: list[Picture]
    columns: int


def shown(image: np.ndarray, alt: str) -> Picture:
    """(C, H, W) uint8 as an <img>, at most LARGEST pixels a side.

    A picture flatter than FLATTEST, such as one of numbers in a row, gets higher rows.
    """
    stretch = max(1, image.shape[2] // (FLATTEST * image.shape[1]))
    return _inline(enlarged(image.repeat(stretch, 1), SMALLEST), alt, LARGEST)


def shown_whole(image: np.ndarray, alt: str) -> Picture:
    """The same of a picture that shows many samples, at most WHOLE pixels a side."""
    return _inline(image, alt, WHOLE)


def _inline(image: np.ndarray, alt: str, largest: int) -> Picture:
    """PNG, or JPEG if that would be large."""
    drawn = picture(image)
    drawn.thumbnail((largest, largest))
    for kind, settings in (("png", {}), ("jpeg", {"quality": 90, "subsampling": 0})):
        file = io.BytesIO()
        drawn.save(file, kind, **settings)
        if file.tell() <= LOSSLESS or drawn.mode == "RGBA":
            break
    src = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(src, alt, drawn.width, drawn.height)


def frames(files: Sequence[Path], shape: tuple[int, ...]) -> list[Frame]:
    """At most PREVIEWS previews, spread evenly over all, each split into pictures of `shape` (C, H, W)."""
    if not files:
        return []
    channels, height, width = shape
    most = PREVIEWS if max(height, width) <= 32 else PREVIEWS // 2
    made = []
    for k in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int)).tolist():
        at = f"{int(files[k].stem):,} images"
        sheet = read_sheet(files[k], channels)
        split = untiled(sheet, SAMPLES, height, width)
        parts = sheet[None] if split is None else split  # the whole, if it holds fewer samples
        show = shown_whole if split is None else shown
        made.append(Frame(at, [show(part, at) for part in parts], round(len(parts) ** 0.5)))
    return made


def read_sheet(path: Path, channels: int) -> np.ndarray:
    """A PNG at its own size, (C, H, W)."""
    with open(path, "rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])  # from its header
    return open_picture(path, (height, width), channels)
