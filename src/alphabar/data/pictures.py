"""One picture file → an array at the training size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from ..images import MODES

GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture may have transparent pixels, by its header."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the EXIF orientation is applied, by the header."""
    sideways = image.getexif().get(0x0112) in (5, 6, 7, 8)
    return (image.width, image.height) if sideways else (image.height, image.width)


def check_background(background: str) -> str:
    """Raise ValueError unless `background` is a colour that Pillow knows."""
    try:
        ImageColor.getrgb(background)
    except ValueError:
        raise ValueError(
            f"unknown background {background!r}; give a colour such as 'white' or '#808080'"
        ) from None
    return background


def picture_array(
    image: Image.Image, size: tuple[int, int], channels: int, background: str = "white"
) -> np.ndarray:
    """A picture as uint8 (channels, H, W): upright, its shorter side resized, its centre cut out.

    Resizing is antialiased (Lanczos) and keeps the proportions. `channels` is 1, 3, or 4 to keep
    transparency, which otherwise is laid over `background`. 16-bit greys are scaled to 8 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pictures have no known range; give the data as .npy")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("whole numbers beyond 16 bits have no known range; give the data as .npy")
        image = Image.fromarray((grey.astype(np.float64) / 257).round().astype(np.uint8))
    if has_alpha(image):
        image = image.convert("RGBA")
        if channels != 4:
            under = Image.new("RGBA", image.size, ImageColor.getrgb(background))
            image = Image.alpha_composite(under, image)
    image = image.convert(MODES[channels])
    array = np.asarray(fit(image, size))
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest part of proportions `size` = (H, W) at the centre, resized to it.

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
        with Image.open(path) as image:
            return picture_array(image, size, channels, background)
    except Exception as error:  # decoders raise many kinds, all about the file
        raise ValueError(f"{path} cannot be read as a picture: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why a picture could not be read, without what Pillow says of its own objects."""
    unidentified = isinstance(error, UnidentifiedImageError)
    return "not in a format that Pillow knows, or damaged" if unidentified else str(error)
