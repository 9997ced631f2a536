"""Names of files that a command may write."""

from __future__ import annotations

from pathlib import Path


def new_file(path: str, ending: str = ".png") -> Path:
    """A file to write: it must not exist, and have the right ending."""
    file = Path(path).expanduser()
    if file.suffix.lower() != ending:
        raise ValueError(f"--out must end in {ending}, got {path}")
    if file.exists():
        raise ValueError(f"{file} exists already; choose another name (nothing was written)")
    return file


def free_folder(stem: str) -> Path:
    """The first of stem-001, stem-002, … that is not there."""
    return next(p for i in range(1, 10**6) if not (p := Path(f"{stem}-{i:03d}")).exists())
