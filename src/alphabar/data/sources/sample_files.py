"""Folders of files that are a sample each: arrays (.npy), volumes (NIfTI, TIFF, DICOM), TIFFs of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataConfig
from .dicom import dicom_series
from .folders import OWN_LISTS
from .grid_files import NPY
from .layouts import arranged
from .pictures import PICTURE_ENDINGS
from .source_types import Arrays, Rows, Samples, block_size, files, stamp
from .tiff_files import is_numbers, tiff, tiff_samples
from .volume_files import NIFTI, TIFF, One, read_nifti, read_tiff

SAME = 1e-4
"""Affines that differ by less are one grid; in the units of the file, mm as a rule."""

Each = dict[str, Callable[[], One]]
"""The samples by name."""


def sample_files(path: Path, config: DataConfig) -> Arrays | None:
    """The arrays, volumes or TIFFs of numbers in a folder, by name, one sample each; None of anything else.

    TIFF files are volumes only with the layout `volume`, and else pictures, if they could be.
    """
    found = [file for file in path.iterdir() if not file.name.startswith(".")]
    names = sorted(file.name for file in found)
    if OWN_LISTS & set(names):
        return None
    if (series := dicom_series(path)) is not None:
        notes = [f"{len(series.volumes)} series of DICOM in {path.name}, a sample each", *series.notes]
        return _each(series.volumes, [stamp(file) for file in series.files], notes, config)
    tiffs, stacked = [path / name for name in names if name.lower().endswith(TIFF)], config.layout == "volume"
    others = tuple(PICTURE_ENDINGS - {*TIFF})
    pictures = any(name.lower().endswith(others) for name in names)
    pictures = pictures or bool(tiffs and not stacked and not is_numbers(tiffs[0]))
    if pictures or any(file.is_dir() for file in found):
        return None
    kinds = {
        read_tiff if stacked else tiff: tiffs,
        read_nifti: [path / name for name in names if name.lower().endswith(NIFTI)],
        _npy: [path / name for name in names if name.lower().endswith(".npy")],
    }
    there = {read: chosen for read, chosen in kinds.items() if chosen}
    if not there:
        return None
    if len(there) > 1:
        endings = " and in ".join(chosen[0].suffix for chosen in there.values())
        raise ValueError(f"{path} has files that are samples in {endings}: give a folder of one kind")
    ((read, chosen),) = there.items()
    notes = [f"{files(len(chosen))} of {path.name}, a sample each"]
    if len(chosen) < len(names):
        notes.append(f"{files(len(names) - len(chosen))} beside them are left out")
    return _each(
        {file.name: partial(read, file) for file in chosen}, [stamp(f) for f in chosen], notes, config
    )


def volume_file(path: Path, config: DataConfig) -> Arrays:
    """One NIfTI file, to be cut into crops."""
    return _each({path.name: partial(read_nifti, path)}, [stamp(path)], [], config)


def _each(chosen: Each, identity: Any, notes: list[str], config: DataConfig) -> Arrays:
    def open_files() -> Samples:
        rows, first, grids = _rows(chosen)
        if len(chosen) == 1 and config.crop is None:
            sides = " × ".join(map(str, first.shape[1:] if first.file else first.shape))
            raise ValueError(
                f"{next(iter(chosen))} is one sample of {sides}: train on parts of it by --crop SIDE, or "
                "give a folder of several"
                + "; or, if its first axis is that of samples, the file itself"
                * (not first.file)
            )
        if not first.file:
            found = arranged(rows, config.layout, f"the {len(chosen)} arrays, together")
            return found._replace(notes=[*notes, *found.notes], grid={"file": NPY})
        if len(first.shape) == 3:
            if config.layout != "auto":
                raise ValueError(
                    f"TIFF files are (band, height, width): layout {config.layout} means nothing for them"
                )
            return tiff_samples(rows, grids, list(notes))
        if config.layout not in ("auto", "volume"):
            raise ValueError(f"these files are volumes: layout {config.layout} means nothing for them")
        said = f"volumes of {' × '.join(map(str, rows.shape[2:]))}"
        grid: dict[str, Any] = {"file": first.file}
        if first.affine is not None:
            spacing = " × ".join(f"{side:.3g}" for side in np.sqrt(np.square(first.affine[:3, :3]).sum(0)))
            said += f", {spacing} mm apart"
            grid["affine"] = first.affine.tolist()
        return Samples(rows, "CHW", "volume", [*notes, said], grid=grid)

    return Arrays(identity, open_files, names=list(chosen))


def _rows(chosen: Each) -> tuple[Rows, One, list[Mapping[str, Any]]]:
    """The samples of all files, whose headers are compared at once; the first; what each says beside them."""
    (name, read), *others = chosen.items()
    first = read()
    grids = [first.grid]
    for other_name, read_other in others:
        other = read_other()
        if (other.shape, other.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{other_name} is {other.dtype} {other.shape}, and {name} {first.dtype} {first.shape}: "
                "samples have one shape and type"
            )
        grids.append(other.grid)
        if first.affine is not None and other.affine is not None:
            columns = 3 if first.anywhere else 4
            if not np.allclose(other.affine[:, :columns], first.affine[:, :columns], atol=SAME):
                raise ValueError(
                    f"{other_name} lies on another grid (affine) than {name}: resample all to one"
                )

    def blocks() -> Iterator[np.ndarray]:
        size, makers = block_size(first.shape, first.dtype), list(chosen.values())
        for start in range(0, len(makers), size):
            yield np.stack([make().read() for make in makers[start : start + size]])

    return Rows((len(chosen), *first.shape), first.dtype, blocks), first, grids


def _npy(file: Path) -> One:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file} is damaged or holds no plain array: {error}") from None
    return One(array.shape, array.dtype, None, lambda: np.array(array))
