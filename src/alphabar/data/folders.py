"""Folders and zips of pictures: which files are samples, which are not and why, and what are classes."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .pictures import PICTURE_ENDINGS, opened
from .source_types import Labels, Pictures, files, some, stamp

OWN_LISTS = {"run.json", "samples.json"}
"""Files by which a folder that Alphabar wrote is known; with the entry "alphabar" inside."""
ASIDE = {"__MACOSX", "@eaDir"}
"""Folders of copies that other systems make of pictures."""
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
LARGEST_ENTRY = 2**29
LARGEST_IN_MEMORY = 2**23
ARRAY_ENDINGS = {".npy", ".npz"}


def listed(path: Path) -> tuple[list[str], list[str]]:
    """(the files below a folder, but for what Alphabar wrote; notes)."""
    names, notes = _walk(path)
    names, own = _without_own(names, lambda name: _head(path / name))
    return names, notes + own


def stamps(path: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The size and time of each file."""
    found = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile: it will be named as unreadable
            stat = (path / name).stat()
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return found


def folder(path: Path, names: list[str], notes: list[str], classes: str) -> Pictures:
    """The pictures among `names` below a folder, by their endings in any letter case, without hidden ones."""
    names, notes = files_of(str(path.resolve()), names, notes)
    identity = [str(path.resolve()), stamps(path, names)]
    return _pictures(identity, names, lambda name: opened(path / name), classes, notes)


