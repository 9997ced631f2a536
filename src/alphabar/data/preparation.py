"""DATA → a prepared `Dataset`, once: later runs read only the memory-mapped cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import naming, write_all, write_array
from .bounds import Clipped, array_space, survey_notes
from .cache import (
    CLASSES,
    EMBEDDINGS,
    FACTS,
    HASHES,
    IMAGES,
    TOLD,
    TOLD_GRIDS,
    Stored,
    cache_folder,
    new_entry,
    read_entry,
    write_facts,
)
from .conditions.base import Condition
from .conditions.embedding import EmbeddingCondition
from .conditions.encoders import stamp_of
from .conditions.kinds import fitted
from .conditions.named import ClassCondition
from .conditions.picture import PictureCondition
from .config import DataConfig, data_config
from .crops import crop_sides, cropped
from .dataset import Dataset
from .decoding import Decoder, Progress
from .embedded import embedding
from .kinds import KINDS
from .pairs import Pairs, beside, hashed
from .sources.opener import open_source
from .sources.source_types import TELLING, Arrays, Labels, Pictures, Rows, Samples
from .sources.windows import timed
from .space import Space
from .survey import Survey

VERSION = 8
__all__ = ["cache_folder", "prepare"]


def prepare(
    data: Any, config: DataConfig | None = None, *, progress: Progress | None = None, **settings: Any
) -> Dataset:
    """Read DATA once and return it at the training size.

    Args:
        data: a folder, .zip or .tar of pictures, an .npy or .npz file (FILE.npz:IMAGES,LABELS for arrays of
            it), a table, NetCDF or HDF5 (FILE.nc:NAME,NAME), a folder of sound, of .npy or of NIfTI files,
            `hf:NAME` or `hf:PATH` for a Hugging Face data set, `digits`; or an array or tensor (N, …), a
            list of samples, a map-style `torch.utils.data.Dataset`, or a pair (any of these, labels). Files
            are kept prepared in `cache_folder()`; what is given from Python is copied.
        config: how to read it.
        progress: called with (done, total) while samples are read.
        settings: fields of `DataConfig`, instead of it or to replace some of it.
    """
    config = data_config(config, settings)
    source = open_source(data, config)
    _refuse(source, config)
    pairs = None if config.pairs is None else Pairs(source, config)
    if not isinstance(data, (str, os.PathLike)):
        stored = _record(_opened(source, config, progress, pairs), None)
    else:
        options = config.model_dump(mode="json", exclude={"holdout", "crop"})
        identity = [source.identity, *([] if pairs is None else [pairs.identity])]
        identity += [] if config.text_encoder is None else [stamp_of(config.text_encoder)]
        key = hashlib.sha256(json.dumps([VERSION, *identity, options]).encode()).hexdigest()[:20]
        place = cache_folder() / key
        if not (place / FACTS).exists():
            opened = _opened(source, config, progress, pairs)
            with new_entry(place) as folder:
                _write(folder, _record(opened, folder), str(data))
        stored = read_entry(place)
    if config.crop is not None:
        stored = cropped(stored, config.crop)
    found = source.notes if isinstance(source, Pictures) else []
    return _dataset(stored, config, [*found, *stored.notes])


def _dataset(stored: Stored, config: DataConfig, notes: list[str]) -> Dataset:
    conditions: dict[str, Condition] = {name: condition for name, (condition, _) in stored.told.items()}
    values: dict[str, Any] = {name: values for name, (_, values) in stored.told.items()}
    if stored.labels is not None:
        conditions["class"] = ClassCondition(names=stored.classes)
        values["class"] = stored.labels
    prepared = config.model_dump(mode="json", exclude_defaults=True)
    dataset = Dataset(
        stored.images, stored.space, conditions, values, stored.fingerprint, config.holdout, notes, prepared,
        stored.hashes,
    )  # fmt: skip
    if config.holdout and not len(dataset.held_out):
        few = len(np.unique(dataset.hashes)) if dataset.hashes is not None else len(dataset.images)
        dataset.notes.append(
            f"none of the few samples is held out by a share of {config.holdout:g}"
            + (": a larger one (--holdout 0.2) holds some out" if config.holdout < 0.2 and few > 1 else "")
        )
    dataset.conditions = fitted(dataset.conditions, dataset.values, dataset.training)
    for name, condition in dataset.conditions.items():
        dataset.notes += condition.notes(name, dataset.values[name])
    return dataset


def _refuse(source: Pictures | Arrays, config: DataConfig) -> None:
    """ValueError for settings that mean nothing for this kind of data."""
    if config.clip and config.range is None:
        raise ValueError("clip cuts values off at the ends of a range: give that as well, --range LOW HIGH")
    usual = DataConfig()
    for name, whose in MEANT_FOR.items():
        if name not in source.takes and getattr(config, name) != getattr(usual, name):
            raise ValueError(f"{name} is for {whose}, which these data are not: leave the option out")


MEANT_FOR = {
    **dict.fromkeys(("size", "resize", "fit", "channels", "frames", "background", "skip_bad"), "pictures"),
    **dict.fromkeys(("clip", "gaps"), "arrays"),
    **dict.fromkeys(("range", "crop"), "pictures and arrays"),
    "types": "tables",
    "series": "tables",
    **dict.fromkeys(("layout", "rate"), "arrays and tables"),
    **dict.fromkeys(("window", "hop"), "sound and series"),
    **dict.fromkeys(("labels", "skip_unlabeled"), "files of pictures, and tables"),
    "pairs": "pictures, sound, series, fields and volumes in files",
    "pairs_resize": "pictures",
    **dict.fromkeys(TELLING, "files of pictures, tables, .npz, and labels by name from Python"),
}
"""Settings that mean something for some data alone."""


# --- one way for pictures and arrays -----------------------------------------------------------


@dataclass
class Opened:
    """Samples on their way: blocks with their numbers, and what is known once all were seen."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[tuple[list[int], np.ndarray]]]
    space: Callable[[Survey], Space]
    labels: Callable[[list[int]], Labels]
    notes: list[str]
    kind: str = "picture"
    gaps: bool = False
    origins: np.ndarray | None = None


