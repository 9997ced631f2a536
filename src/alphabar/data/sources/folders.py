"""Folders of files, and what they have in common with archives: which files are samples, and which not."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from PIL import Image

from ...errors import some
from ..config import DataConfig
from .classes import folder_classes
from .pictures import PICTURE_ENDINGS, opened
from .side_labels import find_labels
from .source_types import TELLING, Labels, Pictures, files

OWN_LISTS = {"run.json", "samples.json"}
"""Files by which a folder that Alphabar wrote is known; with the entry "alphabar" inside."""
ASIDE = {"__MACOSX", "@eaDir"}
"""Folders of copies that other systems make of pictures."""
ARRAY_ENDINGS = {".npy", ".npz"}
HEAD = 4096


@dataclass
class Files:
    """What is in a folder or an archive, but for what Alphabar wrote there.

    Attributes:
        where: it is, in words.
        names: of all files, sorted.
        stream: (name, how many bytes are enough, or None for all) → a file, closed afterwards.
        stamp: as JSON, another one whenever these files may have changed.
        notes: what was left out.
    """

    where: str
    names: list[str]
    stream: Callable[[str, int | None], AbstractContextManager[BinaryIO]]
    stamp: Callable[[list[str]], Any]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names, own = _without_own(self.names, self._head)
        self.notes = [*self.notes, *own]

    def _head(self, name: str) -> bytes:
        with contextlib.suppress(OSError, ValueError):
            return self.read(name, HEAD)
        return b""

    def read(self, name: str, most: int | None = None) -> bytes:
        """The first bytes of a file, or all."""
        with self.stream(name, most) as file:
            return file.read(-1 if most is None else most)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Image.Image]:
        """A picture, as `Pictures` opens it."""
        with self.stream(name, None) as file, opened(file) as image:
            yield image


def pictures_of(found: Files, config: DataConfig) -> Pictures:
    """The pictures among files, by their endings in any letter case, with their classes."""
    seen = [name for name in found.names if is_picture(name)]
    side = find_labels(found, seen, config)
    rest = [name for name in found.names if name not in side.used]
    names, notes = files_of(found.where, rest, found.notes)
    names = side.labeled(names, config)

    def labels(numbers: Any) -> Labels:
        if side.told is None:
            return folder_classes([names[i] for i in numbers], config.classes)
        return side.labels([names[i] for i in numbers], config.conditions)

    notes += [*side.notes, *(side.told.notes if side.told else ())]
    identity = [found.stamp([*names, *sorted(side.used)]), side.identity]
    takes = Pictures.takes | TELLING | {"labels", "skip_unlabeled"}
    return Pictures(names, lambda i: found.open(names[i]), identity, labels, notes, takes, apart=True)


def folder(path: Path) -> Files:
    """All files below a folder."""
    names, notes = _walk(path)
    where = str(path.resolve())
    return Files(where, names, lambda name, most: open(path / name, "rb"), partial(_stamps, path), notes)


def _stamps(path: Path, names: Sequence[str]) -> list[Any]:
    """As JSON: the folder, and the size and time of each file."""
    found: dict[str, Any] = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile: it will be named as unreadable
            stat = (path / name).stat()
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return [str(path.resolve()), found]


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
    if not own:
        return names, []
    kept = [name for name in names if not any(str(above) in own for above in PurePosixPath(name).parents)]
    notes = [f"left out, written by Alphabar: {some(sorted(own))} ({files(len(names) - len(kept))})"]
    return kept, notes


def is_picture(name: str) -> bool:
    """Whether a file is one by its name."""
    return is_one(name, PICTURE_ENDINGS)


def is_one(name: str, endings: Collection[str]) -> bool:
    """Whether a file has one of these endings, and isn't hidden."""
    return not _hidden(name) and _ending(name) in endings


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
    tops = {top_of(name) for name in pictures}
    unread: dict[str, Counter[str]] = {}
    for name in rest:
        top = top_of(name)
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
    if name[:1] != "." and "/." not in name and not any(aside in name for aside in ASIDE):
        return ""  # there may be millions
    return next((p for p in PurePosixPath(name).parts if p.startswith(".") or p in ASIDE), "")


def _ending(name: str) -> str:
    """As of a `PurePosixPath`, in lower case.

    >>> _ending("a.b/c.JPG"), _ending("a.b/c"), _ending(".png"), _ending("a.")
    ('.jpg', '', '', '')
    """
    last = name.rpartition("/")[2]
    at = last.rfind(".")
    return last[at:].lower() if 0 < at < len(last) - 1 else ""


def top_of(name: str) -> str:
    """The first part of a name: of a folder, or of the file itself."""
    return PurePosixPath(name).parts[0] if name[:1] in "./" else name.partition("/")[0]
