"""Pictures, sounds and arrays that a person gives, read as samples of a model's space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import missing

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.space import Space
    from ..model import Denoiser

SOUNDS = {".wav", ".flac"}


def read_sample(path: str, space: Space, known: np.ndarray | None = None) -> np.ndarray:
    """One sample of the model's shape, in data space. A picture of another size is resized, with a notice.

    Of a table FILE.csv:ROW names a row, FILE.csv:ID a series; FILE.nc:NUMBER and FILE.npy:NUMBER name one of
    several samples. What isn't `known`, if that is given, may be empty.
    """
    from ..data.sources.one_sample import one_of
    from ..data.sources.table_rows import is_table, read_row
    from .console import say

    file, which = one_of(path)
    if is_table(file) and (space.columns or space.timeline.order):
        if not file.is_file():
            raise missing(file, "file")
        return (
            read_row(file, space, known, which, say) if space.columns else _series(file, space, known, which)
        )
    if (array := _own_array(path, space)) is not None:
        return _checked(path, array, space, space.shape)
    if Path(path).suffix.lower() in SOUNDS:
        return _sound(path, space)
    if space.columns:
        return read_row(file, space, known, say=say)
    channels, *sides = space.shape
    from ..data.sources.headers import BROUGHT

    image = _picture(path, space, tuple(sides), channels)
    found = size_of(path)
    if found != tuple(sides):
        height, width = sides
        brought = "of which the center is cut out" if space.kept else BROUGHT[space.fit]
        say(f"{path} is {found[1]} × {found[0]}: {brought} {width} × {height}, as in training")
    return image


def model_of(denoiser: Denoiser, path: str) -> Denoiser:
    """The model for the sample in a file: of whole ones where it is of their crops, unless it is a crop."""
    from ..model.whole import of_crops, of_sides

    if denoiser.whole is None:
        return denoiser
    space = denoiser.space
    try:
        array = _own_array(path, space)
    except ValueError:  # said again where it is read
        array = None
    crop = space.to_layout(np.empty(space.shape, bool)).shape
    is_crop = array is not None and array.shape in (crop, space.shape)
    return of_crops(denoiser) if is_crop else of_sides(denoiser, denoiser.whole)


def read_noisy(path: str, space: Space) -> np.ndarray:
    """One x_t of the model's shape, in model space: an array, as `edit vary` writes one."""
    array = array_of(path)
    if array is None:
        raise ValueError(f"a noisy sample is an array in model space: give an .npy file, got {path}")
    if array.shape != space.shape:
        raise _wrong_shape(path, array, space.shape)
    return array


def read_observation(path: str, space: Space, shape: tuple[int, ...]) -> np.ndarray:
    """What is known of a sample, of this shape in data space; ValueError for a picture of another size."""
    if (array := _own_array(path, space)) is not None:
        return _checked(path, array, space, shape)
    channels, *sides = shape
    image = _picture(path, space, tuple(sides), channels)
    found = size_of(path)
    if found != tuple(sides):
        height, width = sides
        raise ValueError(
            f"{path} is {found[1]} × {found[0]}, and what this model can restore is {width} × {height}; "
            "for a whole picture, to be degraded first, add --whole"
        )
    return image


def _own_array(path: str, space: Space) -> np.ndarray | None:
    """The numbers in an .npy file, or in one of the form that the data had; None for pictures, say."""
    from ..data.sources.one_sample import number_of, one_of, one_sample

    file, which = one_of(path)
    if file.exists() and (own := one_sample(file, space, which)) is not None:
        return own
    array = array_of(str(file))
    return array if array is None or not which else array[number_of(len(array), which, file)]


def array_of(path: str) -> np.ndarray | None:
    """The array of an .npy file; None for any other file that exists."""
    if not Path(path).is_file():
        raise missing(path, "file")
    if not path.lower().endswith(".npy"):
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or not an .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        found = array.dtype if isinstance(array, np.ndarray) else "several arrays"
        raise ValueError(f"{path} must hold numbers, got {found}")
    return array


def _sound(path: str, space: Space) -> np.ndarray:
    """The beginning of a sound file."""
    from ..data.sources.sound import read_sound

    return _beginning(path, space, *read_sound(path, space))


def _series(path: Path, space: Space, known: np.ndarray | None, which: str) -> np.ndarray:
    """The beginning of a series in a table."""
    from ..data.sources.table_rows import read_series

    return _beginning(path, space, *read_series(path, space, known, which))


def _beginning(path: str | Path, space: Space, series: np.ndarray, length: int) -> np.ndarray:
    """The part of a series of this length that counts, with a notice if that isn't all of it."""
    from .console import say

    if length > space.shape[1]:
        say(f"{path} is longer than a sample: of it the first {space.timeline.lasting(space.shape[1])} count")
    return series


def _checked(path: str, array: np.ndarray, space: Space, shape: tuple[int, ...]) -> np.ndarray:
    """An array in the user's own layout → (C, *sides)."""
    own = shape[0] == space.channels
    wanted = space.to_layout(np.empty(shape, bool)).shape if own else shape
    if array.shape != wanted:
        several = f"; of several name one, as {path}:0" * (array.shape[1:] == wanted)
        raise ValueError(f"{_wrong_shape(path, array, wanted)}{several}")
    return space.from_layout(array) if own else array


def _wrong_shape(path: str, array: np.ndarray, wanted: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{path} must hold the numbers of one sample, of shape {wanted}, got {array.dtype} {array.shape}"
    )


def size_of(path: str) -> tuple[int, int]:
    """(H, W) of a picture."""
    from ..data.sources.pictures import file_opened, upright_size

    with file_opened(path) as header:
        return upright_size(header)


def sides_of(space: Space, path: str) -> tuple[int, int]:
    """(H, W) of the model's samples; ValueError if they are no pictures, and the file is one."""
    if len(space.shape) != 3:
        raise ValueError(
            f"{path} is a picture, and this model's samples are {space.shown_shape()}: give an .npy file"
            + " or a .wav" * bool(space.timeline.depth)
            + f" or a {space.grid.get('file')}" * ("file" in space.grid)
        )
    return space.shape[1], space.shape[2]


def _picture(path: str, space: Space, sides: tuple[int, ...], channels: int) -> np.ndarray:
    """A picture in the samples' own type and range.

    Where samples were pictures of as many bits, that is its own values; else black and white become the
    least and the greatest value, as where samples are shown.
    """
    from ..data.sources.pictures import PICTURE_ENDINGS, file_opened, is_deep
    from .console import say

    if Path(path).suffix.lower() not in PICTURE_ENDINGS:
        raise ValueError(
            f"{path} is no picture: give a sample {space.shown_shape()} as an .npy file, by numpy.save"
        )
    sides_of(space, path)
    if channels not in (1, 3, 4):
        raise ValueError(
            f"this model's samples have {channels} channels: give one, {space.shown_shape()}, as an .npy file"
        )
    with file_opened(path) as image:
        bits, dtype = (16, "uint16") if is_deep(image) else (8, "uint8")
        image = as_prepared(image, space, sides, channels, space.background or "white", dtype)
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


def as_prepared(
    image: Image, space: Space, sides: tuple[int, ...], channels: int, background: str, dtype: Any = np.uint8
) -> np.ndarray:
    """A picture (channels, *sides) as those of the data were prepared; one of these sides as it is."""
    from ..data.sources.fitting import centered
    from ..data.sources.pictures import picture_array, upright_size

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
