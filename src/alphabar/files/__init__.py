"""Files that are either whole or absent: temporaries, locks, JSON, lines, arrays, tensors with a digest."""

from .arrays import make_array, npy_bytes, write_array, write_rows
from .facts import COUNT, brief, check_facts
from .json_files import DamagedFile, Lines, json_lines, lines_with_ends, parse_json, read_json, write_json
from .places import (
    Locked,
    atomic_folder,
    clean,
    expanded,
    flush_folder,
    is_temporary,
    lock_of,
    locked,
    missing,
    naming,
    temporary_name,
    write_all,
    write_bytes,
    written,
)
from .tensors import Piece, load_tensors, read_metadata, save_part, save_tensors

__all__ = [
    "COUNT",
    "DamagedFile",
    "Lines",
    "Locked",
    "Piece",
    "atomic_folder",
    "brief",
    "check_facts",
    "clean",
    "expanded",
    "flush_folder",
    "is_temporary",
    "json_lines",
    "lines_with_ends",
    "load_tensors",
    "lock_of",
    "locked",
    "make_array",
    "missing",
    "naming",
    "npy_bytes",
    "parse_json",
    "read_json",
    "read_metadata",
    "save_part",
    "save_tensors",
    "temporary_name",
    "write_all",
    "write_array",
    "write_bytes",
    "write_json",
    "write_rows",
    "written",
]
