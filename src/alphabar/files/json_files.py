"""JSON files, and .jsonl files of whole lines."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .places import naming, write_bytes

DEEPEST = 32
"""How deep what a program reads again may be nested: all that walks over it walks within Python's stack."""


class DamagedFile(ValueError):
    """A file that was cut short, or changed since it was written."""


def write_json(path: Path, value: Any, *, new_file: bool = False) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(path, json.dumps(value, indent=1).encode() + b"\n", new_file=new_file)


def read_json(path: Path) -> Any:
    """Read a JSON file; DamagedFile if it is not valid JSON."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFile(f"{path} is not valid JSON: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError if it isn't JSON, says a thing twice, or is nested too deep."""
    try:
        value = json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if _depth(value) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of an object; ValueError where two have one name, of which readers take either."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _depth(value: Any) -> int:
    """How deep lists and mappings are nested, level by level."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [one for each in level for one in (each.values() if isinstance(each, dict) else each)]
    return depth


class Lines:
    """A .jsonl file to append whole lines to; a torn last line is cut off when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        content = path.read_bytes()
        self.size = content.rfind(b"\n") + 1
        if self.size < len(content):
            self._file.truncate(self.size)

    def cut(self, keep: int) -> int:
        """Keep the first `keep` lines; return how many there are then."""
        content = self.path.read_bytes()
        count = end = 0
        while count < keep and (place := content.find(b"\n", end)) >= 0:
            count, end = count + 1, place + 1
        if end < self.size:
            self._file.truncate(end)
            self.size = end
        return count

    def write(self, row: Any) -> None:
        """Append one line, or none of it: OSError if the disk is full."""
        line = json.dumps(row).encode() + b"\n"
        try:
            with naming(self.path):
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
            raise
        self.size += len(line)

    def flush(self) -> None:
        """Flush it to the disk."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def json_lines(path: Path, start: int = 0) -> list[Any]:
    """The lines of a .jsonl file from byte `start` on, none if it is absent; a torn last one is left out."""
    return [row for row, _ in lines_with_ends(path, start)]


def lines_with_ends(path: Path, start: int = 0) -> Iterator[tuple[Any, int]]:
    """The same one by one, each with the byte after it."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(start)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            start += len(line)
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DamagedFile(f"{path} is damaged at line {number}: {error}") from None
            yield row, start
