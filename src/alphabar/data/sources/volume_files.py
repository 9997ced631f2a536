"""Files that are one volume: NIfTI, and TIFF of several pages."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from ...errors import needs
from .pictures import opened

NIFTI, TIFF = (".nii.gz", ".nii"), (".tif", ".tiff")
"""Endings of their files; samples are written with the first."""
MODES = {"L": "uint8", "RGB": "uint8", "I;16": "uint16", "I": "int32", "F": "float32"}
TIFF_TYPES = set(MODES.values())
"""Of the numbers of TIFF files."""


class One(NamedTuple):
    """One sample that is files of its own.

    Attributes:
        shape, dtype: of it.
        affine: (4, 4) from places to millimeters, of a volume that has one.
        read: its numbers.
        file: the ending that samples are written with; "" for plain arrays.
        anywhere: whether each may have an origin of its own.
        grid: what else it says, as of a TIFF its bands and its place.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray | None
    read: Callable[[], np.ndarray]
    file: str = ""
    anywhere: bool = False
    grid: Mapping[str, Any] = MappingProxyType({})


def nibabel() -> Any:
    """The package; ValueError that says how to get it."""
    with needs("NIfTI files", "nibabel", "volumes"):
        import nibabel  # pyright: ignore[reportMissingImports]
    return nibabel


def read_nifti(file: Path) -> One:
    """(C, *sides) of a volume whose fourth axis is channels, if it has one."""
    try:
        image = nibabel().load(file)
    except (OSError, nibabel().filebasedimages.ImageFileError) as error:
        raise ValueError(f"{file} is damaged or no NIfTI: {error}") from None
    if len(image.shape) not in (3, 4):
        raise ValueError(f"{file} has {len(image.shape)} axes: a volume has 3, or 4 with channels last")
    dtype = np.dtype(image.get_data_dtype()).newbyteorder("=")
    if image.header.get_slope_inter() not in ((None, None), (1.0, 0.0)):  # numbers that stand for others
        dtype = np.dtype(np.float32)

    def read() -> np.ndarray:
        values = np.asanyarray(image.dataobj).astype(dtype, copy=False)
        return values[None] if values.ndim == 3 else np.moveaxis(values, 3, 0)

    sides = (*image.shape[3:], *image.shape[:3]) if len(image.shape) == 4 else (1, *image.shape)
    return One(sides, dtype, np.asarray(image.affine, np.float64), read, NIFTI[0])


def nifti_bytes(volume: np.ndarray, affine: Any) -> bytes:
    """A volume (C, *sides) as the content of a .nii.gz."""
    values = volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, 3)
    if values.dtype == np.int64 or values.dtype == np.float16:
        values = values.astype(np.int32 if values.dtype.kind == "i" else np.float32)
    return gzip.compress(nibabel().Nifti1Image(values, np.asarray(affine)).to_bytes(), 6, mtime=0)


def read_tiff(file: Path) -> One:
    """(C, pages, H, W) of a TIFF whose pages are the slices of a volume."""
    try:
        with opened(file) as image:
            pages = [(page.size, page.mode) for page in ImageSequence.Iterator(image)]
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise ValueError(f"{file} is damaged or no TIFF: {error}") from None
    (size, mode), n = pages[0], len(pages)
    odd = next((i for i, page in enumerate(pages) if page != (size, mode)), None)
    if odd is not None:
        raise ValueError(
            f"page {odd + 1} of {file} is {pages[odd][0]} of {pages[odd][1]}, and page 1 {size} of {mode}: "
            "the pages of a volume are alike"
        )
    if mode.startswith("I;16"):
        mode = "I;16"
    if mode not in MODES:
        raise ValueError(f"{file} has pages of the kind {mode}; a volume's are of {', '.join(MODES)}")

    def read() -> np.ndarray:
        with opened(file) as image:
            values = np.stack([np.asarray(page, MODES[mode]) for page in ImageSequence.Iterator(image)])
        return np.moveaxis(values, -1, 0) if mode == "RGB" else values[None]

    channels = 3 if mode == "RGB" else 1
    return One((channels, n, size[1], size[0]), np.dtype(MODES[mode]), None, read, TIFF[0])


def pages_bytes(volume: np.ndarray) -> bytes:
    """A volume (C, D, H, W) as the content of a TIFF, a slice a page."""
    slices = np.moveaxis(volume, 0, -1) if len(volume) == 3 else volume[0]
    first, *rest = (Image.fromarray(np.ascontiguousarray(page)) for page in slices)
    content = io.BytesIO()
    first.save(content, "TIFF", save_all=True, append_images=rest)
    return content.getvalue()
