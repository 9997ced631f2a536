"""Samples on their way from a source to the cache, or into memory, pictures and arrays alike."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_all, write_array, written
from ..conditions.embedding import EmbeddingCondition
from ..conditions.picture import PictureCondition
from ..config import DataConfig
from ..crops import crop_sides
from ..kinds import KINDS
from ..sources.source_types import Arrays, Labels, Pictures, Rows, Samples
from ..sources.windows import timed
from ..space import Space
from ..stored import Stored
from .bounds import Clipped, array_space, survey_notes
from .building import CLASSES, EMBEDDINGS, HASHES, IMAGES, TOLD, TOLD_GRIDS, Building, write_facts
from .cache import cache_folder
from .decoding import Decoder
from .embedded import embedding
from .pairs import Pairs, beside, hashed
from .shards import Progress
from .survey import Survey


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
    found: tuple[str, ...] = ()
    files: list[tuple[int, str]] | None = None
    """Grows by how many samples each file has that is written, and its SHA-256, if these are written as the
    blocks come."""


def open_samples(
    source: Pictures | Arrays,
    config: DataConfig,
    progress: Progress | None,
    pairs: Pairs | None,
    building: Building | None = None,
) -> Opened:
    """A source with all that can be said of it, and refused, before its samples are read."""
    if isinstance(source, Pictures):
        return _open_pictures(source, config, progress, pairs, building)
    samples = timed(source.open(), config)
    samples = samples._replace(labels=embedding(config.text_encoder, progress)(samples.labels))
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
        lambda kept: _with_pairs(pairs, samples.labels, kept, rows.shape[1:]), notes,
        samples.kind, config.gaps, samples.origins,
    )  # fmt: skip


def _open_pictures(
    source: Pictures,
    config: DataConfig,
    progress: Progress | None,
    pairs: Pairs | None,
    building: Building | None,
) -> Opened:
    embedded, labels_of = embedding(config.text_encoder, progress), source.labels
    source = replace(source, labels=lambda kept: embedded(labels_of(kept)))
    decoder = Decoder(source, config, progress, building)
    if config.crop is not None:
        crop_sides(config.crop, decoder.shape, "picture", resized=True)
    return Opened(
        (decoder.total, *decoder.shape), decoder.dtype, decoder.blocks, decoder.space,
        lambda kept: _with_pairs(pairs, source.labels(kept), kept, decoder.shape), decoder.notes,
        found=tuple(source.notes), files=None if building is None else decoder.files,
    )  # fmt: skip


def _with_pairs(pairs: Pairs | None, labels: Labels, numbers: list[int], shape: tuple[int, ...]) -> Labels:
    return labels if pairs is None else pairs.joined(labels, numbers, shape)


def record(opened: Opened, folder: Path | None = None) -> Stored:
    """Go through all samples once, writing them to a folder, or into memory without one."""
    survey, kept = Survey(opened.kind == "table", opened.gaps), []

    def seen() -> Iterator[np.ndarray]:
        for numbers, block in opened.blocks():
            yield survey.see(block)
            kept.extend(numbers)

    images, files = np.empty((0, *opened.shape[1:]), opened.dtype), opened.files
    if files is None:
        images = _stored(seen(), opened.shape, opened.dtype, folder and folder / IMAGES.format(0))
        images, files = images[: survey.num], [(survey.num, survey.sha256)]
    else:
        deque(seen(), 0)
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
    return Stored(
        images,
        space,
        labels.names,
        numbers,
        hashes,
        digest.hexdigest(),
        notes,
        told,
        tuple(files),
        opened.found,
    )


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
    with written(path) as file:
        for block in blocks:
            write_all(file, block)
    return np.empty((0, *shape[1:]), dtype)


def write_rest(folder: Path, stored: Stored, source: str) -> None:
    """Write the rest of a cache entry, beside the samples."""
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
        "found": stored.found,
    }
    write_facts(folder, facts, stored.files, cache_folder())


def _table_space(samples: Samples) -> Space:
    """The space of a table's rows: (D,) numbers, with what each column holds."""
    (columns,) = samples.rows.shape[1:]
    return Space(
        (columns,), "float64", None, None, kind="table", layout=samples.layout,
        names=tuple(samples.columns), columns=tuple(samples.columns.values()),
        labels=samples.label_columns,
    )  # fmt: skip