def _opened(
    source: Pictures | Arrays, config: DataConfig, progress: Progress | None, pairs: Pairs | None
) -> Opened:
    """A source with all that can be said of it, and refused, before its samples are read."""

    def told(labels: Labels, numbers: list[int], shape: tuple[int, ...]) -> Labels:
        return labels if pairs is None else pairs.joined(labels, numbers, shape)

    embedded = embedding(config.text_encoder, progress)
    if isinstance(source, Pictures):
        labels_of = source.labels
        source = replace(source, labels=lambda kept: embedded(labels_of(kept)))
        decoder = Decoder(source, config, progress)
        if config.crop is not None:
            crop_sides(config.crop, decoder.shape, "picture", resized=True)
        return Opened(
            (decoder.total, *decoder.shape), decoder.dtype, decoder.blocks, decoder.space,
            lambda kept: told(source.labels(kept), kept, decoder.shape), decoder.notes,
        )  # fmt: skip
    samples = timed(source.open(), config)
    samples = samples._replace(labels=embedded(samples.labels))
    if config.gaps and samples.kind not in ("picture", "field", "volume"):
        noun = KINDS[samples.kind].noun
        raise ValueError(f"gaps are for fields and volumes, and these are {noun}: fill the values in")
    if config.crop is not None:
        crop_sides(config.crop, samples.rows.shape[1:], samples.kind, resized=False)
    rows, notes = samples.rows, list(samples.notes)
    clipped = Clipped(config.range, rows.dtype) if config.range and config.clip else None
    if clipped is not None:
        rows = rows.map(rows.shape, clipped)

    def blocks() -> Iterator[tuple[list[int], np.ndarray]]:
        start, total = 0, rows.shape[0]
        for block in rows.blocks():
            yield list(range(start, start + len(block))), block
            start += len(block)
            if progress is not None:
                progress(start, total)

    def space_of(survey: Survey) -> Space:
        if samples.kind == "table":
            return _table_space(samples)
        notes.extend([] if clipped is None else clipped.notes())
        return array_space(samples, survey, config.range)

    return Opened(
        rows.shape, rows.dtype, blocks, space_of,
        lambda kept: told(samples.labels, kept, rows.shape[1:]), notes,
        samples.kind, config.gaps, samples.origins,
    )  # fmt: skip


