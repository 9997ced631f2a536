"""Classes of picture files: sub-folders that plainly are some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from .labels import many_classes
from .source_types import Labels

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def folder_classes(names: Sequence[str], classes: str) -> Labels:
    """Sub-folders as classes, if asked to or if they plainly are.

    Folders that split the data (train, test, …) are no classes, and neither are folders around all others.
    """
    inner = _within_one(names)
    around = names[0].removesuffix(inner[0])
    splits = _splits(inner)
    if splits:
        inner = _within_one([name.partition("/")[2] for name in inner])
    tops = [PurePosixPath(name).parts[0] if "/" in name else "" for name in inner]
    if classes == "folders" and "" in tops:
        loose = names[tops.index("")]
        what = f"folders in {', '.join(splits)}" if splits else "sub-folders"
        raise ValueError(f"classes are the {what}, but {loose} lies in none of them")
    counts, notes = Counter(tops), []
    if len(splits) > 1:
        notes = [f"{', '.join(splits)} are taken together; for one alone give DATA/{around}{splits[0]}"]
    if classes == "folders" or (classes == "auto" and _plainly_classes(inner, counts)):
        found = {name: i for i, name in enumerate(sorted(counts))}
        return Labels(np.array([found[top] for top in tops], dtype=np.int64), tuple(found), tuple(notes))
    if classes == "auto" and any(tops):
        notes.append(
            "sub-folders are not taken as classes (if all sub-folders are classes: --classes folders)"
        )
    return Labels(None, (), tuple(notes))


def _within_one(names: Sequence[str]) -> Sequence[str]:
    """Names without folders around all other folders."""
    while all(name.count("/") > 1 for name in names) and len({name.partition("/")[0] for name in names}) == 1:
        names = [name.partition("/")[2] for name in names]
    return names


def _splits(names: Sequence[str]) -> list[str]:
    """The folders that split the data, that of training first, if everything lies in such ones."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    if not all(top.lower() in SPLITS for top in tops):
        return []
    return sorted(tops, key=lambda top: (not top.lower().startswith("train"), top))


def _plainly_classes(names: Sequence[str], counts: Counter[str]) -> bool:
    """Every picture exactly one sub-folder deep, and two pictures or more in each of two or more.

    Folders that split the data (train, test, …) are no classes.
    """
    return (
        all(name.count("/") == 1 for name in names)
        and len(counts) >= 2
        and min(counts.values()) >= 2
        and not {top.lower() for top in counts} & SPLITS
    )


def classes_named(labels: Sequence[str | int], where: str) -> Labels:
    """The class of each picture by its label: in the order of whole numbers if all are, else of texts."""
    values: list[Any] = list(labels)
    if all(isinstance(v, int) or (v.removeprefix("-").isdecimal() and str(int(v)) == v) for v in set(values)):
        values = [int(v) for v in values]
    else:
        values = [str(v) for v in values]
    place = {value: i for i, value in enumerate(sorted(set(values)))}
    numbers = np.array([place[value] for value in values], np.int64)
    return Labels(numbers, tuple(map(str, place)), many_classes(len(place), len(values)))
