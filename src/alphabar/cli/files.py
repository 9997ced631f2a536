"""Names of files that a command may write."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import clean, expanded


def new_file(path: str, ending: str = ".png") -> Path:
    """The path of a file to write; ValueError if it exists, or hasn't the right ending."""
    file = expanded(path)
    if file.suffix.lower() != ending:
        raise ValueError(f"--out must end in {ending}, got {path}")
    clean(file.parent)  # what this very command may have left when it was killed after the file was there
    if os.path.lexists(file):
        raise ValueError(f"{file} exists already; choose another name (nothing was written)")
    return file
