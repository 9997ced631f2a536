"""Samples as small pictures within a page, and the previews that training left."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...data.pictures import open_picture
from ...images import enlarged, picture

SMALLEST, LARGEST = 96, 128  # pixels of a picture's longer side
FLATTEST = 4  # times as wide as high
LOSSLESS = 12_000  # bytes; a picture that takes more as PNG is shown as JPEG
PREVIEWS = 24


class Picture(NamedTuple):
    """An element <img>."""

    src: str
    alt: str
    width: int
    height: int


class Frame(NamedTuple):
    """What is under the slider at one place of it."""

    at: str
    pictures: list[Picture]
    columns: int


def shown(image: np.ndarray, alt: str) -> Picture:
    """(C, H, W) uint8 as an element: PNG, or JPEG where that is large; never more than LARGEST pixels.

    What is flatter than FLATTEST, as numbers in a row are, gets higher rows.
    """
    stretch = max(1, image.shape[2] // (FLATTEST * image.shape[1]))
    drawn = picture(enlarged(image.repeat(stretch, 1), SMALLEST))
    drawn.thumbnail((LARGEST, LARGEST))
    for kind, settings in (("png", {}), ("jpeg", {"quality": 90, "subsampling": 0})):
        file = io.BytesIO()
        drawn.save(file, kind, **settings)
        if file.tell() <= LOSSLESS or drawn.mode == "RGBA":
            break
    src = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(src, alt, drawn.width, drawn.height)


def frames(files: Sequence[Path], shape: tuple[int, ...]) -> list[Frame]:
    """Previews of training, spread evenly over them, taken apart into pictures of this shape (C, H, W)."""
    if not files:
        return []
    channels, height, width = shape
    most = PREVIEWS if max(height, width) <= 32 else PREVIEWS // 2
    found = []
    for k in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int)).tolist():
        at = f"{int(files[k].stem):,} images"
        parts = tiles(read_sheet(files[k], channels), height, width)
        found.append(Frame(at, [shown(part, at) for part in parts], round(len(parts) ** 0.5)))
    return found


def read_sheet(path: Path, channels: int) -> np.ndarray:
    """A PNG as it is, (C, H, W)."""
    with open(path, "rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])  # as its header says
    return open_picture(path, (height, width), channels)


def tiles(sheet: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """The 4 × 4 pictures of a preview, which `tiled` and `enlarged` put together; or else the whole."""
    down, across = (4 * (side + 2) - 2 for side in (height, width))
    factor = max(sheet.shape[1] // down, 1)
    small = sheet[:, ::factor, ::factor]
    if (factor * down, factor * across) != sheet.shape[1:]:
        return [sheet]
    starts = [(y, x) for y in range(0, down, height + 2) for x in range(0, across, width + 2)]
    return [small[:, y : y + height, x : x + width] for y, x in starts]
