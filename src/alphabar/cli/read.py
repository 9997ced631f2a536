"""Pictures, sounds and arrays that a person gives, read as samples of a model's space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.space import Space

HALVES = ("left", "right", "top", "bottom")
SOUNDS = {".wav", ".flac"}
COLORFUL = 40  # levels between the channels of a pixel


def read_sample(path: str, space: Space) -> np.ndarray:
    """One sample of the model's shape, in data space. A picture of another size is resized, with a notice."""
    from .console import say

    array = _array(path)
    if array is not None:
        return _checked(path, array, space, space.shape)
    if Path(path).suffix.lower() in SOUNDS:
        return _sound(path, space)
    channels, *sides = space.shape
    from ..data.headers import BROUGHT

    image = _picture(path, space, tuple(sides), channels)
    found = _size(path)
    if found != tuple(sides):
        height, width = sides
        brought = "of which the center is cut out" if space.kept else BROUGHT[space.fit]
        say(f"{path} is {found[1]} × {found[0]}: {brought} {width} × {height}, as in training")
    return image


def read_noisy(path: str, space: Space) -> np.ndarray:
    """One x_t of the model's shape, in model space: an array, as `edit vary` writes one."""
    array = _array(path)
    if array is None:
        raise ValueError(f"a noisy sample is an array in model space: give an .npy file, got {path}")
    if array.shape != space.shape:
        raise _wrong_shape(path, array, space.shape)
    return array


def read_observation(path: str, space: Space, shape: tuple[int, ...]) -> np.ndarray:
    """What is known of a sample, of this shape in data space; ValueError for a picture of another size."""
    array = _array(path)
    if array is not None:
        return _checked(path, array, space, shape)
    channels, *sides = shape
    image = _picture(path, space, tuple(sides), channels)
    found = _size(path)
    if found != tuple(sides):
        height, width = sides
        raise ValueError(
            f"{path} is {found[1]} × {found[0]}, and what this model can restore is {width} × {height}; "
            "for a whole picture, to be degraded first, add --whole"
        )
    return image


def read_mask(mask: str, space: Space, picture: str) -> np.ndarray:
    """True where the sample is known: (1, *sides), or of the sample's shape if each channel has its own.

    Args:
        mask: left, right, top or bottom, the half to fill. Or START:END of a series, in seconds if its rate
            is known, else in numbers; either may be left out. Or a picture: what is white, or transparent if
            anything is, is filled; one of the picture's own size is resized as the picture is. Or an .npy
            file: what is above the middle of 0..1, or of 0..255, is filled; it has the sides of a sample, or
            the shape of a whole one.
        space: of the sample.
        picture: the path of the sample.
    """
    sides = space.shape[1:]
    if mask in HALVES:
        return _half(mask, sides)
    if space.kind == "series" and ":" in mask and not Path(mask).is_file():
        return _stretch(mask, space)
    if not Path(mask).is_file():
        raise FileNotFoundError(f"no such file: {mask} (a mask is a picture, .npy, or {', '.join(HALVES)})")
    array = _array(mask)
    fill = _drawn(mask, space, picture) if array is None else _above_half(array)
    whole = space.to_layout(np.empty(space.shape, bool)).shape  # in the user's own arrays
    for_all = [sides, (1, *sides)] if sides else []  # channels
    if fill.shape not in [*for_all, whole]:
        accepted = " or ".join(map(str, [*for_all[:1], *([] if whole in for_all else [whole])]))
        raise ValueError(f"the mask {mask} must have the shape {accepted}, got {fill.shape}")
    if fill.all() or not fill.any():
        raise ValueError(f"the mask {mask} is all {'white' if fill.all() else 'black'}: white is filled")
    return ~(fill.reshape(1, *sides) if fill.shape in for_all else space.from_layout(fill))


def _half(name: str, sides: tuple[int, ...]) -> np.ndarray:
    if len(sides) < (1 if name in ("left", "right") else 2):
        raise ValueError(f"this model's samples have no {name} half: give a mask as an .npy file")
    axis = -1 if name in ("left", "right") else -2
    middle = sides[axis] // 2
    fill = np.arange(sides[axis]) < middle
    fill = fill if name in ("left", "top") else ~fill
    return np.broadcast_to(~(fill if axis == -1 else fill[:, None]), sides)[None].copy()


def _stretch(mask: str, space: Space) -> np.ndarray:
    """START:END of a series is filled."""
    length, rate = space.shape[1], space.timeline.rate
    start, _, end = mask.partition(":")
    try:
        first, last = (round(float(text) * (rate or 1)) if text else None for text in (start, end))
    except (ValueError, OverflowError):
        raise ValueError(f"a stretch of a series is START:END, two numbers, got {mask!r}") from None
    first, last = first or 0, length if last is None else last
    if not 0 <= first < last <= length or (first, last) == (0, length):
        raise ValueError(
            f"the mask {mask} must be a part of {space.timeline.lasting(length)}, START:END in "
            f"{'seconds' if rate else 'numbers'}"
        )
    place = np.arange(length)
    return ~((place >= first) & (place < last))[None]


def _above_half(array: np.ndarray) -> np.ndarray:
    """Where a mask's numbers are above the middle of their range, 0..1 or 0..255."""
    if array.dtype == bool:
        return array
    return array > (0.5 if array.max(initial=0) <= 1 else 127)