def _record(opened: Opened, folder: Path | None) -> Stored:
    """Go through all samples once, writing them to a folder, or into memory without one."""
    survey, kept = Survey(opened.kind == "table", opened.gaps), []

    def seen() -> Iterator[np.ndarray]:
        for numbers, block in opened.blocks():
            yield survey.see(block)
            kept.extend(numbers)

    images = _stored(seen(), opened.shape, opened.dtype, folder and folder / IMAGES)[: survey.num]
    if not kept:
        raise ValueError(f"nothing readable is left: {'; '.join(opened.notes)}")
    space, labels = opened.space(survey), opened.labels(kept)
    notes = [*opened.notes, *labels.notes, *survey_notes(survey, space)]
    facts = [space.to_dict(), labels.names, survey.sha256]
    facts += [{name: c.meaning() for name, (c, _) in labels.told.items()}] if labels.told else []
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    numbers = None if labels.numbers is None else np.ascontiguousarray(labels.numbers, dtype=np.int64)
    if numbers is not None:
        digest.update(numbers.tobytes())
    told = {}
    for i, (name, (condition, values)) in enumerate(labels.told.items()):
        if isinstance(values, Rows):
            assert isinstance(condition, PictureCondition)
            condition = beside(name, condition, values, survey.num, space)
            path = folder and folder / TOLD_GRIDS.format(i)
            values = _stored(hashed(values.blocks(), digest), values.shape, values.dtype, path)
        else:
            digest.update(np.ascontiguousarray(values).tobytes())
        told[name] = condition, values
    hashes = survey.hashes
    if opened.origins is not None:  # those of one series are held out together
        _, first, series = np.unique(opened.origins, return_index=True, return_inverse=True)
        hashes = hashes[first][series]
    return Stored(images, space, labels.names, numbers, hashes, digest.hexdigest(), notes, told)


def _stored(
    blocks: Iterator[np.ndarray], shape: tuple[int, ...], dtype: Any, path: Path | None
) -> np.ndarray:
    """Blocks of at most `shape` numbers as one array in memory; or written to `path`, and none here."""
    if path is None:
        memory, at = np.empty(shape, dtype), 0
        for block in blocks:
            memory[at : at + len(block)] = block
            at += len(block)
        return memory
    with open(path, "wb", buffering=0) as file:
        for block in blocks:
            with naming(path):
                write_all(file, block)
        with naming(path):
            os.fsync(file.fileno())
    return np.empty((0, *shape[1:]), dtype)


def _write(folder: Path, stored: Stored, source: str) -> None:
    """The rest of a cache entry, beside the samples."""
    write_array(folder / HASHES, stored.hashes)
    if stored.labels is not None:
        write_array(folder / CLASSES, stored.labels)
    for i, (condition, values) in enumerate(stored.told.values()):
        if isinstance(condition, EmbeddingCondition):
            write_array(folder / EMBEDDINGS.format(i), condition.of_each(values))
        if not isinstance(condition, PictureCondition):  # these are written as they are read
            write_array(folder / TOLD.format(i), values)
    facts = {
        "source": source,
        "space": stored.space.to_dict(),
        "classes": stored.classes,
        "told": {name: condition.to_dict() for name, (condition, _) in stored.told.items()},
        "num_samples": len(stored.hashes),
        "fingerprint": stored.fingerprint,
        "notes": stored.notes,
    }
    write_facts(folder, facts)


# --- ranges ------------------------------------------------------------------------------------


def _table_space(samples: Samples) -> Space:
    """The space of a table's rows: (D,) numbers, with what each column holds."""
    (columns,) = samples.rows.shape[1:]
    return Space(
        (columns,), "float64", None, None, kind="table", layout=samples.layout,
        names=tuple(samples.columns), columns=tuple(samples.columns.values()),
        labels=samples.label_columns,
    )  # fmt: skip
