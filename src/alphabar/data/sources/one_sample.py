"""One sample in a file of its own, in the forms that data of its kind come in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import some
from ...files import expanded
from .arrays import arrays_of
from .grid_files import FILES
from .table_rows import place_of
from .tables import TABLES
from .tiff_files import tiff
from .volume_files import NIFTI, TIFF, read_nifti, read_tiff

if TYPE_CHECKING:
    from ..space import Space


SEVERAL = (*TABLES, *FILES, ".npy", ".npz")
"""Endings of files of several samples."""
NAMED = re.compile(rf"(?P<path>.*?({'|'.join(map(re.escape, SEVERAL))})):(?P<which>.+)", re.I | re.S)


def one_of(text: str) -> tuple[Path, str]:
    """FILE.csv:ROW, FILE.nc:NUMBER, FILE.csv:ID of a series → (FILE.csv, ROW); ("" unless one is named).

    A file of that whole name is taken as it is.

    >>> one_of("data.csv:12"), one_of("data.csv")
    ((PosixPath('data.csv'), '12'), (PosixPath('data.csv'), ''))
    """
    found = NAMED.fullmatch(text)
    if found is None or expanded(text).exists():
        return Path(text), ""
    return Path(found["path"]), found["which"]


def number_of(count: int, which: str, path: Path) -> int:
    """Which one of a file's samples is meant; ValueError if that isn't plain."""
    return place_of(list(map(str, range(count))), which, path, "samples")


def one_sample(path: Path, space: Space, which: str = "") -> np.ndarray | None:
    """(C, *sides) of a NIfTI, a TIFF of what were such ones, NetCDF, HDF5 or Zarr; None of other files.

    Args:
        path: of the file.
        space: of the model's samples.
        which: the number of the sample, from 0, in a file of several; ValueError if it is needed.

    That of an .npz is in the layout of the user's own arrays.
    """
    name = path.name.lower()
    if name.endswith(NIFTI):
        return read_nifti(path).read()
    if name.endswith(TIFF) and space.grid.get("file") == TIFF[0]:
        return (read_tiff if len(space.shape) == 4 else tiff)(path).read()
    if name.endswith(".npz"):
        return _of_arrays(path, space, which)
    return _of_variables(path, space, which) if path.suffix.lower() in FILES else None


def _of_arrays(path: Path, space: Space, which: str) -> np.ndarray:
    """The sample of that number in the only array of an .npz that holds samples of this shape."""
    arrays = arrays_of(path)
    shape = space.to_layout(np.empty((1, *space.shape), bool)).shape[1:]
    found = [array for array in arrays.values() if array.shape[1:] == shape]
    if len(found) != 1:
        listing = some([f"{name} {array.shape}" for name, array in arrays.items()], 20) or "none"
        raise ValueError(
            f"one array of {path} must hold samples of shape {shape}, {len(found)} do; it has {listing}"
        )
    at = number_of(found[0].shape[0], which, path)
    for block in found[0].rows().blocks():
        if at < len(block):
            return block[at]
        at -= len(block)
    raise AssertionError


def _of_variables(path: Path, space: Space, which: str) -> np.ndarray:
    """The variables that the model's channels are called by, along an axis of samples, or without it."""
    with FILES[path.suffix.lower()].open(path) as variables:
        names = list(space.names) or [name for name, v in variables.items() if len(v.shape) > 1]
        if (lost := [name for name in names if name not in variables]) or not names:
            raise ValueError(
                f"{path} has no variable {some(lost) or 'with sides'}; it has {some(list(variables), 20)}"
            )
        found = []
        for name in names:
            shape, read = variables[name].shape, variables[name].read
            several = len(shape) == len(space.shape) or not space.names
            at = number_of(shape[0] if several else 1, which, path)
            found.append(read(at, at + 1)[0] if several else read(0, shape[0]))
    return np.stack(found) if space.names else found[0]