def zipped(path: Path, classes: str) -> Pictures:
    """All pictures within a .zip; a single folder that holds all of them doesn't count as one."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or no .zip: {error}") from None
    found = [(_entry_name(info), info) for info in archive.infolist() if not info.filename.endswith("/")]
    entries = {name: info for name, info in found if PurePosixPath(name).parts}
    pictures = [name for name in entries if not _hidden(name) and _ending(name) in PICTURE_ENDINGS]
    tops = {PurePosixPath(name).parts[0] for name in pictures if "/" in name}
    inside = all(name.count("/") > (classes == "folders") for name in pictures)
    root = f"{tops.pop()}/" if len(tops) == 1 and inside else ""
    entries = {name.removeprefix(root): info for name, info in entries.items()}

    @contextlib.contextmanager
    def unpacked(name: str, most: int | None = None) -> Iterator[BinaryIO]:
        """An entry, whole unless `most` bytes are enough; a large one on the disk, and not in memory."""
        with SpooledTemporaryFile(LARGEST_IN_MEMORY) as copy:
            try:
                with archive.open(entries[name]) as file:  # whose end has the checksum
                    copyfileobj(file if most is None else io.BytesIO(file.read(most)), copy)
            except (RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ValueError(f"cannot be unpacked: {error}") from None  # encrypted, unknown, damaged
            copy.seek(0)
            yield copy  # pyright: ignore[reportReturnType]

    @contextlib.contextmanager
    def open_entry(name: str) -> Iterator[Image.Image]:
        if entries[name].file_size > LARGEST_ENTRY:
            raise ValueError(f"unpacks to {entries[name].file_size / 1e9:.1f} GB, too much for one picture")
        with unpacked(name) as file, opened(file) as image:
            yield image

    def head(name: str) -> bytes:
        with unpacked(name, 4096) as file:
            return file.read()

    names, own = _without_own(sorted(entries), head)
    counts = Counter(name.removeprefix(root) for name, _ in found)
    if twice := [name for name in names if counts[name] > 1]:
        own.append(f"of entries of one name the last is read: {some(twice)}")
    names, notes = files_of(str(path), names, own)
    return _pictures(stamp(path), names, open_entry, classes, notes)


def _entry_name(info: zipfile.ZipInfo) -> str:
    """Its name; Info-ZIP on Unix writes UTF-8 without saying so, which `zipfile` takes for code page 437."""
    if not info.flag_bits & 0x800 and info.create_system == 3:
        with contextlib.suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _pictures(
    identity: Any,
    names: list[str],
    read: Callable[[str], contextlib.AbstractContextManager[Image.Image]],
    classes: str,
    notes: list[str],
) -> Pictures:
    return Pictures(
        names,
        lambda i: read(names[i]),
        identity,
        lambda numbers: folder_labels([names[i] for i in numbers], classes),
        notes,
    )


# --- which files -------------------------------------------------------------------------------


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """All files below a folder, sorted, and notes.

    Links to folders are followed last, and each folder is entered once, so loops end.
    """
    names, notes, entered = [], [], {}
    real, links = deque([(root, "")]), deque()
    while real or links:
        place, prefix = real.popleft() if real else links.popleft()
        try:
            stat = place.stat()
            before = entered.setdefault((stat.st_dev, stat.st_ino), prefix)
            if before != prefix:
                notes.append(f"{prefix} is a link to {before or 'DATA itself'}, which is read once")
                continue
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            notes.append(f"{prefix or place} cannot be entered: {error.strerror}")
            continue
        for entry in entries:
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if os.path.isdir(entry.path):
                if not entry.is_symlink():
                    real.append((Path(entry.path), name))
                elif not _hidden(name):
                    links.append((Path(entry.path), name))
            elif os.path.isfile(entry.path):
                names.append(name)
            elif entry.is_symlink():
                notes.append(f"{name} is a link to nothing")
    return sorted(names), notes


def _without_own(names: list[str], head: Callable[[str], bytes]) -> tuple[list[str], list[str]]:
    """Names without what lies in folders that Alphabar wrote (runs, samples), other than DATA itself."""
    lists = [name for name in names if "/" in name and name.rpartition("/")[2] in OWN_LISTS]
    own = {name.rpartition("/")[0] for name in lists if b'"alphabar"' in head(name)}
    kept = [name for name in names if not any(str(above) in own for above in PurePosixPath(name).parents)]
    notes = [f"left out, written by Alphabar: {some(sorted(own))} ({files(len(names) - len(kept))})"]
    return kept, notes if own else []


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def files_of(
    where: str,
    names: list[str],
    before: list[str],
    endings: Collection[str] = PICTURE_ENDINGS,
    noun: str = "picture",
) -> tuple[list[str], list[str]]:
    """The names of files of a kind, and notes on the others after those `before`; ValueError if none is."""
    hidden = Counter(part for name in names if (part := _hidden(name)))
    names = [name for name in names if not _hidden(name)]
    pictures = [name for name in names if _ending(name) in endings]
    rest = [name for name in names if _ending(name) not in endings]
    others = Counter(_ending(name) or "no ending" for name in rest)
    listing = ", ".join(f"{n} × {ending}" for ending, n in others.most_common(4))
    if not pictures:
        found = (
            ", ".join([listing] * bool(listing) + [f"{hidden.total()} × hidden"] * bool(hidden)) or "nothing"
        )
        hint = "; arrays go into one file: numpy.save('data.npy', numpy.stack(arrays))"
        raise ValueError(
            f"no {noun}s in {where} (found {'; '.join([found, *before])}); "
            f"{noun}s end in {', '.join(sorted(endings))}" + (hint if ARRAY_ENDINGS & set(others) else "")
        )
    notes = list(before)
    if others:
        more = f" and {len(others) - 4} more kinds" if len(others) > 4 else ""
        notes.append(f"{len(rest)} other file{'s' if len(rest) > 1 else ''} left out ({listing}{more})")
    tops = {PurePosixPath(name).parts[0] for name in pictures}
    unread: dict[str, Counter[str]] = {}
    for name in rest:
        top = PurePosixPath(name).parts[0]
        if "/" in name and top not in tops:
            unread.setdefault(top, Counter())[_ending(name) or "no ending"] += 1
    for top, kinds in unread.items():
        listing = ", ".join(f"{n} × {ending}" for ending, n in kinds.most_common(4))
        notes.append(f"{top} holds no {noun} that can be read ({listing}) and is left out as a whole")
    if hidden:
        n, parts = hidden.total(), some(sorted(hidden))
        notes.append(f"{n} hidden file{'s' if n > 1 else ''} left out ({parts})")
    return pictures, notes


def _hidden(name: str) -> str:
    """The part of a name by which it is hidden; "" if it isn't."""
    return next((p for p in PurePosixPath(name).parts if p.startswith(".") or p in ASIDE), "")


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


# --- classes -----------------------------------------------------------------------------------


def folder_labels(names: Sequence[str], classes: str) -> Labels:
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
