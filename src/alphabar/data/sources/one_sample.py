"""One sample in a file of its own, in the forms that data of its kind come in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import some
from .grid_files import FILES
from .tiff_files import tiff
from .volume_files import NIFTI, TIFF, read_nifti, read_tiff

if TYPE_CHECKING:
    from ..space import Space


def one_sample(path: Path, space: Space) -> np.ndarray | None:
    """(C, *sides) of a NIfTI, a TIFF of what were such ones, NetCDF, HDF5 or Zarr; None of other files.

    ValueError for a file of several samples.
    """
    name = path.name.lower()
    if name.endswith(NIFTI):
        return read_nifti(path).read()
    if name.endswith(TIFF) and space.grid.get("file") == TIFF[0]:
        return (read_tiff if len(space.shape) == 4 else tiff)(path).read()
    return _of_variables(path, space) if path.suffix.lower() in FILES else None


def _of_variables(path: Path, space: Space) -> np.ndarray:
    """The variables that the model's channels are called by, along an axis of one sample, or without it."""
    with FILES[path.suffix.lower()].open(path) as variables:
        names = list(space.names) or [name for name, v in variables.items() if len(v.shape) > 1]
        if (lost := [name for name in names if name not in variables]) or not names:
            raise ValueError(
                f"{path} has no variable {some(lost) or 'with sides'}; it has {some(list(variables), 20)}"
            )
        found = []
        for name in names:
            values = variables[name].read(0, variables[name].shape[0])
            sides = len(space.shape) - 1 if space.names else values.ndim - 1
            if values.ndim > sides and len(values) > 1:
                raise ValueError(f"{name} of {path} holds {len(values)} samples: give a file of one")
            found.append(values[0] if values.ndim > sides else values)
    return np.stack(found) if space.names else found[0]
