"""What DATA names: folders and archives of pictures or sound, arrays, tables, data sets, the digits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import some
from ...files import expanded, missing
from ..config import DataConfig
from .archives import shards, tarred, zipped
from .arrays import digits, npy, npz
from .folders import OWN_LISTS, Files, folder, is_picture, pictures_of
from .given import given, is_pictures
from .grid_files import FILES as GRIDS
from .grid_files import ZARR
from .grids import grid_file
from .hub import hugging_face
from .label_files import stamp_of_labels
from .parquet_pictures import parquet_pictures, picture_columns
from .pictures import PICTURE_ENDINGS
from .recordings import is_sound, recordings
from .sample_files import sample_files, volume_file
from .source_types import Arrays, Pictures, stamp
from .tables import TABLES, table_file
from .tiff_files import scene
from .volume_files import NIFTI, TIFF

PARQUET = ".parquet"
DIGITS, HUB = "digits", "hf:"
ACCEPTED = (
    "a folder, .zip or .tar of pictures or of sound (.wav, .flac), an .npy or .npz file, NetCDF, HDF5 or "
    "Zarr (FILE.nc:NAME,NAME), a GeoTIFF or a folder of them, a table (.csv, .tsv, .parquet), hf:NAME for a "
    "Hugging Face data set, or digits"
)
FILES: dict[str, Callable[[Path, str, DataConfig], Pictures | Arrays]] = {
    ".npy": lambda path, key, config: npy(path, config.layout),
    ".npz": lambda path, key, config: npz(path, key, config),
    ".zip": lambda path, key, config: _of(zipped(path, config), config),
    ".tar": lambda path, key, config: _of(tarred(path, config), config),
    **dict.fromkeys(NIFTI, lambda path, key, config: volume_file(path, config)),
    **dict.fromkeys(GRIDS, lambda path, key, config: grid_file(path, key, config.layout)),
    **dict.fromkeys(TIFF, lambda path, key, config: scene(path, config)),
    **dict.fromkeys(TABLES, lambda path, key, config: table_file(path, config)),
    PARQUET: lambda path, key, config: _parquet([path], config),
}
"""Files that can be read, by their ending: (path, name within it, settings) → source."""
ARCHIVES = {".zip", ".tar"}
ARRAYS = FILES.keys() - ARCHIVES
NAMED = (".npz", *GRIDS)
"""Endings of files in which arrays have names."""


def open_source(data: Any, config: DataConfig | None = None) -> Pictures | Arrays:
    """The source that DATA names.

    DATA is a folder, a .zip of one, an .npy or .npz file (FILE.npz:IMAGES,LABELS for arrays of it), NetCDF or
    HDF5 (FILE.nc:NAME,NAME), a TIFF, a folder of .npy, NIfTI or TIFFs of numbers, `hf:NAME`
    or `hf:PATH` (with `@SPLIT` if not "train", and `:PICTURES,LABELS` for columns of it), `digits`, or what
    `given` takes.
    """
    config = config or DataConfig()
    if not isinstance(data, (str, os.PathLike)):
        _no_folders("data given from Python", config, "give its labels as (samples, labels)")
        return given(data, config)
    text = str(data)
    if text.startswith(HUB):
        _no_folders(text, config, "its classes are its column of labels")
        return hugging_face(text.removeprefix(HUB), config)
    if text == DIGITS and _is_builtin():
        _no_folders(text, config, "its classes are the digits")
        if config.layout != "auto":
            raise ValueError(f"digits are pictures of 28 × 28: layout {config.layout} means nothing for them")
        return digits(config.classes)
    path, key = _path(text)
    if text and path.is_dir() and _ending(path) != ZARR:
        return _folder(path, config)
    if not path.exists():
        raise missing(text, more=ACCEPTED)
    if not path.is_file() and _ending(path) != ZARR:
        raise ValueError(f"{text} is a pipe, socket or device: data is {ACCEPTED}")
    ending = _ending(path)
    if ending not in FILES:
        raise ValueError(f"{text} is neither a folder nor one of {', '.join(sorted(FILES))}; {_hint(ending)}")
    if ending not in ARCHIVES:
        _no_folders(text, config, "labels are found in an .npz, by name")
    return FILES[ending](path, key, config)


def identity_of(data: Any, config: DataConfig) -> Any:
    """The identity of a .tar, or of a folder of them, which says itself whether it has changed, without a
    look at what is in it; None for other DATA.
    """
    path, _ = _path(str(data))
    if config.pairs is not None or not path.exists() or str(data) == DIGITS:
        return None
    tars = _alone(path, ".tar") if path.is_dir() else [path] * (_ending(path) == ".tar")
    return [[stamp(tar) for tar in tars], stamp_of_labels(config.labels)] if tars else None


def _alone(path: Path, ending: str) -> list[Path]:
    """The files of a folder with this ending; none if there are pictures or other folders."""
    found = sorted(name for name in os.listdir(path) if not name.startswith("."))
    if any(is_picture(name) or (path / name).is_dir() for name in found):
        return []
    return [path / name for name in found if name.lower().endswith(ending) and (path / name).is_file()]


def _folder(path: Path, config: DataConfig) -> Pictures | Arrays:
    """A folder of pictures, of .tar or Parquet files of them, of sound, or of arrays, a sample each."""
    if (each := sample_files(path, config)) is not None:
        _no_folders(str(path), config, "files that are a sample each have no classes")
        return each
    tars, tables = _alone(path, ".tar"), _alone(path, PARQUET)
    if not (tars or tables):
        return _of(folder(path), config)
    if tars and tables:
        names, others = ([file.name for file in some_files] for some_files in (tars, tables))
        raise ValueError(
            f"{path} holds {some(names)} and {some(others)}: give one of them, or a folder of one kind"
        )
    return _of(shards(path, [tar.name for tar in tars]), config) if tars else _parquet(tables, config)


def _of(found: Files, config: DataConfig) -> Pictures | Arrays:
    """The sounds among files if there are more of them than pictures, else the pictures."""
    return (recordings if is_sound(found.names) else pictures_of)(found, config)


def _parquet(paths: list[Path], config: DataConfig) -> Pictures | Arrays:
    """Pictures, if a column holds some; else a table."""
    if picture_columns(paths[0]):
        return parquet_pictures(paths, config)
    if len(paths) > 1:
        raise ValueError(f"tables are read one by one: give one of {some([str(path) for path in paths])}")
    return table_file(paths[0], config)


def is_array(data: Any) -> bool:
    """Whether DATA is samples that are taken as they are, rather than pictures to be resized."""
    if not isinstance(data, (str, os.PathLike)):
        return not is_pictures(data)
    text = str(data)
    if text == DIGITS or text.startswith(HUB):
        return text == DIGITS
    path, _ = _path(text)
    if path.is_dir() and _ending(path) != ZARR:
        return sample_files(path, DataConfig()) is not None
    ending = _ending(path)
    return ending in ARRAYS and not (ending == PARQUET and path.is_file() and picture_columns(path))


def _ending(path: Path) -> str:
    """`.npy`, and of names such as a.nii.gz the two that belong together."""
    name = path.name.lower()
    return next((ending for ending in NIFTI if name.endswith(ending)), path.suffix.lower())


def _path(text: str) -> tuple[Path, str]:
    """FILE.npz:NAMES, or of another of `NAMED`, → (FILE.npz, NAMES); any other text is a path."""
    before, colon, key = text.rpartition(":")
    if colon and before.lower().endswith(NAMED) and not expanded(text).exists():
        return expanded(before), key
    return expanded(text), ""


def _is_builtin() -> bool:
    """Whether `digits` means the built-in data: not beside a folder of that name, unless that is a run."""
    local = Path(DIGITS)
    if not local.exists() or any((local / name).exists() for name in OWN_LISTS):
        return True
    raise ValueError(
        f"{DIGITS} is the name of the built-in data and of something in this folder: for that, give "
        f"./{DIGITS}; for the built-in data, rename it or work in another folder"
    )


def _no_folders(what: str, config: DataConfig, instead: str) -> None:
    if config.classes == "folders":
        raise ValueError(f"{what} has no sub-folders; {instead}")


def _hint(ending: str) -> str:
    if ending in PICTURE_ENDINGS:
        return "for one picture, give the folder that holds it"
    return (
        "what is read otherwise can be given as numbers: numpy.save('data.npy', array), or "
        "alphabar.prepare(array) in Python, with an array of shape (N, …), samples first"
    )
