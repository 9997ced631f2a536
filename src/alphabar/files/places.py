"""How files are written: under a temporary name first, never over what must stay, and under a lock.

The temporary file lies beside the final one, as `.NAME.HOST-PID-N.tmp`: that says whose it is, and whoever
writes to that folder next removes what dead processes have left there. Libraries make bytes, which are
written here: they never open a file to write themselves.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

OLD_S = 24 * 3600.0
"""A temporary that has not been written to for this long is left over, whoever made it."""

_HOST = re.sub(r"[^A-Za-z0-9_]+", "_", socket.gethostname()) or "host"
_TEMPORARY = re.compile(r"\..+\.(?P<host>\w+)-(?P<pid>\d+)-\d+\.tmp")
_numbers = itertools.count()
_cleaned: set[str] = set()


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~name` replaced by that home folder; ValueError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"the home folder in {path} is not known; give the whole path") from None


def missing(given: str | os.PathLike[str], what: str = "file or folder", more: str = "") -> FileNotFoundError:
    """The error for a path at which there is nothing; it names what is called almost so beside it.

    Args:
        given: the path, as it was given.
        what: should have been there.
        more: to say of it.
    """
    path, names = expanded(given), []
    with contextlib.suppress(OSError):
        names = difflib.get_close_matches(path.name, os.listdir(path.parent), 1)
    if path.is_dir():
        return FileNotFoundError(f"{given} is a folder, and no {what}{f' ({more})' if more else ''}")
    near = f"; did you mean {Path(given).parent / names[0]}?" if names else ""
    return FileNotFoundError(f"no such {what}: {given}{f' ({more})' if more else ''}{near}")


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process uses, and that says whose it is."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{next(_numbers)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether this is what `temporary_name` calls a file or folder."""
    return _TEMPORARY.fullmatch(path.name) is not None


def clean(folder: Path) -> list[Path]:
    """Remove the temporaries directly in `folder` whose process is gone, or that are a day old."""
    removed = []
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and _is_left(path, match["host"], int(match["pid"])):
            _remove(path)
            removed.append(path)
    return removed


def _remove(path: Path) -> None:
    """Remove a temporary if that can be done; if not, it is cleaned another time."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _clean_once(folder: Path) -> None:
    """Clean a folder that this process writes to for the first time."""
    place = os.path.realpath(folder)
    if place not in _cleaned:
        clean(folder)
        _cleaned.add(place)


def _is_left(path: Path, host: str, pid: int) -> bool:
    if host == _HOST and not _is_alive(pid):
        return True
    with contextlib.suppress(OSError):
        inside = path.iterdir() if path.is_dir() else ()
        return time.time() - max(file.stat().st_mtime for file in (path, *inside)) > OLD_S
    return False


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # there, signal 0 ends the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's
    return True


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, such as that of a full disk, or a temporary one, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or is_temporary(Path(error.filename))):
            error.filename, error.filename2 = str(path), None
        raise


def write_all(file: FileIO, content: object) -> None:
    """Write all of `content`, bytes or an array, to a file without a buffer."""
    view = memoryview(content)  # type: ignore[arg-type]
    left = view.cast("B") if view.nbytes else b""
    while left:
        left = left[file.write(left) :]


@contextlib.contextmanager
def written(path: Path) -> Iterator[FileIO]:
    """A new file without a buffer, in place of what was there, flushed to the disk at the end."""
    with open(path, "wb", buffering=0) as file, naming(path):
        yield file
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes, *, new_file: bool = False) -> None:
    """Write a whole file: whatever happens, `path` is either as it was, or has all of `content`."""
    write_parts(path, [content], new_file=new_file)


def write_parts(path: Path, contents: Iterable[object], *, new_file: bool = False) -> None:
    """The same of bytes and arrays that are made one after another.

    It is written under a temporary name beside `path`, flushed and renamed. What dead processes have left in
    that folder is removed first.

    Args:
        path: of the file; its folder is made.
        contents: bytes or arrays, one after another.
        new_file: raise FileExistsError, and change nothing, if it exists or comes to exist meanwhile.
    """
    if new_file and os.path.lexists(path):
        raise _exists(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clean_once(path.parent)
    temporary = temporary_name(path)
    try:
        with naming(path):
            with open(temporary, "xb", buffering=0) as file:
                for content in contents:
                    write_all(file, content)
                os.fsync(file.fileno())
            if new_file:
                _rename_to_new(temporary, path)
            else:
                os.replace(temporary, path)
            flush_folder(path.parent)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is renamed to `path`, which must not exist.

    FileExistsError, with nothing changed, if it exists by then: another process was faster.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clean_once(path.parent)
    temporary = temporary_name(path)
    with naming(path):
        temporary.mkdir()
    try:
        yield temporary
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise _exists(path) from None
            raise
        flush_folder(path.parent)
    finally:
        _remove(temporary)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but never over what is there."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without links
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise _exists(path) from None
        os.replace(temporary, path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists already; choose another name (nothing was written)")


def flush_folder(folder: Path) -> None:
    """Make renames within `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with naming(folder):
                os.fsync(handle)
        finally:
            os.close(handle)


# --- locks ---------------------------------------------------------------------------------------


class Locked(ValueError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, keep: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`, alone among all processes and threads; it ends with its holder.

    Args:
        path: of the lock file, made and removed here.
        keep: leave the file, because it has another use as well.
        wait: wait for another holder to finish; otherwise raise Locked.

    On a system or file system without such locks, everybody goes ahead at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a") as file:
            if not _flock(file.fileno(), wait):
                raise Locked(f"another process holds {path}")
            # the holder before may have removed the file that this handle is of
            if not _is_same(file.fileno(), path):
                continue
            try:
                yield
            finally:
                if not keep:
                    _remove(path)
            return


def _is_same(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.fstat(handle).st_ino == path.stat().st_ino
    return False


def _flock(handle: int, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
    return True


def lock_of(path: Path) -> Path:
    """The lock file of a file that several processes change: hold it, read again, and only then replace."""
    return path.with_name(f".{path.name}.lock")
