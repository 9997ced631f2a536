"""Pictures that cannot be read, and what to say of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...errors import some
from ..sources.pictures import reason


class Unreadable:
    """Why frames of files cannot be read.

    Args:
        names: of all files.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.why: dict[tuple[int, int], str] = {}

    def __bool__(self) -> bool:
        return bool(self.why)

    def __len__(self) -> int:
        return len(self.why)

    def add(self, file: int, frames: Collection[int], error: Exception) -> None:
        """Frames of a file, and what was raised."""
        self.why.update({(file, frame): reason(error) for frame in frames})

    def listed(self) -> list[list[Any]]:
        """As JSON."""
        return [[file, frame, why] for (file, frame), why in self.why.items()]

    def add_listed(self, listed: list[list[Any]]) -> None:
        """What another one `listed`."""
        self.why |= {(file, frame): why for file, frame, why in listed}

    def message(self, total: int, frames: Mapping[int, tuple[int, ...]]) -> str:
        """The error of pictures, `total` in all, where none may be left out."""
        return (
            f"{len(self)} of {total} pictures cannot be read: {self.shown(frames)}. "
            "Repair, shrink or remove them, or go on without them (--skip-bad, skip_bad=True)"
        )

    def shown(self, frames: Mapping[int, tuple[int, ...]]) -> str:
        """Their names, each with its reason, and the folders in which all is lost; `frames` of each file."""
        named = {(i, k): self.names[i] + (f", frame {k + 1}" if k else "") for i, k in self.why}
        shown = some([f"{named[key]} ({self.why[key]})" for key in sorted(self.why)])
        bad = {i for i, k in self.why if len(frames.get(i, ())) <= 1}
        kept = {_top(name) for i, name in enumerate(self.names) if i not in bad}
        lost = sorted({_top(self.names[i]) for i in bad} - kept - {""})
        return shown + (f"; nothing in {some(lost)} can be read" if lost else "")


def _top(name: str) -> str:
    top, slash, _ = name.partition("/")
    return top if slash else ""
