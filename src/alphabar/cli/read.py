"""Pictures that a person gives, as samples of a model's kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..data import DataSpec

HALVES = ("left", "right", "top", "bottom")


def read_sample(path: str, spec: DataSpec, noisy: bool = False) -> np.ndarray:
    """One sample in the model's shape: in data space, or x_t in model space if it is noisy.

    A picture of another size is resized and cut, as in training, and that is said.
    """
    from .console import say

    array = _array(path)
    if array is not None:
        return _checked(path, array, spec, spec.shape, noisy)
    channels, height, width = spec.shape
    image = _values(_picture(path, spec, (height, width), channels), spec)
    found = _size(path)
    if found != (height, width):
        say(f"{path} is {found[1]} × {found[0]}: resized and cut to {width} × {height}, as in training")
    return spec.to_model(image) if noisy else image


def read_measured(path: str, spec: DataSpec, shape: tuple[int, ...]) -> np.ndarray:
    """What was measured of a sample, (c, h, w) in data space: its size must be right."""
    array = _array(path)
    if array is not None:
        return _checked(path, array, spec, shape, False)
    channels, height, width = shape
    image = _values(_picture(path, spec, (height, width), channels), spec)
    found = _size(path)
    if found != (height, width):
        raise ValueError(
            f"{path} is {found[1]} × {found[0]}, and what this model can restore is {width} × {height}; "
            "for a whole picture, to be degraded first, add --whole"
        )
    return image


def read_mask(mask: str, spec: DataSpec) -> np.ndarray:
    """(1, H, W), true where the picture is known: black in the mask; white is to be filled.

    Or one of left, right, top and bottom: the half to fill.
    """
    import numpy as np

    _, height, width = spec.shape
    if mask in HALVES:
        known = np.ones((1, height, width), dtype=bool)
        rows = {"top": slice(0, height // 2), "bottom": slice(height // 2, None)}.get(mask, slice(None))
        columns = {"left": slice(0, width // 2), "right": slice(width // 2, None)}.get(mask, slice(None))
        known[:, rows, columns] = False
        return known
    if not Path(mask).is_file():
        raise FileNotFoundError(f"no such file: {mask} (a mask is a picture, .npy, or {', '.join(HALVES)})")
    array = _array(mask)
    if array is None:
        from ..data.pictures import open_picture

        array = open_picture(mask, (height, width), 1, "black")[0] > 127
        found = _size(mask)
        if found != (height, width):
            raise ValueError(
                f"the mask {mask} is {found[1]} × {found[0]}, and the model's pictures are {width} × {height}"
            )
    if array.shape not in ((height, width), (1, height, width)):
        raise ValueError(f"the mask {mask} must have the shape {(height, width)}, got {array.shape}")
    fill = array.reshape(1, height, width).astype(bool)
    if fill.all() or not fill.any():
        raise ValueError(f"the mask {mask} is all {'white' if fill.all() else 'black'}: white is filled")
    return ~fill


def _array(path: str) -> np.ndarray | None:
    """The array of a .npy file; None for another file that exists."""
    import numpy as np

    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.lower().endswith(".npy"):
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged or no .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        found = array.dtype if isinstance(array, np.ndarray) else "several arrays"
        raise ValueError(f"{path} must hold the numbers of one sample, got {found}")
    return array


def _checked(path: str, array: np.ndarray, spec: DataSpec, shape: tuple[int, ...], noisy: bool) -> np.ndarray:
    """An array in the user's own layout → (C, H, W); one of noise is (C, H, W) already."""
    import numpy as np

    layout = "CHW" if noisy or shape[0] != spec.shape[0] else spec.layout
    blank = np.empty(shape, bool)
    wanted = blank.shape if layout == "CHW" else spec.to_layout(blank).shape
    if array.shape != wanted:
        raise ValueError(
            f"{path} must hold the numbers of one sample, of shape {wanted}, got {array.dtype} {array.shape}"
        )
    if layout == "CHW":
        return array
    return array[None] if layout == "HW" else np.moveaxis(array, -1, 0)


def _size(path: str) -> tuple[int, int]:
    from PIL import Image

    from ..data.pictures import upright_size

    with Image.open(path) as header:
        return upright_size(header)


def _picture(path: str, spec: DataSpec, size: tuple[int, int], channels: int) -> np.ndarray:
    from ..data.pictures import open_picture

    if channels not in (1, 3, 4):
        raise ValueError(f"this model's samples have {channels} channels; give one as .npy")
    return open_picture(path, size, channels, spec.background or "white")


def _values(image: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Bytes → the data's own type and range."""
    import numpy as np

    if spec.dtype == "uint8" and (spec.low, spec.high) == (0, 255):
        return image
    low, high = (0.0, 255.0) if spec.low is None or spec.high is None else (spec.low, spec.high)
    values = low + image / 255 * (high - low)
    return (np.rint(values) if np.dtype(spec.dtype).kind in "iu" else values).astype(spec.dtype)
