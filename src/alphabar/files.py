"""Files that are whole or absent: atomic writes, and tensors with their facts and a digest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

KEY = "alphabar"


class DamagedFile(ValueError):
    """A file that was cut short or changed since it was written."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is flushed and renamed to `path`.

    Whatever happens, `path` is either as it was or completely new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def flush_folder(folder: Path) -> None:
    """Make renames within `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; DamagedFile if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFile(f"{path} is not valid JSON: {error}") from None


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Write a .safetensors file with `facts` as JSON metadata; return its digest.

    The digest covers facts, names, types, shapes and bytes, and is kept beside the facts.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = _digest(tensors, facts)
    # One entry, because the library writes several in an order that changes from run to run.
    metadata = {KEY: json.dumps({"digest": digest, "facts": facts}, sort_keys=True)}
    with atomic(path) as temporary:
        try:
            save_file(tensors, str(temporary), metadata)
        except SafetensorError as error:  # it wraps the system's own error in words
            number = errno.ENOSPC if "os error 28" in str(error) else errno.EIO
            what = os.strerror(number) if number == errno.ENOSPC else str(error)
            raise OSError(number, what, str(path)) from None
    return digest


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors, facts and digest that `save_tensors` wrote. DamagedFile if one bit has changed."""
    from safetensors import SafetensorError, safe_open

    facts, digest = read_facts(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read: {error}") from None
    if _digest(tensors, facts) != digest:
        raise DamagedFile(f"{path} is damaged: its contents don't match the digest in its header")
    return tensors, facts, digest


def read_facts(path: Path) -> tuple[dict[str, Any], str]:
    """The facts and the digest of a file by `save_tensors`, from its header alone."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path} is damaged or no .safetensors file: {error}") from None
    if KEY not in metadata:
        raise ValueError(
            f"{path} was not written by Alphabar: its metadata has no entry {KEY!r} "
            f"(it holds {len(names)} tensors, such as {', '.join(names[:2]) or 'none'})"
        )
    try:
        entry = json.loads(metadata[KEY])
        return entry["facts"], entry["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is damaged: its header cannot be read ({error})") from None


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file, if it is there; one that was cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
