"""A stream begun: each file prepared once and counted, and some of its samples kept to measure by."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files import COUNT, brief, check_facts, read_json, write_all, write_bytes, write_json, written
from ..conditions.base import Condition
from ..conditions.kinds import condition_from
from ..conditions.named import ClassCondition
from ..config import DataConfig
from ..dataset import Dataset, spread
from ..space import Space
from ..stored import Stored
from .building import FACTS, IMAGES, STREAM, Building, new_entry
from .cache import cache_folder, read_entry, remove_entry
from .keeping import dataset_of, kept, place_of
from .part_files import part_files
from .recording import write_rest
from .shards import Progress
from .turns import PartFile, Streamed, renumbered

KEPT = 4096
"""Training samples that are kept, about; and held-out ones, at most."""
NOTES = 10
"""On files, that are said."""
LISTED = {
    "parts": [{"data": str, "entry": str, "samples": COUNT, "training": COUNT, "fingerprint": str}],
    "counts": {str: [COUNT]},
}
"""What the list of files must be: they, and how many training samples each class has."""


def streamed(data: str, config: DataConfig, progress: Progress | None = None) -> Streamed:
    """The samples of all files that DATA names (`part_files`); of `config.stream` files at a time shuffled.

    For the first time all of them are read; files are given up when there are more than twice as many.

    Args:
        data: a folder, an address, or `hf:NAME@SPLIT`.
        config: how to read them, with `stream`.
        progress: called with (done, total) files.
    """
    window = config.stream
    assert window is not None
    names, identity = part_files(data)
    each = config.model_copy(update={"stream": None})
    place = place_of(["stream", identity, config.holdout, config.crop], each)
    if not (place / FACTS).exists():
        with new_entry(place, resumable=True) as building:
            if building is not None:
                _survey(building, data, names, each, 2 * window, progress)
    stored, listed = read_entry(place), check_facts(place / STREAM, read_json(place / STREAM), LISTED)
    found = dataset_of(stored, each.model_copy(update={"crop": None}))
    told = {field.name: getattr(found, field.name) for field in fields(Dataset)}
    told["prepared"] = config.model_dump(mode="json", exclude_defaults=True)
    told["fingerprint"] = hashlib.sha256(f"{stored.fingerprint} {window}".encode()).hexdigest()
    told["notes"] = list(stored.notes)
    for name, condition in found.conditions.items():
        if isinstance(condition, ClassCondition):
            condition = told["conditions"][name] = replace(condition, counts=tuple(listed["counts"][name]))
        notes = condition.notes(name, found.values[name])
        told["notes"] += notes if name == "class" else [f"of the samples that stay: {note}" for note in notes]
    parts = [PartFile(**part) for part in listed["parts"]]
    whole = Streamed(**told, parts=parts, window=window, config=each)
    whole.notes.insert(0, _note(whole))
    return whole


def _note(data: Streamed) -> str:
    """What a stream is, in words."""
    n, files, together = len(data), len(data.parts), min(data.window, len(data.parts))
    share = together / files
    mib = data.disk_bytes / 2**20
    return (
        f"streamed: {n:,} training samples in {files} files, shuffled within {together} files "
        f"(about {round(share * n):,} samples) at a time; up to {min(2 * together, files)} files are kept "
        f"prepared, in all about {mib:,.0f} MiB; {len(data.training):,} training and {len(data.held_out):,} "
        "held-out samples stay, to measure by"
    )


# --- the first time ------------------------------------------------------------------------------


class Record(NamedTuple):
    """What is known of a file once it was prepared, with some of its samples."""

    part: PartFile
    space: dict[str, Any]
    conditions: dict[str, dict[str, Any]]
    notes: list[str]
    images: np.ndarray
    hashes: np.ndarray
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, part: PartFile, data: Dataset, notes: list[str], most: int) -> Record:
        """That of a file's data, with notes on it and so many training and held-out samples at most."""
        chosen = np.concatenate([spread(data.training, most), spread(data.held_out, most)])
        assert data.hashes is not None
        told = data.take(chosen)
        conditions = {name: condition.to_dict() for name, condition in data.conditions.items()}
        # as JSON has them, so that one that is read again is equal
        space, conditions = json.loads(json.dumps([data.space.to_dict(), conditions]))
        return cls(part, space, conditions, notes, told.images, data.hashes[chosen], told.values)

    def write(self, path: Path) -> None:
        """As one file."""
        facts = json.dumps([self.part._asdict(), self.space, self.conditions, self.notes])
        values: dict[str, Any] = {f"told {name}": values for name, values in self.values.items()}
        buffer = io.BytesIO()
        np.savez(buffer, facts=np.array(facts), images=self.images, hashes=self.hashes, **values)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Record:
        """What was written."""
        with np.load(path, allow_pickle=False) as file:
            part, space, conditions, notes = json.loads(str(file["facts"]))
            values = {name: file[f"told {name}"] for name in conditions}
            return cls(PartFile(**part), space, conditions, notes, file["images"], file["hashes"], values)


