"""Pictures of any shape → the size of the samples."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from PIL import Image

from ...errors import unknown
from ..config import Fit, Resize

Box = tuple[float, float, float, float]


def placed(
    own: tuple[int, int], size: tuple[int, int], how: str, copy: bool = False
) -> tuple[Box, tuple[int, int]]:
    """Which part of a picture is used, (left, top, right, bottom), and the size (H, W) that it gets.

    Args:
        own: (H, W) of the picture.
        size: (H, W) of the samples.
        how: `crop`: the largest part of the proportions of `size`, at the center; `pad`: all of it, as large
            as `size` allows; `stretch`: all of it, without its proportions.
        copy: whether pixels are copied and not averaged: the part begins at a whole one.
    """
    height, width = size
    ratios = own[0] / height, own[1] / width
    whole: Box = (0, 0, own[1], own[0])
    if how == "stretch":
        return whole, size
    if how == "pad":
        scale = max(ratios)
        return whole, (max(1, round(own[0] / scale)), max(1, round(own[1] / scale)))
    scale = min(ratios)
    left, top = (own[1] - scale * width) / 2, (own[0] - scale * height) / 2
    if scale == 1 or copy:
        left, top = int(left), int(top)
    right, bottom = min(left + scale * width, own[1]), min(top + scale * height, own[0])
    return (max(left, 0), max(top, 0), right, bottom), size


def factors(own: tuple[int, int], size: tuple[int, int], how: str) -> tuple[float, ...]:
    """By which factors the sides of a picture grow: one, or two where proportions are lost."""
    both = size[0] / own[0], size[1] / own[1]
    return both if how == "stretch" else (min(both) if how == "pad" else max(both),)


def is_copy(box: Box, size: tuple[int, int]) -> bool:
    """Whether a part has the size that it gets: its pixels stay as they are."""
    return (box[3] - box[1], box[2] - box[0]) == size


def fit(image: Image.Image, size: tuple[int, int], method: Image.Resampling, how: str) -> Image.Image:
    """The part of a picture that `placed` says, at the size that it gets."""
    box, (height, width) = placed((image.height, image.width), size, how, method == Image.Resampling.NEAREST)
    if is_copy(box, (height, width)):
        left, top, right, bottom = map(int, box)
        return image.crop((left, top, right, bottom))
    return image.resize((width, height), method, box)


def padded(array: np.ndarray, size: tuple[int, int], fill: Any) -> np.ndarray:
    """(h, w, C) in the middle of (*size, C) that is `fill`, C numbers, elsewhere."""
    if array.shape[:2] == size:
        return array
    whole = np.empty((*size, array.shape[2]), array.dtype)
    whole[:] = fill
    top, left = ((side - own) // 2 for side, own in zip(size, array.shape, strict=False))
    whole[top : top + array.shape[0], left : left + array.shape[1]] = array
    return whole


def centered(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(…, H', W') → their center (…, H, W), a view."""
    top, left = ((side - own) // 2 for side, own in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def check_fitting(resize: Any, fit: Any, kept: Any, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """`kept` as a tuple; ValueError unless these are fields of a `Space` of samples of this shape."""
    for what, given, known in (("resize", resize, Resize), ("fit", fit, Fit)):
        if given is not None and given not in get_args(known):
            raise unknown(f"way to {what}", str(given), get_args(known))
    if kept is None:
        return None
    height, width = map(int, kept) if len(kept) == 2 else (0, 0)
    if len(shape) != 3 or height < shape[1] or width < shape[2]:
        raise ValueError(f"kept must be sides larger than those of samples of {shape}, got {kept}")
    return height, width
