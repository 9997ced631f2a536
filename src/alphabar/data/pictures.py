"""One picture file → an array at the training size."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, UnidentifiedImageError

from ..images import MODES

PICTURE_ENDINGS = {
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "AVIF")
"""The only formats that are opened, whatever a file is called: some of Pillow's run other programs."""
GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
LARGE_PIXELS = 2**24
LARGE = threading.Lock()
"""Held while a large picture is decoded, so that several at once don't fill the memory."""


@cache
def _formats() -> tuple[str, ...]:
    """`FORMATS`, as far as this Pillow was built with them."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def opened(file: str | os.PathLike[str] | BinaryIO) -> Iterator[Image.Image]:
    """A picture whose header is read, not yet decoded; the file is closed afterwards whatever Pillow does."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(file, "rb")) if isinstance(file, (str, os.PathLike)) else file
        yield stack.enter_context(Image.open(stream, formats=_formats()))


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture may have transparent pixels, by its header."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the EXIF orientation is applied, by the header."""
    sideways = image.getexif().get(0x0112) in (5, 6, 7, 8)
    return (image.width, image.height) if sideways else (image.height, image.width)


def picture_array(
    image: Image.Image, size: tuple[int, int], channels: int, background: str = "white"
) -> np.ndarray:
    """A picture as uint8 (channels, H, W): upright, in sRGB, its shorter side resized, its center cut out.

    Resizing is antialiased (Lanczos) and keeps the proportions. `channels` is 1, 3, or 4 to keep
    transparency, which otherwise is laid over `background`; colors that cannot be seen become black.
    16-bit grays are scaled to 8 bits.
    """
    large = image.width * image.height > LARGE_PIXELS
    with LARGE if large else contextlib.nullcontext():
        image = _plain(ImageOps.exif_transpose(image))
        if has_alpha(image):
            image = image.convert("RGBA")
            if channels != 4:
                under = Image.new("RGBA", image.size, ImageColor.getrgb(background))
                image = Image.alpha_composite(under, image)
        image = image.convert(MODES[channels])
        array = np.array(fit(image, size))
    if channels == 4:
        array[array[..., 3] == 0] = 0
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)


def _plain(image: Image.Image) -> Image.Image:
    """8 bits a value, colors in sRGB."""
    if image.mode == "F":
        raise ValueError("floating-point pictures have no known range; give the data as .npy")
    if image.mode.startswith("I"):
        gray = np.asarray(image)
        if gray.min() < 0 or gray.max() > 65535:
            raise ValueError("whole numbers beyond 16 bits have no known range; give the data as .npy")
        return Image.fromarray((gray.astype(np.float64) / 257).round().astype(np.uint8))
    return _in_srgb(image)


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colors by the picture's own ICC profile → sRGB; as they are without a profile that can be read."""
    if image.mode not in ("RGB", "RGBA") or not image.info.get("icc_profile"):
        return image
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if "srgb" in ImageCms.getProfileDescription(own).lower().replace(" ", ""):
            return image
        return ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB")) or image
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
        return image


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest part of proportions `size` = (H, W) at the center, resized to it.

    Where the shorter side fits already, whole pixels are cut out, and none is resampled.
    """
    height, width = size
    scale = min(image.height / height, image.width / width)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    if scale == 1:
        left, top = int(left), int(top)
        return image.crop((left, top, left + width, top + height))
    right, bottom = min(left + scale * width, image.width), min(top + scale * height, image.height)
    return image.resize((width, height), Image.Resampling.LANCZOS, (max(left, 0), max(top, 0), right, bottom))


def open_picture(
    path: str | os.PathLike[str], size: tuple[int, int], channels: int, background: str = "white"
) -> np.ndarray:
    """A picture file as `picture_array` gives it; ValueError if it cannot be read as one."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with opened(path) as image:
            return picture_array(image, size, channels, background)
    except Exception as error:  # decoders raise many kinds, all about the file
        raise ValueError(f"{path} cannot be read as a picture: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why a picture could not be read, without what Pillow says of its own objects."""
    if isinstance(error, UnidentifiedImageError):
        return "not in a format that Alphabar reads, or damaged"
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"whole, but of more than {most} million pixels: save it smaller"
    return str(error) or type(error).__name__
