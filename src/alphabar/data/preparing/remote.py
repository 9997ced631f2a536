"""DATA that lies elsewhere, by its address: copied, file by file, to be prepared from the copy."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ...files import temporary_name
from .shards import Progress

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.DOTALL)


def is_remote(data: Any) -> bool:
    """Whether DATA is an address, such as s3://bucket/photos, gs://…, https://…/digits.npz or memory://….

    >>> is_remote("s3://bucket/photos"), is_remote("photos"), is_remote("hf:mnist")
    (True, False, False)
    """
    return isinstance(data, str) and ADDRESS.fullmatch(data) is not None


class Remote:
    """A file, or all files below a folder, at an address of any of fsspec's file systems.

    Attributes:
        identity: as JSON, another one whenever a file has changed, as far as its system tells.

    ValueError if there is none, or it can't be reached.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        with self._reaching():
            import fsspec

            self.system, self.path = fsspec.core.url_to_fs(address)
            self.files: dict[str, Any] = self.system.find(self.path, detail=True)
        if not self.files:
            raise ValueError(f"there is nothing at {address}")
        facts = {
            name: sorted((key, str(value)) for key, value in info.items())
            for name, info in self.files.items()
        }
        self.identity = [address, hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()]

    def addresses(self) -> list[str]:
        """Of each file."""
        return sorted(self.system.unstrip_protocol(name) for name in self.files)

    def copy(self, folder: Path, progress: Progress | None = None) -> Path:
        """The local copy, a file or folder in `folder`. What is there whole already is not copied again."""
        base = self.path.rstrip("/")
        place = folder / (PurePosixPath(base).name or "data")
        for done, (name, info) in enumerate(sorted(self.files.items()), 1):
            inner = name.removeprefix(base).strip("/")
            target = place / inner if inner else place
            if ".." in PurePosixPath(inner).parts:
                raise ValueError(f"{name} leads out of {self.address}")
            if not target.exists() or target.stat().st_size != info.get("size", -1):
                target.parent.mkdir(parents=True, exist_ok=True)
                part = temporary_name(target)
                with self._reaching():
                    self.system.get_file(name, str(part))
                os.replace(part, target)
            if progress is not None:
                progress(done, len(self.files))
        return place

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, ValueError):
            raise
        except ImportError as error:
            lacking = getattr(error.__cause__ or error, "name", None)
            fix = f"; install it: pip install {lacking.partition('.')[0]}" if lacking else ""
            raise ValueError(f"{self.address} can't be read: {error}{fix}") from None
        except Exception as error:  # of the network, and of each system's own library
            why = str(error) or type(error).__name__
            raise ValueError(f"{self.address} can't be read: {why}") from None
