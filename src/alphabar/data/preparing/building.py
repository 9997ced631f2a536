"""How an entry of the cache is written: a folder that is whole or absent, or one that is gone on with."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...files import (
    Locked,
    atomic_folder,
    clean,
    flush_folder,
    lock_of,
    locked,
    read_json,
    temporary_name,
    write_json,
)

IMAGES, HASHES, CLASSES, FACTS = "images-{:05d}.raw", "hashes.npy", "class.npy", "facts.json"
STREAM = "stream.json"
"""The files of a stream, of which an entry keeps a few samples."""
TOLD = "told-{:03d}.npy"
"""The values of a condition, by its number."""
TOLD_GRIDS = "told-{:03d}.raw"
"""The same of one that tells grids."""
EMBEDDINGS = "told-{:03d}-embeddings.npy"
"""Those of its texts, each once, sorted."""
OWN = re.compile(
    r"images-\d{5}\.raw|hashes\.npy|class\.npy|facts\.json|stream\.json"
    r"|told-\d{3}(\.npy|\.raw|-embeddings\.npy)"
)
"""Those, and the files of samples."""
FEATURES = "features"
FEATURE_FILE = re.compile(r"(learned-)?[0-9a-f]{20}\.safetensors")

PARTIAL, FORGOTTEN_S = ".partial", 7 * 24 * 3600.0
"""The ending of what is prepared by parts, and how long it is kept where nobody goes on with it."""


class Building(NamedTuple):
    """A folder of the cache that is being filled, and one for what is known of its parts meanwhile, if these
    are kept.
    """

    folder: Path
    parts: Path | None


@contextlib.contextmanager
def new_entry(place: Path, resumable: bool = False) -> Iterator[Building | None]:
    """Yield a folder to be filled; on success it becomes `place`, unless another was faster.

    A resumable one stays if this fails, and the next process to fill it goes on with it. One process at a
    time does so; None for who waited for another until it was done.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_there(place, error) from None
    with contextlib.suppress(FileExistsError), contextlib.ExitStack() as held:
        try:
            building = held.enter_context((_kept_folder if resumable else _new_folder)(place))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise _not_there(place, error) from None
            raise
        yield building
        if place.exists() and not (place / FACTS).exists():  # it has lost its facts
            _remove_aside(place)


def _not_there(place: Path, error: OSError) -> ValueError:
    return ValueError(
        f"prepared data cannot be kept in {place.parent} ({error.strerror}): set ALPHABAR_CACHE to another "
        "folder"
    )


@contextlib.contextmanager
def _new_folder(place: Path) -> Iterator[Building]:
    with atomic_folder(place) as folder:
        yield Building(folder, None)


@contextlib.contextmanager
def _kept_folder(place: Path) -> Iterator[Building | None]:
    """The folder `.NAME.partial` with the entry and what is known of its parts, until the entry is there."""
    for old in partial_folders(place.parent):
        if time.time() - old.stat().st_mtime > FORGOTTEN_S:
            remove_partial(old)
    partial = place.with_name(f".{place.name}{PARTIAL}")
    with locked(lock_of(place)):
        if (place / FACTS).exists():
            yield None
            return
        building = Building(partial / "entry", partial / "parts")
        for folder in (partial, partial / "entry", partial / "parts"):
            folder.mkdir(exist_ok=True)
        os.utime(partial)
        clean(building.folder)
        yield building
        if place.exists():
            _remove_aside(place)
        os.rename(building.folder, place)
        flush_folder(place.parent)
        shutil.rmtree(partial, ignore_errors=True)


def _remove_aside(place: Path) -> None:
    aside = temporary_name(place)
    with contextlib.suppress(OSError):
        os.replace(place, aside)
    shutil.rmtree(aside, ignore_errors=True)


def write_facts(folder: Path, facts: dict[str, Any], images: Sequence[tuple[int, str]], root: Path) -> None:
    """Write the description of a filled folder, with size, time and digest of each file in it.

    Args:
        folder: that was filled.
        facts: of what is in it.
        images: of how many samples each file of them is, and its SHA-256.
        root: the folder of all entries.
    """
    known = {IMAGES.format(k): sha256 for k, (_, sha256) in enumerate(images)}
    for name, digest in known.items():
        _share(folder / name, digest, root)
    names = sorted(path.name for path in folder.iterdir() if path.name != FACTS)
    files = {
        name: stamp_of(folder / name) | {"sha256": known.get(name) or sha256_of(folder / name)}
        for name in names
    }
    write_json(folder / FACTS, {**facts, "shards": [n for n, _ in images], "files": files})


def _share(images: Path, sha256: str, root: Path) -> None:
    """Make a file of samples a hard link to an equal one of another entry, so that they take their room once.

    The same pictures are prepared again whenever they were moved, copied or touched.
    """
    size = images.stat().st_size
    for entry in filter(is_entry, root.iterdir()):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            other = entry / images.name
            if other.stat().st_size != size:
                continue
            known = read_json(entry / FACTS)["files"][images.name]["sha256"]
            if known == sha256 and filecmp.cmp(images, other, shallow=False):
                link = temporary_name(images)
                os.link(other, link)
                os.replace(link, images)
                return


def partial_folders(root: Path) -> list[Path]:
    """What is being prepared by parts, or was given up."""
    return [path for path in root.glob(f".*{PARTIAL}") if re.fullmatch(r"\.[0-9a-f]{20}", path.stem)]


def remove_partial(path: Path) -> None:
    """Remove one, unless a process is at it."""
    with contextlib.suppress(Locked), locked(lock_of(path.with_name(path.stem[1:])), wait=False):
        shutil.rmtree(path, ignore_errors=True)


def is_entry(path: Path) -> bool:
    """Whether this folder is one by its name."""
    if not path.is_dir():
        return False
    return bool(re.fullmatch(r"[0-9a-f]{20}", path.name) or (path.name == FEATURES and own_files(path)))


def stamp_of(path: Path) -> dict[str, Any]:
    """The size and the time of a file."""
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_files(folder: Path) -> list[Path]:
    """The files in a folder of the cache that have the names of ours."""
    features = folder.name == FEATURES
    return [file for file in folder.iterdir() if (FEATURE_FILE if features else OWN).fullmatch(file.name)]
