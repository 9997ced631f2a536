"""Where labels lie beside pictures: a file of names and labels, one within DATA, or a file for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, Protocol

from ...errors import brief, no_column, some
from ...files import expanded, missing, parse_json
from ..config import DataConfig
from .classes import classes_named
from .label_files import (
    LABEL_FILES,
    METADATA,
    Told,
    file_and_columns,
    forms,
    label_of,
    labels_in,
    read_sheet,
    stamp_of_labels,
)
from .source_types import LABEL_NAMES, Labels
from .typed import CLASS, check_kinds, is_class, told_columns

LARGEST_LABEL = 2**20  # bytes of a file that labels one picture
LARGEST_TABLE, MOST_TABLES = 2**24, 8
"""Bytes of a table that is looked at by itself, and how many are."""
BESIDE = (".cls", ".json")
"""Files beside pictures that are looked at by themselves, as WebDataset writes them."""


class Readable(Protocol):
    """What is in a folder or an archive: names, and the first bytes of a file."""

    names: list[str]

    def read(self, name: str, most: int | None = None) -> bytes: ...


@dataclass
class Found:
    """Labels, and where they were found.

    Attributes:
        told: None if there are none.
        where: in words.
        used: files within DATA that hold labels.
        identity: what changes when a file outside of DATA does.
        notes: what was looked at and is not used.
    """

    told: Told | None = None
    where: str = ""
    used: set[str] = field(default_factory=set)
    identity: Any = None
    notes: list[str] = field(default_factory=list)

    def labels(self, pictures: Sequence[str], kinds: Mapping[str, str] | None) -> Labels:
        """The labels of these pictures, which have some."""
        assert self.told is not None
        found = [self.told.labels[name] for name in pictures]
        if self.told.columns:
            return told_columns(
                dict(zip(self.told.columns, zip(*found, strict=True), strict=True)), kinds, self.where
            )
        return classes_named(found, self.where)

    def labeled(self, pictures: list[str], config: DataConfig) -> list[str]:
        """The pictures that have a label; ValueError where others may not be left out."""
        if self.told is None:
            if config.skip_unlabeled:
                raise ValueError(
                    "skip_unlabeled leaves out pictures without a label, and no labels are given: give "
                    "labels, or leave skip_unlabeled out"
                )
            return pictures
        kept = [name for name in pictures if name in self.told.labels]
        without = [name for name in pictures if name not in self.told.labels]
        if without and not config.skip_unlabeled:
            other = "or leave --labels out" if config.labels else "--classes none goes on without classes"
            raise ValueError(
                f"{len(without)} of {len(pictures)} pictures have no label in {self.where}: {some(without)}. "
                f"Add them, or go on without these pictures (--skip-unlabeled, skip_unlabeled=True); {other}"
            )
        if without:
            self.told.notes.append(
                f"left out without a label: {len(without)} of {len(pictures)} pictures, {some(without)}"
            )
        return kept


def find_labels(files: Readable, pictures: list[str], config: DataConfig) -> Found:
    """The labels that are asked for; or else those that are plainly there, unless classes are asked for."""
    given = config.labels
    if given is None:
        if config.conditions:
            raise ValueError("conditions says what columns that are told are, and no labels are given")
        return _plain(files, pictures) if config.classes == "auto" else Found()
    if given.startswith(".") and "/" not in given:
        ending, _, key = given.partition(":")
        return _beside(files, pictures, ending.lower(), key, kinds=config.conditions)
    return _from_file(files, pictures, given, config.conditions)


def _from_file(files: Readable, pictures: list[str], given: str, kinds: Mapping[str, str] | None) -> Found:
    before, columns = file_and_columns(given)
    path = expanded(before)
    if not before.lower().endswith(LABEL_FILES):
        raise ValueError(
            f"labels of pictures are a file of names and classes ({', '.join(LABEL_FILES)}; its columns by "
            f"FILE:NAMES,LABELS), or .ENDING for a file beside each picture, got {brief(given)}"
        )
    inside = not path.is_file() and before in files.names
    if not inside and not path.is_file():
        raise missing(before, "file of labels", "nor one of that name within DATA")
    content = files.read(before) if inside else path.read_bytes()
    told = labels_in(read_sheet(content, before, _namer(pictures)), pictures, before, columns, kinds=kinds)
    return Found(told, before, {before} if inside else set(), stamp_of_labels(given))


def _namer(pictures: Sequence[str]) -> Any:
    known = {form for name in pictures for form in forms(name)}
    return lambda text: bool(set(forms(text)) & known)


# --- columns of the pictures' own table ----------------------------------------------------------


def asked_columns(given: str | None, others: Sequence[str], config: DataConfig) -> list[str]:
    """The columns beside pictures that are told, as asked for: COLUMN,COLUMN, and those of `conditions`."""
    names = [] if given is None else [given] if given in others else [n.strip() for n in given.split(",")]
    kinds = config.conditions or {}
    names = list(dict.fromkeys([*names, *(name for name, kind in kinds.items() if kind != "skip")]))
    if strangers := [name for name in [*names, *kinds] if name not in others]:
        raise no_column(strangers[:1], "beside the pictures", others)
    return names


def told_by_columns(
    column: str,
    others: Sequence[str],
    cells: Mapping[str, Sequence[Any]],
    classes: Collection[str],
    pictures: list[str],
    config: DataConfig,
) -> tuple[list[int], Callable[[Sequence[int]], Labels], list[str]]:
    """(the numbers of the pictures that are kept; what is told of some of these; what to say).

    One column alone of classes is the class, which all pictures must have; others are told by their names.

    Args:
        column: that of the pictures.
        others: all others.
        cells: of those that are told, name → the cell of each picture.
        classes: the columns that are known to hold names of classes.
        pictures: their names.
        config: whether pictures without a class may be left out, and the kinds of other columns.
    """
    kinds = dict.fromkeys(classes, CLASS) | dict(config.conditions or {})
    names, found, what = list(cells), Found(), ""
    where = f"the column{'s' * (len(names) > 1)} {some(names)}"
    if len(names) == 1 and is_class(cells[names[0]], kinds.get(names[0], "")):
        what = f", classes from {names[0]}"
        labels = {p: label_of(cell, p) for p, cell in zip(pictures, cells[names[0]], strict=True)}
        found = Found(Told({p: label for p, label in labels.items() if label is not None}), where)
    elif names:
        if config.skip_unlabeled:
            raise ValueError(
                "skip_unlabeled leaves out pictures without a class; what is missing among several columns, "
                "or numbers, is not told: leave it out"
            )
        what = f", told {some(names, 20)}"
        rows = zip(*cells.values(), strict=True)
        found = Found(Told(dict(zip(pictures, rows, strict=True)), columns=tuple(names)), where)
    place = {name: i for i, name in enumerate(pictures)}
    kept = found.labeled(pictures, config)

    def labels_of(numbers: Sequence[int]) -> Labels:
        if found.told is None:
            return Labels()
        own = {name: kind for name, kind in kinds.items() if name in cells}
        return found.labels([kept[i] for i in numbers], own)

    unused = [name for name in others if name not in cells]
    note = f"pictures from {column}{what}" + (f"; not used: {some(unused)}" if unused else "")
    return [place[name] for name in kept], labels_of, [note, *(found.told.notes if found.told else [])]


# --- what is plainly there -----------------------------------------------------------------------


def _plain(files: Readable, pictures: list[str]) -> Found:
    found = Found(Told())
    for name in sorted(files.names, key=lambda name: name.endswith(METADATA[1])):
        above = name.rpartition("/")[0]
        if name.rpartition("/")[2] in METADATA and above not in {u.rpartition("/")[0] for u in found.used}:
            _add_metadata(found, files, pictures, name, f"{above}/" if above else "")
    if found.used:
        found.where = some(sorted(found.used))
        return found
    for ending in BESIDE:
        if any(name.lower().endswith(ending) for name in files.names):
            beside = _beside(files, pictures, ending, "", plain=True)
            if beside.told is not None:
                return beside
            found.notes += beside.notes
    return Found(notes=[*found.notes, *_tables(files, pictures)])


def _tables(files: Readable, pictures: list[str]) -> list[str]:
    """What to say of tables among the files that name pictures."""
    tables = [name for name in files.names if name.lower().endswith(LABEL_FILES)]
    tables = [name for name in tables if name.rpartition("/")[2] not in METADATA]
    notes: list[str] = []
    if not 0 < len(tables) <= MOST_TABLES:  # more are files of one picture each
        return notes
    is_name = _namer(pictures)
    for name in tables:
        with contextlib.suppress(ValueError):  # it is no table, or names no picture
            sheet = read_sheet(files.read(name, LARGEST_TABLE), name, is_name)
            if (told := labels_in(sheet, pictures, name)) and len(told.labels) > len(pictures) / 2:
                notes.append(f"{name} names these pictures: --labels {quote(name)} tells what stands there")
    return notes


def _add_metadata(found: Found, files: Readable, pictures: list[str], name: str, above: str) -> None:
    inside = [picture.removeprefix(above) for picture in pictures if picture.startswith(above)]
    if not inside or found.told is None:
        return
    try:
        sheet = read_sheet(files.read(name), name, _namer(inside))
        told = labels_in(sheet, inside, name, plain=True)
    except ValueError as error:
        found.notes.append(f"not taken for labels: {error}")
        return
    if told is None:
        found.notes.append(
            f"{name} has no column that is plainly a label ({some(sheet.columns)}): "
            f"--labels {name}:LABEL takes one"
        )
        return
    found.used.add(name)
    found.told.labels |= {above + picture: label for picture, label in told.labels.items()}
    found.told.notes += told.notes


def _beside(
    files: Readable,
    pictures: list[str],
    ending: str,
    key: str,
    plain: bool = False,
    kinds: Mapping[str, str] | None = None,
) -> Found:
    """Labels by a file beside each picture, which has its name and another ending."""
    there, found = set(files.names), Found(Told(), f"files {ending} beside them")
    assert found.told is not None
    values: dict[str, Any] = {}
    for picture in pictures:
        folder, slash, name = picture.rpartition("/")
        stems = dict.fromkeys((name.rpartition(".")[0], name.partition(".")[0]))
        beside = (folder + slash + stem + ending for stem in stems)
        if file := next((each for each in beside if each in there), None):
            found.used.add(file)
            try:
                text = files.read(file, LARGEST_LABEL).decode("utf-8-sig").strip()
                values[picture] = parse_json(text) if ending == ".json" else text
            except ValueError as error:
                raise ValueError(f"{file} cannot be read as a label: {error}") from None
    if not values:
        if plain:
            return Found()
        raise ValueError(f"no picture has a file {ending} beside it, of its own name")
    if ending == ".json":
        first = next(iter(values.values()))
        names = list(first) if isinstance(first, dict) else []
        usual = [key] if key else [name for name in names if name.lower() in LABEL_NAMES]
        if len(usual) != 1:
            what = f"which entry of the files .json beside pictures is the label is not plain ({some(names)})"
            if plain:
                return Found(notes=[f"{what}: --labels .json:KEY takes one"])
            raise ValueError(f"{what}: say it, as --labels .json:KEY")
        key = usual[0]
        values = {name: v.get(key) if isinstance(v, dict) else None for name, v in values.items()}
        found.where = f"{key} of {found.where}"
    told_as = key or ending.lstrip(".")
    check_kinds({told_as: values}, kinds, found.where)
    if kinds:
        found.told = Told({name: (value,) for name, value in values.items()}, columns=(told_as,))
        return found
    for name, value in values.items():
        if (label := label_of(value, name)) is not None:
            found.told.labels[name] = label
    found.told.notes.append(f"classes from {found.where}")
    return found
