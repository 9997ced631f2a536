"""One picture file → an array at the training size."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import jpeg_factory

from ...errors import needs
from ...files import missing
from ...images import MODES
from .colors import has_alpha, in_srgb
from .fitting import fit, is_copy, padded, placed

PICTURE_ENDINGS = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "AVIF")
"""The only formats that are opened, whatever a file is called: some of Pillow's run other programs."""
HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
"""How files of the format HEIF say after `ftyp` that they are; a package beside Pillow reads them."""
RESIZE = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
"""Ways to resize by name; all but `nearest` average over the pixels that they put into one."""
GAP = 3
"""Pictures of at least this many times the wanted size are first reduced by a whole factor, down to it."""
LARGE_PIXELS = 2**24
LARGE = threading.Lock()
"""Held while a large picture is decoded, so that several at once don't fill the memory."""
BAND_PIXELS = 2**20


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
        try:
            image = Image.open(stream, formats=_formats())
        except Image.DecompressionBombError:
            stream.seek(0)
            if stream.read(3) != b"\xff\xd8\xff":
                raise
            stream.seek(0)
            image = jpeg_factory(stream)  # which can be decoded in part
        except UnidentifiedImageError:
            stream.seek(4)
            if stream.read(4) != b"ftyp" or stream.read(4) not in HEIF:
                raise
            stream.seek(0)
            image = _heif(stream)
        yield stack.enter_context(image)


def _heif(stream: BinaryIO) -> Image.Image:
    with needs("HEIC pictures", "pillow-heif", "heic"):
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    register_heif_opener()
    return Image.open(stream, formats=("HEIF",))


def is_deep(image: Image.Image) -> bool:
    """Whether a picture's values are read in more than 8 bits: grays of 16."""
    return image.mode.startswith("I")


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel is; False for what cannot be read."""
    try:
        with LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
            bands = image.getbands()
            alpha = image.getchannel("A") if "A" in bands else image.convert("RGBA").getchannel("A")
            return bool(np.asarray(alpha).min() < 255)
    except Exception:  # decoders raise many kinds; it is said where the picture is read
        return False


def decoder_arguments(image: Image.Image) -> Any:
    """What Pillow tells the decoder of a file that isn't decoded yet; () for other pictures."""
    tile = getattr(image, "tile", None)
    return tile[0].args if tile else ()


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the EXIF orientation is applied, by the header."""
    # of TIFF, Pillow gives the upright size itself
    sideways = image.format != "TIFF" and image.getexif().get(0x0112) in (5, 6, 7, 8)
    return (image.width, image.height) if sideways else (image.height, image.width)


def picture_array(
    image: Image.Image,
    size: tuple[int, int],
    channels: int,
    background: str = "white",
    dtype: Any = np.uint8,
    resize: str = "lanczos",
    how: str = "crop",
) -> np.ndarray:
    """A picture as (channels, H, W): upright, in sRGB, brought to the size of the samples.

    No value leaves the range of the picture's own. A picture much larger than `size` is decoded and converted
    in parts, as far as its format allows.

    Args:
        image: from a file; it may be changed.
        size: (H, W).
        channels: 1, 3, or 4 to keep transparency. Colors that cannot be seen become black.
        background: what transparent pixels are laid over otherwise, and what is around a padded picture.
        dtype: uint8 or uint16. Values of 8 and of 16 bits become each other with the factor 257: white
            stays white.
        resize: a row of `RESIZE`.
        how: what becomes of pictures of another shape, as for `placed`.
    """
    method = RESIZE[resize]
    averages = method != Image.Resampling.NEAREST
    if averages:
        image.draft(None, (GAP * max(size), GAP * max(size)))  # of JPEG, what is decoded
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    deep, factor = is_deep(image), 1
    convert = partial(_grays, greatest=_greatest(image)) if deep else partial(_colors, channels, background)
    with LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
        ImageOps.exif_transpose(image, in_place=True)
        if averages:
            factor = max(1, min(image.height // (GAP * size[0]), image.width // (GAP * size[1])))
        image = convert(image) if factor == 1 else _reduced(image, factor, convert)
    array = (_resized_seen if image.mode == "RGBA" else _resized)(image, size, method, how)
    array = np.rint(_in_type(array, deep, np.dtype(dtype))).astype(dtype)
    if deep:
        opaque = [np.full_like(array, np.iinfo(dtype).max)] * (channels == 4)
        array = np.concatenate([array] * min(channels, 3) + opaque, axis=2)
    if channels == 4:
        array[array[..., 3] == 0] = 0
    array = padded(array, size, color_of(background, channels, dtype))
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def color_of(background: str, channels: int, dtype: Any = np.uint8) -> Any:
    """The values (C,) of a color; 0, what cannot be seen, where alpha is kept."""
    if channels == 4:
        return 0
    color = ImageColor.getcolor(background, MODES[channels])
    return np.multiply(color, 257 if np.dtype(dtype) == np.uint16 else 1)


def _resized(image: Image.Image, size: tuple[int, int], method: Image.Resampling, how: str) -> np.ndarray:
    """(H, W, C), within the range of the picture's own values; smaller where it is to be padded."""
    low, high = np.array(image.getextrema()).reshape(-1, 2).T
    array = np.array(fit(image, size, method, how))
    return np.clip(array.reshape(*array.shape[:2], -1), low, high)


