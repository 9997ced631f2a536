"""Files that are either whole or absent: temporaries, locks, JSON, lines, tensors with a digest."""

from .facts import COUNT, brief, check_facts
from .json_files import DamagedFile, Lines, json_lines, parse_json, read_json, write_json
from .places import (
    Locked,
    atomic,
    atomic_folder,
    clean,
    expanded,
    flush_folder,
    is_temporary,
    lock_of,
    locked,
    new_folder,
    temporary_name,
)
from .tensors import load_tensors, read_metadata, save_tensors

__all__ = [
    "COUNT",
    "DamagedFile",
    "Lines",
    "Locked",
    "atomic",
    "atomic_folder",
    "brief",
    "check_facts",
    "clean",
    "expanded",
    "flush_folder",
    "is_temporary",
    "json_lines",
    "load_tensors",
    "lock_of",
    "locked",
    "new_folder",
    "parse_json",
    "read_json",
    "read_metadata",
    "save_tensors",
    "temporary_name",
    "write_json",
]
