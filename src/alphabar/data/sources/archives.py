"""Archives of pictures or sound: .zip, .tar, and folders of .tar files (WebDataset's shards)."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import zipfile
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import numpy as np

from ...errors import some
from ...forked import over_processes, processes_for
from ..config import DataConfig
from .folders import Files, is_one
from .pictures import PICTURE_ENDINGS
from .sound import SOUND_ENDINGS
from .source_types import stamp

SAMPLE_ENDINGS = PICTURE_ENDINGS | SOUND_ENDINGS
LARGEST_ENTRY = 2**29
LARGEST_IN_MEMORY = 2**23
LARGE = 2**28  # bytes of several .tar files that are looked through by several processes
BLOCK = tarfile.BLOCKSIZE
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files begin that were made by gzip, bzip2, xz and zstd."""


def zipped(path: Path, config: DataConfig) -> Files:
    """All files within a .zip; a single folder that holds all pictures, or sound, doesn't count as one."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or no .zip: {error}") from None
    found = [(_entry_name(info), info) for info in archive.infolist() if not info.filename.endswith("/")]
    entries = {name: info for name, info in found if PurePosixPath(name).parts}
    root = _root(list(entries), config)
    entries = {name.removeprefix(root): info for name, info in entries.items()}
    opened = {os.getpid(): archive}

    def own() -> zipfile.ZipFile:
        """This process's: if one was forked, both would move the place that is read in one file."""
        if os.getpid() not in opened:
            opened[os.getpid()] = zipfile.ZipFile(path)
        return opened[os.getpid()]

    @contextlib.contextmanager
    def unpacked(name: str, most: int | None) -> Iterator[BinaryIO]:
        """An entry, whole unless `most` bytes are enough; a large one on the disk, and not in memory."""
        if most is None and entries[name].file_size > LARGEST_ENTRY:
            raise ValueError(f"unpacks to {_gb(entries[name].file_size)}, too much for one file")
        with SpooledTemporaryFile(LARGEST_IN_MEMORY) as copy:
            try:
                with own().open(entries[name]) as file:  # whose end has the checksum
                    copyfileobj(file if most is None else io.BytesIO(file.read(most)), copy)
            except (RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ValueError(f"cannot be unpacked: {error}") from None  # encrypted, unknown, damaged
            copy.seek(0)
            yield copy  # pyright: ignore[reportReturnType]

    notes = _twice([name.removeprefix(root) for name, _ in found], entries)
    return Files(str(path), sorted(entries), unpacked, lambda _: stamp(path), notes)


def _entry_name(info: zipfile.ZipInfo) -> str:
    """Its name; Info-ZIP on Unix writes UTF-8 without saying so, which `zipfile` takes for code page 437."""
    if not info.flag_bits & 0x800 and info.create_system == 3:
        with contextlib.suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _root(names: Sequence[str], config: DataConfig) -> str:
    """The folder, with its slash, that all samples lie in; "" if there is none."""
    samples = [name for name in names if is_one(name, SAMPLE_ENDINGS)]
    tops = {PurePosixPath(name).parts[0] for name in samples if "/" in name}
    inside = all(name.count("/") > (config.classes == "folders") for name in samples)
    return f"{tops.pop()}/" if len(tops) == 1 and inside else ""


def _twice(names: Sequence[str], kept: object) -> list[str]:
    """What to say of entries of one name."""
    counts = Counter(names)
    twice = sorted(name for name in kept if counts[name] > 1)  # pyright: ignore[reportGeneralTypeIssues]
    return [f"of entries of one name the last is read: {some(twice)}"] if twice else []


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


# --- .tar ----------------------------------------------------------------------------------------


def tarred(path: Path, config: DataConfig) -> Files:
    """All files within a .tar, which is read where it lies; as in a .zip otherwise."""
    names, places, notes = _index(path)
    root = _root(names, config)
    return _of_tars([path], [name.removeprefix(root) for name in names], [places], notes)


def shards(path: Path, names: Sequence[str]) -> Files:
    """All files within the .tar files of a folder, one after another."""
    notes = [f"{len(names)} .tar files are read one after another: {some(list(names))}"]
    every, places = [], []
    paths = [path / name for name in names]
    large = sum(tar.stat().st_size for tar in paths) > LARGE and processes_for(len(paths)) > 1
    listed = (over_processes if large else map)(_index, paths)
    for name, (found, where, own) in zip(names, listed, strict=True):
        notes += [f"{name}: {note}" for note in own]
        every.append(found)
        places.append(where)
    if len(set(chain.from_iterable(every))) < sum(map(len, every)):  # keys are those of a shard
        every = [[_within(PurePosixPath(tar).stem, entry) for entry in found]
                 for tar, found in zip(names, every, strict=True)]  # fmt: skip
    return _of_tars(paths, list(chain.from_iterable(every)), places, notes)


def _within(stem: str, name: str) -> str:
    """The name of an entry that others may have in other shards."""
    above, slash, last = name.rpartition("/")
    return f"{above}{slash}{stem}:{last}"


class _Bounded(io.BufferedReader):
    """A file of which no more than is there is asked for: a header may claim anything."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _index(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """(names of the plain files, (n, 2) where each begins and its size, notes) of a .tar.

    ValueError if it is cut short or damaged.
    """
    names, places, left_out = [], array("q"), []
    with _Bounded(open(path, "rb", buffering=0)) as file:
        if file.peek(6).startswith(COMPRESSED):
            raise ValueError(
                f"{path} is compressed, and pictures are read from within a .tar where they lie: decompress "
                "it once (such as by gunzip)"
            )
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                end = -1
                while (member := tar.next()) is not None:
                    if tar.offset <= end or member.size < 0:
                        raise tarfile.ReadError("an entry reaches back")
                    end = tar.offset
                    vars(tar)["members"].clear()  # which would hold them all
                    if member.isdir() or not PurePosixPath(member.name).parts:
                        continue
                    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                        left_out.append(member.name)
                        continue
                    names.append(member.name)
                    places.extend((member.offset_data, member.size))
                file.seek(tar.offset)
            last, behind = file.read(BLOCK), file.read(LARGEST_IN_MEMORY)
        except (tarfile.TarError, ValueError, LookupError, OverflowError, EOFError, OSError) as error:
            raise ValueError(f"{path} is damaged, cut short or no .tar: {error}") from None
    if len(last) < BLOCK or last.strip(b"\0"):
        what = "is cut short" if len(last) < BLOCK else "is damaged"
        raise ValueError(f"{path} {what}: what follows its entry number {len(names)} is no end of a .tar")
    notes = [f"links, devices and the like are left out: {some(left_out)}"] if left_out else []
    if behind.strip(b"\0"):
        notes.append("what is behind its end mark is not read")
    last_of = {name: i for i, name in enumerate(names)}
    found = np.array(places, np.int64).reshape(-1, 2)
    if len(last_of) < len(names):
        notes += _twice(names, last_of)
        return list(last_of), found[list(last_of.values())], notes
    return names, found, notes


def _of_tars(tars: Sequence[Path], names: list[str], places: Sequence[np.ndarray], notes: list[str]) -> Files:
    """The files of these names; `places` of each .tar's, in their order. There may be millions."""
    order = sorted(range(len(names)), key=names.__getitem__)
    names = [names[i] for i in order]
    tar_of = np.repeat(np.arange(len(tars), dtype=np.int32), [len(each) for each in places])[order]
    where = np.concatenate(places)[order]

    @contextlib.contextmanager
    def stream(name: str, most: int | None) -> Iterator[BinaryIO]:
        i = bisect_left(names, name)
        tar, (offset, size) = tars[tar_of[i]], where[i].tolist()
        if most is None and size > LARGEST_ENTRY:
            raise ValueError(f"has {_gb(size)}, too much for one file")
        wanted = size if most is None else min(most, size)
        with open(tar, "rb") as file:
            file.seek(offset)
            content = file.read(wanted)
        if len(content) < wanted:
            raise ValueError(f"{tar.name} got shorter since it was opened")
        yield io.BytesIO(content)

    at = str(tars[0]) if len(tars) == 1 else str(tars[0].parent)
    return Files(at, names, stream, lambda _: [stamp(tar) for tar in tars], notes)
