"""Folders of files that are a sample each: arrays (.npy), and volumes as NIfTI."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import needs
from .config import DataConfig
from .folders import OWN_LISTS
from .layouts import arranged
from .pictures import PICTURE_ENDINGS
from .source_types import Arrays, Rows, Samples, block_size, files, stamp

NIFTI = (".nii", ".nii.gz")
SAME = 1e-4
"""Affines that differ by less are one grid; in the units of the file, mm as a rule."""


class One(NamedTuple):
    """One file's sample: its shape, type, affine (of a volume), and its numbers when they are asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray | None
    read: Callable[[], np.ndarray]


def sample_files(path: Path, config: DataConfig) -> Arrays | None:
    """The arrays or volumes in a folder, by name, one sample each; None for a folder of anything else."""
    found = [file for file in path.iterdir() if not file.name.startswith(".")]
    names = sorted(file.name for file in found)
    pictures = any(name.lower().endswith(tuple(PICTURE_ENDINGS)) for name in names)
    if OWN_LISTS & set(names) or pictures or any(file.is_dir() for file in found):
        return None
    arrays = [path / name for name in names if name.lower().endswith(".npy")]
    volumes = [path / name for name in names if name.lower().endswith(NIFTI)]
    if not arrays and not volumes:
        return None
    if arrays and volumes:
        raise ValueError(f"{path} has arrays (.npy) and volumes (.nii): give a folder of one kind")
    chosen, read = (volumes, _nifti) if volumes else (arrays, _npy)
    notes = [f"{files(len(chosen))} of {path.name}, a sample each"]
    if len(chosen) < len(names):
        notes.append(f"{files(len(names) - len(chosen))} beside them are left out")
    return _each(chosen, read, notes, config)


def volume_file(path: Path, config: DataConfig) -> Arrays:
    """One NIfTI file, to be cut into crops."""
    return _each([path], _nifti, [], config)


def _each(chosen: list[Path], read: Callable[[Path], One], notes: list[str], config: DataConfig) -> Arrays:
    def open_files() -> Samples:
        if len(chosen) == 1 and config.crop is None:
            raise ValueError(
                f"{chosen[0].name} is one sample: train on parts of it by --crop SIDE, or give a folder of "
                "several" + "; or, if its first axis is that of samples, the file itself" * (read is _npy)
            )
        rows, affine = _rows(chosen, read)
        if read is _npy:
            found = arranged(rows, config.layout, f"the arrays of {chosen[0].parent}, together")
            return found._replace(notes=[*notes, *found.notes])
        if config.layout not in ("auto", "volume"):
            raise ValueError(f"NIfTI files are volumes: layout {config.layout} means nothing for them")
        assert affine is not None
        spacing = " × ".join(f"{side:.3g}" for side in np.sqrt(np.square(affine[:3, :3]).sum(0)))
        said = f"volumes of {' × '.join(map(str, rows.shape[2:]))}, {spacing} mm apart"
        grid = {"file": ".nii.gz", "affine": affine.tolist()}
        return Samples(rows, "CHW", "volume", [*notes, said], grid=grid)

    return Arrays([stamp(file) for file in chosen], open_files)


def _rows(chosen: list[Path], read: Callable[[Path], One]) -> tuple[Rows, np.ndarray | None]:
    """The samples of all files, whose headers are compared at once; and their affine, if they have one."""
    first = read(chosen[0])
    for file in chosen[1:]:
        other = read(file)
        if (other.shape, other.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{file.name} is {other.dtype} {other.shape}, and {chosen[0].name} {first.dtype} "
                f"{first.shape}: samples have one shape and type"
            )
        if (
            first.affine is not None
            and other.affine is not None
            and not np.allclose(other.affine, first.affine, atol=SAME)
        ):
            raise ValueError(
                f"{file.name} lies on another grid (affine) than {chosen[0].name}: resample all to one"
            )

    def blocks() -> Iterator[np.ndarray]:
        size = block_size(first.shape, first.dtype)
        for start in range(0, len(chosen), size):
            yield np.stack([read(file).read() for file in chosen[start : start + size]])

    return Rows((len(chosen), *first.shape), first.dtype, blocks), first.affine


def _npy(file: Path) -> One:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file} is damaged or holds no plain array: {error}") from None
    return One(array.shape, array.dtype, None, lambda: np.array(array))


def nibabel() -> Any:
    """The package; ValueError that says how to get it."""
    with needs("NIfTI files", "nibabel", "volumes"):
        import nibabel  # pyright: ignore[reportMissingImports]
    return nibabel


def _nifti(file: Path) -> One:
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
    return One(sides, dtype, np.asarray(image.affine, np.float64), read)


def nifti_bytes(volume: np.ndarray, affine: Any) -> bytes:
    """A volume (C, *sides) as the content of a .nii.gz."""
    values = volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, 3)
    if values.dtype == np.int64 or values.dtype == np.float16:
        values = values.astype(np.int32 if values.dtype.kind == "i" else np.float32)
    return gzip.compress(nibabel().Nifti1Image(values, np.asarray(affine)).to_bytes(), 6, mtime=0)
