"""Arrays as pictures to look at: grids, strips and animations. Pillow is imported when needed."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MARK = "alphabar"
"""The name of the text entry, or the comment, by which a picture that Alphabar wrote is known."""
GAP = 2  # pixels between the images of a sheet

Bound = float | Sequence[float] | np.ndarray | None


def displayable(images: np.ndarray, low: Bound, high: Bound, alpha: bool = False) -> np.ndarray:
    """(…, C, H, W) in data space → uint8 with C of 1 or 3; other numbers of channels stand side by side.

    Args:
        images: in data space.
        low, high: what becomes 0 and 255, numbers or one for each channel; the images' own range if None.
        alpha: take a fourth channel for transparency.
    """
    images = to_bytes(images, low, high)
    if images.shape[-3] not in (1, 3) and not (alpha and images.shape[-3] == 4):
        images = np.concatenate(np.split(images, images.shape[-3], axis=-3), axis=-1)
    return images


def to_bytes(images: np.ndarray, low: Bound, high: Bound) -> np.ndarray:
    """(…, C, H, W) with values in low..high, numbers or one for each channel → uint8."""
    if low is None or high is None:
        low, high = float(np.min(images)), float(np.max(images))
    low, high = _column(low), _column(high)
    if images.dtype == np.uint8 and np.all(low == 0) and np.all(high == 255):
        return images
    span = np.where(high > low, high - low, 1.0)
    unit = (images.astype(np.float64) - low) / span
    return np.rint(255 * np.clip(np.nan_to_num(unit), 0, 1)).astype(np.uint8)


def _column(bound: Any) -> np.ndarray:
    """A number, or one for each channel, in a shape that broadcasts over (…, C, H, W)."""
    values = np.asarray(bound, dtype=np.float64)
    return values.reshape(-1, 1, 1) if values.size > 1 else values.reshape(())


def picture(image: np.ndarray) -> Image:
    """(C, H, W) uint8 with C of 1, 3 or 4, or uint16 with C of 1 → a Pillow image."""
    from PIL import Image

    image = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    return Image.fromarray(np.ascontiguousarray(image))


def tiled(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """(N, C, H, W) → one sheet (C, H', W') with `columns` images in a row (about square unless given)."""
    n, c, h, w = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((c, rows * (h + GAP) - GAP, columns * (w + GAP) - GAP), 255, images.dtype)
    for i, image in enumerate(images):
        y, x = (i // columns) * (h + GAP), (i % columns) * (w + GAP)
        sheet[:, y : y + h, x : x + w] = image
    return sheet


def untiled(sheet: np.ndarray, n: int, height: int, width: int) -> np.ndarray | None:
    """(n, C, height, width), the images in a sheet `enlarged(tiled(images))`; None if it has another size."""
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    down, across = rows * (height + GAP), columns * (width + GAP)
    factor = max(1, sheet.shape[1] // (down - GAP))
    if sheet.shape[1:] != (factor * (down - GAP), factor * (across - GAP)):
        return None
    cells = np.pad(sheet[:, ::factor, ::factor], ((0, 0), (0, GAP), (0, GAP)))
    cells = cells.reshape(-1, rows, height + GAP, columns, width + GAP)[:, :, :height, :, :width]
    return cells.transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1, height, width)[:n]


def enlarged(image: np.ndarray, least: int = 512) -> np.ndarray:
    """Repeat pixels until the longer side has about `least` of them; never make an image smaller."""
    factor = max(1, least // max(image.shape[-2:]))
    return image.repeat(factor, -1).repeat(factor, -2)


def save_picture(
    path: Path, image: np.ndarray, metadata: dict[str, Any] | None = None, *, new_file: bool = False
) -> None:
    """Write a PNG, atomically.

    Args:
        path: of the file.
        image: (C, H, W) uint8 with C of 1, 3 or 4, or uint16 with C of 1.
        metadata: kept in the file as JSON, in the text entry `MARK`, which marks the file as ours.
        new_file: FileExistsError if the file exists.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(MARK, json.dumps(metadata or {}))
    content = io.BytesIO()
    picture(image).save(content, "PNG", pnginfo=info)
    write_bytes(path, content.getvalue(), new_file=new_file)


def save_animation(path: Path, images: np.ndarray, frame_ms: int = 80, last_ms: int = 1500) -> None:
    """Write (N, C, H, W) as a GIF that stays longer on its last frame, marked as ours by its comment."""
    frames = [picture(image) for image in images]
    durations = [frame_ms] * (len(frames) - 1) + [last_ms]
    content, more = io.BytesIO(), frames[1:]
    frames[0].save(
        content, "GIF", save_all=True, append_images=more, duration=durations, loop=0, comment=MARK
    )
    write_bytes(path, content.getvalue())


def html_image(png: bytes) -> str:
    """The bytes of a PNG as an HTML element that needs no file."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}">'
