"""Tensors in one .safetensors file, with metadata and a digest of both."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_files import DamagedFile, parse_json
from .places import lock_of, locked, missing, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

KEY = "alphabar"


def save_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    *,
    new_file: bool = False,
    replacing: str | None = None,
) -> str:
    """Write a .safetensors file with `metadata` as JSON; return its digest.

    The digest covers metadata, names, types, shapes and bytes, and is kept beside the metadata. Tensors that
    share memory, such as tied weights, are written once for each name.

    Args:
        path: of the file.
        tensors, metadata: its contents.
        new_file: FileExistsError if the file exists.
        replacing: the digest that the file there must still have when it is replaced, or else ValueError:
            another process has written another one since it was read.
    """
    from safetensors.torch import save

    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = _digest(tensors, metadata)
    # one entry, because the library writes several in an order that changes from run to run
    content = save(tensors, {KEY: json.dumps({"digest": digest, "facts": metadata}, sort_keys=True)})
    with contextlib.ExitStack() as held:
        if replacing is not None:
            held.enter_context(locked(lock_of(path)))
            if read_metadata(path)[1] != replacing:
                raise ValueError(
                    f"{path} has changed since it was read: another process has written it (nothing was "
                    "written); give the same command again"
                )
        write_bytes(path, content, new_file=new_file)
    return digest


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors, metadata and digest that `save_tensors` wrote. DamagedFile if one bit has changed."""
    from safetensors import SafetensorError, safe_open

    metadata, digest = read_metadata(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read: {error}") from None
    if _digest(tensors, metadata) != digest:
        raise DamagedFile(f"{path} is damaged: its contents don't match the digest in its header")
    return tensors, metadata, digest


def read_metadata(path: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the digest of a file by `save_tensors`, from its header alone."""
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
        return entry["facts"], entry["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is damaged: its header cannot be read ({error})") from None


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of those that share memory with one before, which a .safetensors file can't hold."""
    seen, found = set(), {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def _digest(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
