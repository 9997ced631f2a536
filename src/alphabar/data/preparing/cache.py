"""Prepared data on the disk: folders that are whole or absent, and checked when they are opened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import check_whole
from ...files import DamagedFile, clean, read_json, write_json
from ..conditions.base import Condition
from ..conditions.embedding import EmbeddingCondition
from ..conditions.kinds import condition_from
from ..conditions.picture import PictureCondition
from ..space import Space
from ..stored import Stored, StoredSamples
from .building import (
    CLASSES,
    EMBEDDINGS,
    FACTS,
    FEATURES,
    HASHES,
    IMAGES,
    TOLD,
    TOLD_GRIDS,
    is_entry,
    own_files,
    partial_folders,
    remove_partial,
    sha256_of,
    stamp_of,
)

AT_ONCE = 4096  # values that are checked
UNFINISHED = "being prepared, or given up"


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache.

    Attributes:
        path: of the folder.
        source: DATA, as it was named when it was prepared.
        num_samples, shape: of what it holds.
        size_bytes: on the disk; what several entries share is counted in parts.
        prepared_at: seconds since 1970.
    """

    path: Path
    source: str
    num_samples: int
    shape: tuple[int, ...]
    size_bytes: int
    prepared_at: float


def cache_folder() -> Path:
    """Where prepared data is kept: $ALPHABAR_CACHE, or alphabar/ in the user's cache folder."""
    try:
        if os.environ.get("ALPHABAR_CACHE"):
            return Path(os.environ["ALPHABAR_CACHE"]).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alphabar"
    except RuntimeError:
        raise ValueError(
            "there is no home folder to keep prepared data in: set ALPHABAR_CACHE to a folder"
        ) from None


# --- reading -----------------------------------------------------------------------------------


def read_entry(place: Path) -> Stored:
    """What was prepared; DamagedFile, a ValueError, unless it is what was written."""
    try:
        facts = read_json(place / FACTS)
        _verify(place, facts)
        space, classes = Space(**facts["space"]), tuple(facts["classes"])
        shape = (facts["num_samples"], *space.shape)
        parts = {place / IMAGES.format(k): check_whole("shards", n, 0) for k, n in enumerate(facts["shards"])}
        images = StoredSamples(parts, space.shape, np.dtype(space.dtype))
        if images.shape != shape:
            raise ValueError(f"its files are of {len(images)} samples, and not of {shape[0]}")
        hashes = np.load(place / HASHES, allow_pickle=False)
        labels = np.load(place / CLASSES, allow_pickle=False) if classes else None
        if hashes.shape != shape[:1] or hashes.dtype != np.uint64:
            raise ValueError(f"{HASHES} is not one number for each of {shape[0]} samples")
        if labels is not None and not _are_labels(labels, shape[0], len(classes)):
            raise ValueError(f"{CLASSES} is not a number within 0..{len(classes) - 1} for each sample")
        told = {}
        for i, (name, entry) in enumerate(facts["told"].items()):
            condition = condition_from(entry)
            told[name] = condition, _read_told(place, i, name, condition, shape[0])
        return Stored(
            images, space, classes, labels, hashes, facts["fingerprint"], list(facts["notes"]), told,
            found=tuple(facts["found"]),
        )  # fmt: skip
    except (ValueError, TypeError, LookupError, OSError, EOFError, AttributeError) as error:
        raise DamagedFile(f"the prepared data in {place} is damaged; delete that folder: {error}") from None


def _read_told(place: Path, i: int, name: str, condition: Condition, n: int) -> Any:
    """The values of a condition."""
    if isinstance(condition, PictureCondition):
        path, dtype = place / TOLD_GRIDS.format(i), np.dtype(condition.space["dtype"])
        return StoredSamples({path: n}, condition.own_shape, dtype)
    values = np.load(place / TOLD.format(i), allow_pickle=False)
    if isinstance(condition, EmbeddingCondition):
        condition.learn(values, np.load(place / EMBEDDINGS.format(i), allow_pickle=False))
    if len(values) != n or sum(len(condition.encode(part)) for part in _parts(values)) != n:
        raise ValueError(f"{TOLD.format(i)} is not a value of {name} for each of {n} samples")
    return values


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def _are_labels(labels: np.ndarray, n: int, k: int) -> bool:
    return labels.shape == (n,) and labels.dtype == np.int64 and labels.min() >= 0 and labels.max() < k


def _verify(place: Path, facts: dict[str, Any]) -> None:
    """Compare sizes, and the digests of files that were touched since they were written or checked."""
    touched = False
    for name, known in facts["files"].items():
        now = stamp_of(place / name)
        if now["size"] != known["size"]:
            raise ValueError(f"{name} has {now['size']} bytes, and was written with {known['size']}")
        if now["mtime_ns"] != known["mtime_ns"]:
            if sha256_of(place / name) != known["sha256"]:
                raise ValueError(f"{name} has changed since it was written")
            known["mtime_ns"], touched = now["mtime_ns"], True
    if touched:
        with contextlib.suppress(OSError):  # a cache that can only be read is checked each time
            write_json(place / FACTS, facts)


# --- looking after it --------------------------------------------------------------------------


def cache_entries() -> list[CacheEntry]:
    """What the cache holds, the newest first."""
    root = cache_folder()
    found = [_entry(path) for path in root.iterdir() if is_entry(path)] if root.is_dir() else []
    found += [_unfinished(path) for path in partial_folders(root)]
    return sorted(found, key=lambda entry: -entry.prepared_at)


def clear_cache() -> int:
    """Remove all that the cache holds, to be prepared again when it is used; return how many bytes it was.

    The folder may be anybody's: what Alphabar wrote there is known by its name, and nothing else is touched.
    OSError if something of ours can't be removed.
    """
    entries = cache_entries()
    for entry in entries:
        remove_entry(entry.path)
    for partial in partial_folders(cache_folder()):
        remove_partial(partial)
    clean(cache_folder())
    return sum(entry.size_bytes for entry in entries)


def remove_entry(path: Path) -> None:
    """Remove an entry, if it is there; OSError if it can't be."""
    with contextlib.suppress(FileNotFoundError):  # another process removes it as well
        # the facts first: without them it is no entry any more
        for file in sorted(own_files(path), key=lambda file: file.name != FACTS):
            file.unlink(missing_ok=True)
        clean(path)
        if not any(path.iterdir()):
            path.rmdir()


def _entry(path: Path) -> CacheEntry:
    stats = [file.stat() for file in own_files(path)]
    size, at = sum(stat.st_size // stat.st_nlink for stat in stats), path.stat().st_mtime
    if path.name == FEATURES:
        return CacheEntry(path, "features for scores", len(stats), (), size, at)
    try:
        facts = read_json(path / FACTS)
        shape = tuple(facts["space"]["shape"])
        return CacheEntry(path, facts["source"], facts["num_samples"], shape, size, at)
    except (ValueError, OSError, LookupError, TypeError):
        return CacheEntry(path, "damaged", 0, (), size, at)


def _unfinished(path: Path) -> CacheEntry:
    files = [file for file in path.rglob("*") if file.is_file()]
    return CacheEntry(
        path, UNFINISHED, 0, (), sum(file.stat().st_size for file in files), path.stat().st_mtime
    )
