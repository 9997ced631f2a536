"""Pairs: what is told of each sample is a grid of another source, matched by name or by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ...errors import some
from ..conditions.picture import PictureCondition
from ..config import DataConfig
from ..sources.label_files import FORMS, forms
from ..sources.opener import open_source
from ..sources.source_types import Arrays, Labels, Pictures, Rows
from ..sources.told_grids import space_of
from ..sources.windows import timed
from ..space import Space
from .decoding import Decoder
from .survey import Survey

PICTURE = PictureCondition.kind
"""What the condition is called."""
WITHOUT_ENDING = (1, 3)
"""Of `FORMS`, those in which names of pairs are compared."""


class Pairs:
    """The source that `pairs` names, one grid for each sample of another source.

    Files are matched by name, without ending: from DATA on, or without folders where more match so; what has
    no names is matched by number.

    Attributes:
        identity: as of a source.
        notes: what was taken.
    """

    def __init__(self, source: Pictures | Arrays, config: DataConfig) -> None:
        self.where, self.own = str(config.pairs), source
        shared = ("layout", "fit", "background", "rate", "window", "hop", "size")
        settings = {name: getattr(config, name) for name in shared}
        resize = config.pairs_resize or config.resize
        self.config = DataConfig(**settings, resize=resize, classes="none", holdout=0)
        self.source = open_source(self.where, self.config)
        if isinstance(self.source, Pictures) != isinstance(source, Pictures):
            kinds = ["an array", "pictures"]
            one, other = (kinds[isinstance(each, Pictures)] for each in (source, self.source))
            raise ValueError(
                f"pairs must be in the form of the data, which are {one}, and {self.where} holds {other}: "
                "give both as files of pictures, which are matched by name, or as arrays, by number"
            )
        if config.frames != "first":
            raise ValueError("frames all makes several samples of a file, and a pair is one: leave one out")
        if isinstance(source, Arrays) and config.pairs_resize is not None:
            raise ValueError("pairs_resize is for pictures, and these pairs are an array: leave it out")
        self.identity, self.notes = self.source.identity, list[str]()
        if isinstance(self.source, Pictures) and isinstance(source, Pictures):
            self.match = _matched(source.names, self.source.names, self.where, self.notes)

    def joined(self, labels: Labels, numbers: Sequence[int], shape: tuple[int, ...]) -> Labels:
        """The labels of samples with their grids beside them, as `Rows`.

        Args:
            labels: of the samples.
            numbers: which of the source's they are.
            shape: of a sample.
        """
        if PICTURE in labels.told:
            raise ValueError(f"{PICTURE} is told twice, by the labels and by pairs: rename the column")
        condition, rows, notes = (
            self._of_pictures(numbers, shape) if isinstance(self.source, Pictures) else self._of_array()
        )
        said = f"told a picture each from {self.where}: {' × '.join(map(str, condition.own_shape))}"
        notes = (
            *labels.notes,
            said,
            *self.notes,
            *(f"pairs: {note.replace('--resize', '--pairs-resize')}" for note in notes),
        )
        return labels._replace(told={**labels.told, PICTURE: (condition, rows)}, notes=notes)

    def _of_pictures(
        self, numbers: Sequence[int], shape: tuple[int, ...]
    ) -> tuple[PictureCondition, Rows, list[str]]:
        """Pictures at the size of the samples, read as these are."""
        other = self.source
        assert isinstance(other, Pictures)
        names = [other.names[self.match[i]] for i in numbers]
        places = [self.match[i] for i in numbers]
        source = replace(other, names=names, open=lambda i: other.open(places[i]), labels=lambda _: Labels())
        decoder = Decoder(source, self.config.model_copy(update={"size": shape[1:]}))
        if decoder.dtype.itemsize > 1:
            decoder.config = decoder.config.model_copy(update={"range": (0.0, 65535.0)})
        if len(decoder.headers) < len(names):
            lost = [name for i, name in enumerate(names) if i not in decoder.headers]
            raise ValueError(
                f"{len(lost)} of {len(names)} pairs in {self.where} can't be used, unreadable or sheets that "
                f"Alphabar wrote: {some(lost)}. Each sample needs its pair"
            )
        survey = Survey()
        survey.low = survey.high = np.zeros(decoder.channels, decoder.dtype)
        space = decoder.space(survey)
        rows = Rows(
            (len(names), *decoder.shape), decoder.dtype, lambda: (block for _, block in decoder.blocks())
        )
        return PictureCondition(space=space.to_dict()), rows, decoder.notes

    def _of_array(self) -> tuple[PictureCondition, Rows, list[str]]:
        assert isinstance(self.source, Arrays)
        samples = timed(self.source.open(), self.config)
        if isinstance(self.own, Arrays):
            _check_names(self.own.names, self.source.names, self.where)
        return PictureCondition(space=space_of(samples).to_dict()), samples.rows, samples.notes


def _matched(names: Sequence[str], others: Sequence[str], where: str, notes: list[str]) -> list[int]:
    """For each name the number of the other that it is paired with; ValueError unless there is one."""

    def common(form: int) -> int:
        return len({forms(name)[form] for name in names} & {forms(name)[form] for name in others})

    form = max(WITHOUT_ENDING, key=common)
    own, there = ([forms(name)[form] for name in some_names] for some_names in (names, others))
    place = {key: i for i, key in enumerate(there)}
    if lost := [name for name, key in zip(names, own, strict=True) if key not in place]:
        raise ValueError(
            f"{len(lost)} of {len(names)} pictures have no pair in {where}: {some(lost)}. Each needs one of "
            f"its name, in any format; there are {some(list(others), 3)}"
        )
    for keys, which, what in ((there, others, where), (own, names, "the data")):
        several = {key for key, count in Counter(keys).items() if count > 1} & set(own)
        if several:
            twice = [name for name, key in zip(which, keys, strict=True) if key in several]
            raise ValueError(
                f"pairs are not plain: {some(twice)} of {what} have one name{FORMS[form]}; give them others, "
                "or the same folders in both"
            )
    if extra := [name for name, key in zip(others, there, strict=True) if key not in set(own)]:
        notes.append(f"pairs of no picture: {some(extra)} ({len(extra)} of {len(others)})")
    return [place[key] for key in own]


def _check_names(own: Sequence[str], others: Sequence[str], where: str) -> None:
    """ValueError where files that are a sample each have other names than their pairs, in their order."""
    if not own or not others:
        return
    stems, there = ([PurePosixPath(name).name.split(".")[0] for name in names] for names in (own, others))
    if stems != there:
        lost, extra = sorted(set(stems) - set(there)), sorted(set(there) - set(stems))
        raise ValueError(
            f"each sample needs a pair of its name in {where}: without one are {some(lost) or 'none'}, and "
            f"of no sample {some(extra) or 'none'}"
        )


def beside(name: str, condition: PictureCondition, rows: Rows, n: int, space: Space) -> PictureCondition:
    """The condition of n samples; ValueError unless there is a grid for each, of sides that divide theirs."""
    if rows.shape[0] != n:
        raise ValueError(f"{name}: each of {n} samples needs its grid, and there are {rows.shape[0]}")
    try:
        return condition.over(space.shape[1:])
    except ValueError:
        sides = " × ".join(map(str, space.shape[1:])) or "none: a vector or a row of a table has no places"
        raise ValueError(
            f"{name}: a told grid must have the sides of a sample, {sides}, or such as divide them; got "
            f"{' × '.join(map(str, rows.shape[2:])) or 'none'}. Resample it first, or tell numbers without "
            "places as a vector"
        ) from None


def hashed(blocks: Iterator[np.ndarray], digest: Any) -> Iterator[np.ndarray]:
    """The blocks in one piece, their bytes added to a digest; ValueError for infinity."""
    for given in blocks:
        block = np.ascontiguousarray(given)
        if block.dtype.kind == "f" and np.isinf(block).any():
            raise ValueError("told grids hold infinity: fill it in, or say NaN for what is missing")
        digest.update(block.data)
        yield block