def _resized_seen(
    image: Image.Image, size: tuple[int, int], method: Image.Resampling, how: str
) -> np.ndarray:
    """(H, W, 4) by the mean of what is seen: colors · alpha in floats, so that nothing bleeds from alpha 0.

    Pillow does it in 8 bits, which are coarse where alpha is low; and colors are within the range of those
    that are seen.
    """
    box, inner = placed((image.height, image.width), size, how)
    if method == Image.Resampling.NEAREST or is_copy(box, inner):
        return np.array(fit(image, size, method, how))
    whole = np.asarray(image, np.float32)
    colors, alpha = whole[..., :3], whole[..., 3:]
    seen = colors[alpha[..., 0] > 0]
    if not len(seen):
        return np.zeros((*inner, 4), np.float32)
    bands = np.moveaxis(np.concatenate([colors * (alpha / 255), alpha], 2), 2, 0)
    *dimmed, opacity = (np.asarray(fit(Image.fromarray(band), size, method, how)) for band in bands)
    opacity = np.clip(opacity, 0, 255)
    shares = np.maximum(opacity, 1e-3)[..., None] / 255
    found = np.clip(np.stack(dimmed, 2) / shares, seen.min(0), seen.max(0))
    return np.concatenate([found, opacity[..., None]], 2)


def _in_type(array: np.ndarray, deep: bool, dtype: np.dtype) -> np.ndarray:
    """Values of 8 bits, or of 16 if `deep`, as those of another type."""
    if deep == (dtype == np.uint16):
        return array
    return array / 257 if deep else array.astype(np.float64) * 257


def _greatest(image: Image.Image) -> int:
    """The greatest possible value of a 16-bit picture: Pillow scales it up to 65535 in PGM alone."""
    match decoder_arguments(image) if image.format == "PPM" else ():
        case (_, int(greatest)):
            return greatest
    return 65535


def _grays(image: Image.Image, greatest: int) -> Image.Image:
    """Whole numbers of 16 bits as floats, which are resized without losing any."""
    if "transparency" in image.info:
        raise ValueError("16-bit pictures with a transparent gray are not read: save it without one")
    gray = np.asarray(image)
    if gray.min() < 0 or gray.max() > 65535:
        raise ValueError("whole numbers beyond 16 bits have no known range; give the data as .npy")
    gray = gray.astype(np.float32)
    return Image.fromarray(gray if greatest == 65535 else np.rint(gray * (greatest / 65535)))


def _colors(channels: int, background: str, image: Image.Image) -> Image.Image:
    """In sRGB, in the mode of this many channels."""
    if image.mode == "F":
        raise ValueError(
            "floating-point pictures have no known range: a folder of TIFFs of floats alone, without "
            "sub-folders, is read as fields"
        )
    image = in_srgb(image)
    if has_alpha(image):
        image = image.convert("RGBA")
        if channels != 4:
            under = Image.new("RGBA", image.size, ImageColor.getrgb(background))
            image = Image.alpha_composite(under, image)
    return image.convert(MODES[channels])


def _reduced(image: Image.Image, factor: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The mean of factor × factor pixels in place of each, converted band by band, as memory allows.

    Up to `factor` - 1 pixels at the edges are left out.
    """
    height, width = image.height // factor, image.width // factor
    left, top = (image.width - factor * width) // 2, (image.height - factor * height) // 2
    whole, rows = None, max(1, BAND_PIXELS // (factor**2 * width))
    for row in range(0, height, rows):
        first, last = top + factor * row, top + factor * min(row + rows, height)
        band = convert(image.crop((left, first, left + factor * width, last))).reduce(factor)
        whole = whole or Image.new(band.mode, (width, height))
        whole.paste(band, (0, row))
    assert whole is not None
    return whole


def open_picture(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    channels: int,
    background: str = "white",
    dtype: Any = np.uint8,
    resize: str = "lanczos",
    how: str = "crop",
) -> np.ndarray:
    """A picture file as `picture_array` gives it; ValueError if it cannot be read as one."""
    with file_opened(path) as image:
        return picture_array(image, size, channels, background, dtype, resize, how)


@contextlib.contextmanager
def file_opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """A picture file that a person named, opened; ValueError if it, or what is done with it, fails."""
    if not Path(path).is_file():
        raise missing(path, "file")
    try:
        with warnings.catch_warnings(action="ignore"), opened(path) as image:  # Pillow's, on odd metadata
            yield image
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
