"""Prepared data on the disk: folders that are whole or absent, and checked when they are opened."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..files import DamagedFile, atomic_folder, clean, read_json, temporary_name, write_json
from .conditions.base import Condition
from .conditions.embedding import EmbeddingCondition
from .conditions.kinds import condition_from
from .conditions.picture import PictureCondition
from .space import Space
from .stored import StoredSamples

IMAGES, HASHES, CLASSES, FACTS = "images.raw", "hashes.npy", "class.npy", "facts.json"
TOLD = "told-{:03d}.npy"
"""The values of a condition, by its number."""
TOLD_GRIDS = "told-{:03d}.raw"
"""The same of one that tells grids."""
EMBEDDINGS = "told-{:03d}-embeddings.npy"
"""Those of its texts, each once, sorted."""
OWN = {IMAGES, HASHES, CLASSES, FACTS} | {
    name.format(i) for i in range(1000) for name in (TOLD, TOLD_GRIDS, EMBEDDINGS)
}
AT_ONCE = 4096  # values that are checked
FEATURES = "features"
FEATURE_FILE = re.compile(r"(learned-)?[0-9a-f]{20}\.safetensors")


class Stored(NamedTuple):
    """Prepared samples (N, *shape) with what belongs to them; `labels` (N,) if there are classes, and other
    conditions by name with their values (N, …), of grids as `images` are.
    """

    images: Any
    space: Space
    classes: tuple[str, ...]
    labels: np.ndarray | None
    hashes: np.ndarray
    fingerprint: str
    notes: list[str]
    told: Mapping[str, tuple[Condition, Any]] = MappingProxyType({})


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


# --- writing -----------------------------------------------------------------------------------


@contextlib.contextmanager
def new_entry(place: Path) -> Iterator[Path]:
    """Yield a temporary folder to be filled; on success it becomes `place`, unless another was faster."""
    with contextlib.suppress(FileExistsError), contextlib.ExitStack() as held:
        try:
            folder = held.enter_context(atomic_folder(place))
        except PermissionError as error:
            raise ValueError(
                f"prepared data cannot be kept in {place.parent} ({error.strerror}): "
                "set ALPHABAR_CACHE to another folder"
            ) from None
        yield folder
        if place.exists() and not (place / FACTS).exists():  # it has lost its facts
            aside = temporary_name(place)
            with contextlib.suppress(OSError):
                os.replace(place, aside)
            shutil.rmtree(aside, ignore_errors=True)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write the description of a filled folder, with size, time and digest of each file in it."""
    sha256 = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    _share(folder / IMAGES, sha256[IMAGES])
    files = {name: _stamp(folder / name) | {"sha256": digest} for name, digest in sha256.items()}
    write_json(folder / FACTS, {**facts, "files": files})


def _share(images: Path, sha256: str) -> None:
    """Make `images` a hard link to equal ones of another entry, so that they take their room once.

    The same pictures are prepared again whenever they were moved, copied or touched.
    """
    size = images.stat().st_size
    for other in filter(_is_entry, images.parent.parent.iterdir()):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if (other / IMAGES).stat().st_size != size:
                continue
            known = read_json(other / FACTS)["files"][IMAGES]["sha256"]
            if known == sha256 and filecmp.cmp(images, other / IMAGES, shallow=False):
                link = temporary_name(images)
                os.link(other / IMAGES, link)
                os.replace(link, images)
                return


# --- reading -----------------------------------------------------------------------------------


def read_entry(place: Path) -> Stored:
    """What was prepared; DamagedFile, a ValueError, unless it is what was written."""
    try:
        facts = read_json(place / FACTS)
        _verify(place, facts)
        space, classes = Space(**facts["space"]), tuple(facts["classes"])
        shape = (facts["num_samples"], *space.shape)
        images = StoredSamples(place / IMAGES, shape, np.dtype(space.dtype))
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
            images, space, classes, labels, hashes, facts["fingerprint"], list(facts["notes"]), told
        )
    except (ValueError, TypeError, LookupError, OSError, EOFError, AttributeError) as error:
        raise DamagedFile(f"the prepared data in {place} is damaged; delete that folder: {error}") from None


def _read_told(place: Path, i: int, name: str, condition: Condition, n: int) -> Any:
    """The values of a condition."""
    if isinstance(condition, PictureCondition):
        shape, dtype = (n, *condition.own_shape), np.dtype(condition.space["dtype"])
        return StoredSamples(place / TOLD_GRIDS.format(i), shape, dtype)
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
        now = _stamp(place / name)
        if now["size"] != known["size"]:
            raise ValueError(f"{name} has {now['size']} bytes, and was written with {known['size']}")
        if now["mtime_ns"] != known["mtime_ns"]:
            if _sha256(place / name) != known["sha256"]:
                raise ValueError(f"{name} has changed since it was written")
            known["mtime_ns"], touched = now["mtime_ns"], True
    if touched:
        with contextlib.suppress(OSError):  # a cache that can only be read is checked each time
            write_json(place / FACTS, facts)


def _stamp(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- looking after it --------------------------------------------------------------------------


def cache_entries() -> list[CacheEntry]:
    """What the cache holds, the newest first."""
    root = cache_folder()
    found = [_entry(path) for path in root.iterdir() if _is_entry(path)] if root.is_dir() else []
    return sorted(found, key=lambda entry: -entry.prepared_at)


def clear_cache() -> int:
    """Remove all that the cache holds, to be prepared again when it is used; return how many bytes it was.

    The folder may be anybody's: what Alphabar wrote there is known by its name, and nothing else is touched.
    OSError if something of ours can't be removed.
    """
    entries = cache_entries()
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):  # another process clears it as well
            # the facts first: without them it is no entry any more
            for file in sorted(_own_files(entry.path), key=lambda file: file.name != FACTS):
                file.unlink(missing_ok=True)
            clean(entry.path)
            if not any(entry.path.iterdir()):
                entry.path.rmdir()
    clean(cache_folder())
    return sum(entry.size_bytes for entry in entries)


def _is_entry(path: Path) -> bool:
    if not path.is_dir():
        return False
    return bool(re.fullmatch(r"[0-9a-f]{20}", path.name) or (path.name == FEATURES and _own_files(path)))


def _own_files(folder: Path) -> list[Path]:
    """The files in a folder of the cache that have the names of ours."""
    features = folder.name == FEATURES
    return [
        file
        for file in folder.iterdir()
        if (FEATURE_FILE.fullmatch(file.name) if features else file.name in OWN)
    ]


def _entry(path: Path) -> CacheEntry:
    stats = [file.stat() for file in _own_files(path)]
    size, at = sum(stat.st_size // stat.st_nlink for stat in stats), path.stat().st_mtime
    if path.name == FEATURES:
        return CacheEntry(path, "features for scores", len(stats), (), size, at)
    try:
        facts = read_json(path / FACTS)
        shape = tuple(facts["space"]["shape"])
        return CacheEntry(path, facts["source"], facts["num_samples"], shape, size, at)
    except (ValueError, OSError, LookupError, TypeError):
        return CacheEntry(path, "damaged", 0, (), size, at)