def _survey(
    building: Building,
    data: str,
    names: Sequence[str],
    config: DataConfig,
    most: int,
    progress: Progress | None,
) -> None:
    """Write the entry of a stream; what was counted of it before a kill is not counted again.

    Args:
        building: what is written to.
        data: its name.
        names: of the files.
        config: how each is read.
        most: so many files may be kept prepared.
        progress: called with (done, total) files.
    """
    assert building.parts is not None
    records: list[Record] = []
    for number, name in enumerate(names):
        path = building.parts / f"part-{number:05d}.npz"
        if path.exists():
            records.append(Record.read(path))
        else:
            try:
                place, noted = kept(name, config, alone=True)
            except ValueError as error:
                raise ValueError(f"{error} (it is one of {data}: mend it, or move it elsewhere)") from None
            stored = read_entry(place)
            prepared = dataset_of(stored, config, is_part=True)
            part = PartFile(
                name, place.name, len(prepared.images), len(prepared.training), prepared.fingerprint
            )
            notes = [*(stored.found if noted is None else noted), *stored.notes]
            records.append(Record.of(part, prepared, notes, -(-KEPT // len(names))))
            records[-1].write(path)
            if number >= most:
                remove_entry(cache_folder() / place.name)
        _check_alike(records[0], records[-1])
        if progress is not None:
            progress(number + 1, len(names))
    _write(building.folder, data, records)


FIXES = {
    "shape": "--size and --channels say how",
    **dict.fromkeys(("low", "high"), "--range says how"),
    **dict.fromkeys(
        ("columns", "labels"), "tables must have the same columns, with the same categories in each"
    ),
}
"""What makes files alike that differ so."""
FOUND = "background"
"""What is said of a space if there was reason to."""


def _check_alike(first: Record, other: Record) -> None:
    """ValueError unless the samples of two files are of one space, and are told the same things."""
    ours, theirs = first.space, other.space
    names = sorted({*ours, *theirs} - {FOUND})
    differ = [name for name in names if ours.get(name) != theirs.get(name)]
    if differ:
        fixes = sorted({FIXES[name] for name in differ if name in FIXES})
        shown = ", ".join(
            f"{name} {brief(theirs.get(name))} for {brief(ours.get(name))}" for name in differ[:3]
        )
        raise ValueError(
            f"the samples of {other.part.data} differ from those of {first.part.data} ({shown}): they are "
            "one stream if all are alike" + "".join(f"; {fix}" for fix in fixes)
        )
    meanings = [
        {
            name: condition_from(entry).meaning() if entry["kind"] != ClassCondition.kind else "class"
            for name, entry in record.conditions.items()
        }
        for record in (first, other)
    ]
    if meanings[0] != meanings[1]:
        told = [", ".join(record.conditions) or "nothing" for record in (first, other)]
        raise ValueError(
            f"the samples of {other.part.data} are told {told[1]}, those of {first.part.data} {told[0]}, or "
            "not in the same way: --labels and --conditions say what they are told"
        )


def _write(folder: Path, data: str, records: Sequence[Record]) -> None:
    first, n = records[0], sum(len(record.images) for record in records)
    found = next((record.space[FOUND] for record in records if record.space.get(FOUND)), None)
    described: dict[str, Any] = {**first.space, FOUND: found}
    space = Space(**described)
    told: dict[str, tuple[Condition, Any]] = {}
    counts: dict[str, list[int]] = {}
    for name in first.conditions:
        each = [condition_from(record.conditions[name]) for record in records]
        values = [record.values[name] for record in records]
        classes = [condition for condition in each if isinstance(condition, ClassCondition)]
        whole = each[0]
        if classes:
            whole = ClassCondition(names=_names(classes))
            values = [renumbered(v, c.names, whole.names) for v, c in zip(values, classes, strict=True)]
            counted = np.zeros(len(whole.names), np.int64)
            for condition in classes:
                counted[[whole.names.index(own) for own in condition.names]] += np.array(condition.counts)
            counts[name] = counted.tolist()
        told[name] = whole, np.concatenate(values)
    digest = hashlib.sha256()
    with written(folder / IMAGES.format(0)) as file:
        for record in records:
            images = np.ascontiguousarray(record.images)
            write_all(file, images)
            digest.update(images.data)
    meanings = {name: condition.meaning() for name, (condition, _) in told.items()}
    notes = _notes(records)
    more = [f"and {len(notes) - NOTES} more notes on its files"] if len(notes) > NOTES else []
    facts = [
        [record.part.fingerprint for record in records],
        meanings,
    ]
    stored = Stored(
        np.empty((0, *first.images.shape[1:]), first.images.dtype), space, (), None,
        np.concatenate([record.hashes for record in records]),
        hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        notes[:NOTES] + more,
        told, ((n, digest.hexdigest()),),
    )  # fmt: skip
    write_json(folder / STREAM, {"parts": [record.part._asdict() for record in records], "counts": counts})
    write_rest(folder, stored, data)


def _notes(records: Sequence[Record]) -> list[str]:
    """Those on all files, and those on some with the name of the first of these."""
    found: dict[str, list[str]] = {}
    for record in records:
        for note in record.notes:
            found.setdefault(note, []).append(record.part.data.rpartition("/")[2])
    said = []
    for note, names in found.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(f"each file: {note}" if len(names) == len(records) else f"{names[0]}{more}: {note}")
    return said


def _names(classes: Sequence[ClassCondition]) -> tuple[str, ...]:
    """Those of all, as they are, or sorted: whole numbers by their size."""
    if len({condition.names for condition in classes}) == 1:
        return classes[0].names
    names = {name for condition in classes for name in condition.names}
    whole = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if whole else 0, name)))