def _drawn(mask: str, space: Space, picture: str) -> np.ndarray:
    """Where a mask that is a picture says to fill."""
    from PIL import Image as Pictures

    from ..data.colors import has_alpha
    from ..data.pictures import file_opened

    height, width = size = _sides(space, mask)
    found = _size(mask)
    if found != size and (picture.lower().endswith(".npy") or found != _size(picture)):
        raise ValueError(
            f"the mask {mask} is {found[1]} × {found[0]}, and the model's pictures are {width} × {height}: "
            "give a mask of that size, or of the picture's own"
        )
    with file_opened(mask) as header:
        transparent = has_alpha(header)

    def read(channels: int) -> np.ndarray:
        with file_opened(mask) as image:
            return _as_prepared(image, space, size, channels, "black")

    if transparent:
        *color, alpha = read(4)
        inside = _as_prepared(Pictures.new("L", (found[1], found[0]), 255), space, size, 1, "black")
        hole = (alpha < 128) & (inside[0] > 127)
        if hole.any():
            if np.any(np.min(color, axis=0)[~hole] > 127):
                raise ValueError(
                    f"the mask {mask} has white parts and transparent ones, and either could be meant to be "
                    "filled: save it without transparency, white where it is to be filled"
                )
            return hole
    gray = read(3).astype(int)
    if np.mean(gray.max(0) - gray.min(0) > COLORFUL) > 0.01:
        raise ValueError(f"the mask {mask} has colors: a mask is white where it is filled, black elsewhere")
    return gray.mean(0) > 127


# --- files ---------------------------------------------------------------------------------------


def _array(path: str) -> np.ndarray | None:
    """The array of an .npy file; None for any other file that exists."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.lower().endswith(".npy"):
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or not an .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        found = array.dtype if isinstance(array, np.ndarray) else "several arrays"
        raise ValueError(f"{path} must hold the numbers of one sample, got {found}")
    return array


def _sound(path: str, space: Space) -> np.ndarray:
    """The beginning of a sound file."""
    from ..data.sound import read_sound
    from .console import say

    series, length = read_sound(path, space)
    if length > space.shape[1]:
        say(f"{path} is longer than a sample: of it the first {space.timeline.lasting(space.shape[1])} count")
    return series


def _checked(path: str, array: np.ndarray, space: Space, shape: tuple[int, ...]) -> np.ndarray:
    """An array in the user's own layout → (C, *sides)."""
    own = shape[0] == space.channels
    wanted = space.to_layout(np.empty(shape, bool)).shape if own else shape
    if array.shape != wanted:
        raise _wrong_shape(path, array, wanted)
    return space.from_layout(array) if own else array


def _wrong_shape(path: str, array: np.ndarray, wanted: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{path} must hold the numbers of one sample, of shape {wanted}, got {array.dtype} {array.shape}"
    )


def _size(path: str) -> tuple[int, int]:
    from ..data.pictures import file_opened, upright_size

    with file_opened(path) as header:
        return upright_size(header)


def _sides(space: Space, path: str) -> tuple[int, int]:
    if len(space.shape) != 3:
        raise ValueError(
            f"{path} is a picture, and this model's samples are {space.shown_shape()}: give an .npy file"
            + " or a .wav" * bool(space.timeline.depth)
        )
    return space.shape[1], space.shape[2]


def _picture(path: str, space: Space, sides: tuple[int, ...], channels: int) -> np.ndarray:
    """A picture in the samples' own type and range.

    Where samples were pictures of as many bits, that is its own values; else black and white become the
    least and the greatest value, as where samples are shown.
    """
    from ..data.pictures import file_opened, is_deep
    from .console import say

    _sides(space, path)
    if channels not in (1, 3, 4):
        raise ValueError(f"this model's samples have {channels} channels: give one as an .npy file")
    with file_opened(path) as image:
        bits, dtype = (16, "uint16") if is_deep(image) else (8, "uint8")
        image = _as_prepared(image, space, sides, channels, space.background or "white", dtype)
    if space.resize is None or space.bounds is None:
        return _scaled(image, space)
    if dtype != space.dtype:
        say(f"{path} has {bits} bits: its black and white are taken as {space.shown_range()}")
        return _scaled(image, space)
    low, high = (int(bound.flat[0]) for bound in space.bounds)
    found = image[:3].min(), image[:3].max()
    if found[0] < low or found[1] > high:
        say(f"{path} holds {found[0]} to {found[1]}, in training it was {low} to {high}: cut off there")
    image[:3] = np.clip(image[:3], low, high)
    return image


def _as_prepared(
    image: Image, space: Space, sides: tuple[int, ...], channels: int, background: str, dtype: Any = np.uint8
) -> np.ndarray:
    """A picture (channels, *sides) as those of the data were prepared; one of these sides as it is."""
    from ..data.fitting import centered
    from ..data.pictures import picture_array, upright_size

    height, width = sides
    whole = (height, width)
    if space.kept is not None and whole == space.shape[1:] and upright_size(image) != whole:
        whole = space.kept
    form = background, dtype, space.resize or "lanczos", space.fit
    return centered(picture_array(image, whole, channels, *form), sides)


def _scaled(image: np.ndarray, space: Space) -> np.ndarray:
    """All values of a picture's type → those between the samples' bounds, in their type."""
    low, high = space.bounds or (np.array(0.0), np.array(255.0))
    if len(image) != space.channels and np.ndim(low):  # what is known may have fewer channels, such as gray
        low, high = low.mean(axis=0, keepdims=True), high.mean(axis=0, keepdims=True)
    values = low + image / np.iinfo(image.dtype).max * (high - low)
    return (np.rint(values) if space.is_whole else values).astype(space.dtype)
