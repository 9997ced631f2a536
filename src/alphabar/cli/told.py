"""What samples are told, as the command line has it: --class, --cond and --cond-from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import brief
from .flags import flags_of
from .settings import in_flags

if TYPE_CHECKING:
    from ..data.conditions.picture import Grid, PictureCondition
    from ..model import Denoiser
    from ..sampling.config import SampleConfig

NAMES_OF_FILES = ("file", "file_name", "filename", "image", "path", "row")
OF_A_FOLDER = "\0"
"""The name that the files in a folder go by until it is known what the model's pictures are called."""


def config_of(how: Mapping[str, Any], denoiser: Denoiser | None = None) -> SampleConfig:
    """The settings of sampling, from the options given; files of what is told are read for a model."""
    from ..sampling.config import SampleConfig

    own = ("class_name", "cond", "cond_from", "device")
    fields = {name: value for name, value in how.items() if name not in own}
    told: dict[str, Any] = dict(told_of(how))
    if "class" in told and denoiser is not None and "class" not in denoiser.conditions:
        classes = [name for name, condition in denoiser.conditions.items() if condition.kind == "class"]
        if len(classes) == 1 and classes[0] not in told:
            told[classes[0]] = told.pop("class")
    for name, values in (_columns_told(how["cond_from"], denoiser) if "cond_from" in how else {}).items():
        if name in told:
            raise ValueError(f"{name} is told twice, {told[name]!r} and by {how['cond_from']}: tell it once")
        told[name] = values
    if denoiser is not None:
        told = read_files(told, denoiser)
    try:
        return SampleConfig.of(None, {**fields, "cond": told} if told else fields)
    except ValueError as error:
        raise in_flags(error, flags_of(SampleConfig)) from None


def _columns_told(file: str, denoiser: Denoiser | None) -> dict[str, list[Any]]:
    """The columns of a table, but those that are samples' own or name files: these are said to be left."""
    from ..errors import some
    from .console import say

    columns = told_from(file)
    if denoiser is None or not columns.keys() & denoiser.conditions.keys():
        return columns
    own = {*denoiser.space.names, *NAMES_OF_FILES} - denoiser.conditions.keys()
    if others := [name for name in columns if name in own]:
        say(f"not used of {file}, the model is told {', '.join(denoiser.conditions)}: {some(others)}")
    return {name: values for name, values in columns.items() if name not in own}


def told_of(how: Mapping[str, Any]) -> dict[str, str]:
    """The values of conditions as they were typed, by name: --class 7 and --cond NAME=VALUE."""
    words = {"class": how["class_name"]} if "class_name" in how else {}
    for pair in how.get("cond", []):
        name, equals, value = pair.partition("=")
        if not (equals and name):
            raise ValueError(f"--cond takes NAME=VALUE, such as class=7, got {brief(pair)}")
        if name in words:
            raise ValueError(f"{name} is told twice, {words[name]!r} and {value!r}: tell it once")
        words[name] = value
    return words


def told_from(file: str) -> dict[str, list[Any]]:
    """The values of conditions in a table, by its columns; None for an empty cell, which is not told.

    Of a folder its files, in the order of their names, by the name `OF_A_FOLDER`.
    """
    from ..data.sources.label_files import LABEL_FILES, read_sheet
    from ..files import expanded, missing

    path = expanded(file)
    if path.is_dir():
        return {OF_A_FOLDER: _files_in(path)}
    if not path.exists():
        raise missing(path, "table or folder")
    if not path.name.lower().endswith(LABEL_FILES) or not path.is_file():
        raise ValueError(
            f"--cond-from takes a table ({', '.join(LABEL_FILES)}) or a folder of pictures, got {file}"
        )
    sheet = read_sheet(path.read_bytes(), file, lambda text: False, empty_rows=True)
    if not sheet.rows:
        raise ValueError(f"{file} has no rows: give one for each sample, below the names of conditions")
    columns = zip(sheet.columns, zip(*sheet.rows, strict=True), strict=True)
    return {name: [_cell(cell) for cell in cells] for name, cells in columns}


def _cell(cell: Any) -> Any:
    """A cell as a condition reads it: lists of texts as one, nothing as None."""
    if isinstance(cell, list) and all(isinstance(part, str) for part in cell):
        return ";".join(cell)
    return None if cell == "" else cell


def _files_in(folder: Path) -> list[Any]:
    """The files in a folder that are not hidden, sorted; ValueError for an empty one."""
    found = sorted(str(path) for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    if not found:
        raise ValueError(f"{folder} holds no files: --cond-from takes a folder of pictures, a sample each")
    return list(found)


def read_files(told: Mapping[str, Any], denoiser: Denoiser) -> dict[str, Any]:
    """What is told, with pictures and arrays in place of their files: grids, and .npy of vectors."""
    from ..data.conditions.picture import PictureCondition
    from ..data.conditions.vector import VectorCondition

    grids = {name: c for name, c in denoiser.conditions.items() if isinstance(c, PictureCondition)}
    found = dict(told)
    if OF_A_FOLDER in found:
        files = found.pop(OF_A_FOLDER)
        left = [name for name in grids if name not in found]
        if len(left) != 1:
            what = f"several ({', '.join(left)}): give a table of their files" if left else "none"
            raise ValueError(f"--cond-from FOLDER tells a picture, and this model is left to be told {what}")
        found[left[0]] = files
    read: dict[str, Any] = {name: partial(_read_grid, condition=c) for name, c in grids.items()}
    read |= {name: _read_vector for name, c in denoiser.conditions.items() if isinstance(c, VectorCondition)}
    for name in found.keys() & read.keys():
        given = found[name]
        several = isinstance(given, list)
        found[name] = [each and read[name](each) for each in given] if several else read[name](given)
    return found


def _read_vector(given: Any) -> Any:
    """The numbers in an .npy file, (K,) or a row for each sample; anything else as it is."""
    from .read import array_of

    return array_of(given) if isinstance(given, str) and given.lower().endswith(".npy") else given


def _read_grid(file: str, condition: PictureCondition) -> Grid | None:
    """A picture or an array of the form that was told in training; None for `none`."""
    from ..data.conditions.base import NOT_TOLD
    from ..data.conditions.picture import Grid
    from ..data.space import Space
    from .read import read_sample

    if file == NOT_TOLD:
        return None
    return Grid(read_sample(file, Space(**condition.space)), Path(file).name)
