"""Tensors in one .safetensors file, or in several, with metadata and a digest of all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_files import DamagedFile, parse_json
from .places import lock_of, locked, missing, write_parts

if TYPE_CHECKING:
    from torch import Tensor

KEY, PLACES = "alphabar", "DCP_SHARDING_INFO"
"""Entries of a file's header: ours, and where `torch.distributed.checkpoint` has the places of pieces."""

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL", "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
"""What the format calls torch's types."""

Piece = tuple["Tensor", tuple[int, ...]]
"""A piece of a tensor, and where its first number is in the whole one."""


def save_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    *,
    parts: Mapping[str, str] | None = None,
    new_file: bool = False,
    replacing: str | None = None,
) -> str:
    """Write a .safetensors file with `metadata` as JSON; return its digest.

    The digest covers metadata, names, types, shapes and bytes, and is kept beside the metadata. Tensors that
    share memory, such as tied weights, are written once for each name.

    Args:
        path: of the file.
        tensors, metadata: its contents.
        parts: files that hold the tensors instead, all of them in pieces: the digest of each, as `save_part`
            returned it, by its name below the file's folder.
        new_file: FileExistsError if the file exists.
        replacing: the digest that the file there must still have when it is replaced, or else ValueError:
            another process has written another one since it was read.
    """
    known = {"facts": metadata} | ({} if parts is None else {"parts": dict(parts)})
    digest = _digest(tensors, _covered(known))
    entries = {KEY: json.dumps({"digest": digest, **known}, sort_keys=True)}
    with contextlib.ExitStack() as held:
        if replacing is not None:
            held.enter_context(locked(lock_of(path)))
            if read_metadata(path)[1] != replacing:
                raise ValueError(
                    f"{path} has changed since it was read: another process has written it (nothing was "
                    "written); give the same command again"
                )
        write_parts(path, _content(tensors, entries), new_file=new_file)
    return digest


def save_part(path: Path, pieces: Mapping[str, Piece]) -> str:
    """Write a file of pieces of tensors, and return its digest.

    It has the format of `torch.distributed.checkpoint`'s safetensors: `HuggingFaceStorageReader` reads a
    folder of such files, and cuts the tensors anew.
    """
    tensors = {name: tensor for name, (tensor, _) in pieces.items()}
    places = {name: list(place) for name, (_, place) in pieces.items()}
    digest = _digest(tensors, places)
    offsets = {name: {"saved_offsets": place} for name, place in places.items()}
    entries = {
        KEY: json.dumps({"digest": digest, "facts": places}, sort_keys=True),
        PLACES: json.dumps(offsets, sort_keys=True),
    }
    write_parts(path, _content(tensors, entries))
    return digest


def _content(tensors: Mapping[str, Tensor], entries: dict[str, str]) -> Iterator[object]:
    """A .safetensors file, one tensor after another.

    safetensors' own function makes two copies of all, and writes entries in an order that changes from run
    to run.
    """
    header: dict[str, Any] = {"__metadata__": entries}
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that all are aligned
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        kind = DTYPES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    yield from (_bytes(tensors[name]) for name in names)


def load_tensors(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any], str]:
    """Tensors, metadata and digest that `save_tensors` wrote. DamagedFile if one bit has changed.

    They are in the file, and not yet in memory; what is in pieces is put together whenever it is asked for.
    """
    tensors, entry = _load(path)
    if "parts" in entry:
        tensors = _Joined(path, entry["parts"])
    return tensors, entry["facts"], entry["digest"]


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of one file and its entry, which agree."""
    from safetensors import SafetensorError, safe_open

    entry = _entry(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read: {error}") from None
    if _digest(tensors, _covered(entry)) != entry["digest"]:
        raise DamagedFile(f"{path} is damaged: its contents don't match the digest in its header")
    return tensors, entry


class _Joined(Mapping[str, "Tensor"]):
    """Tensors in pieces, of which one at a time is put together; DamagedFile unless all pieces are there.

    Args:
        path: of the file that names the parts.
        parts: their digests, by their names below its folder.
    """

    def __init__(self, path: Path, parts: Mapping[str, str]) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        for name, digest in parts.items():
            try:
                tensors, entry = _load(path.parent / name)
            except FileNotFoundError:
                raise DamagedFile(f"{path} is damaged: it has lost {name}") from None
            if entry["digest"] != digest:
                raise DamagedFile(f"{path} is damaged: {name} is that of another one")
            for key, tensor in tensors.items():
                self._pieces.setdefault(key, []).append((tensor, tuple(entry["facts"][key])))
        for key, pieces in self._pieces.items():
            if sum(piece.numel() for piece, _ in pieces) != math.prod(self._shape(key)):
                raise DamagedFile(f"{path} is damaged: it has lost pieces of {key}")

    def _shape(self, name: str) -> tuple[int, ...]:
        pieces = self._pieces[name]
        ends = [[a + n for a, n in zip(place, piece.shape, strict=True)] for piece, place in pieces]
        return tuple(map(max, zip(*ends, strict=True)))

    def __getitem__(self, name: str) -> Tensor:
        (first, _), *others = pieces = self._pieces[name]
        if not others:
            return first
        found = first.new_empty(self._shape(name))
        for piece, place in pieces:
            found[tuple(slice(a, a + n) for a, n in zip(place, piece.shape, strict=True))] = piece
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def read_metadata(path: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the digest of a file by `save_tensors`, from its header alone."""
    entry = _entry(path)
    return entry["facts"], entry["digest"]


def _entry(path: Path) -> dict[str, Any]:
    """Our entry of a file's header, with "facts", "digest" and perhaps "parts"."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise missing(path, "file")
    try:
        with safe_open(str(path), framework="pt") as file:
            header, names = file.metadata() or {}, list(file.keys())
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path} is damaged or no .safetensors file: {error}") from None
    if KEY not in header:
        raise ValueError(
            f"{path} was not written by Alphabar: its metadata has no entry {KEY!r} "
            f"(it holds {len(names)} tensors, such as {', '.join(names[:2]) or 'none'})"
        )
    try:
        entry = parse_json(header[KEY])
        _ = entry["facts"], entry["digest"]
        return entry
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is damaged: its header cannot be read ({error})") from None


def _covered(entry: dict[str, Any]) -> Any:
    """What the digest is of, beside tensors."""
    return [entry["facts"], entry["parts"]] if "parts" in entry else entry["facts"]


def _digest(tensors: Mapping[str, Tensor], metadata: Any) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    """Those of a tensor's numbers, in row-major order."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
