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
