"""The files of which a stream is made, each of them DATA of its own."""

from __future__ import annotations

import os
from typing import Any

from ...errors import some
from ...files import expanded, missing
from ..sources.hub import files_of
from ..sources.opener import DIGITS, HUB
from ..sources.source_types import stamp
from .remote import Remote, is_remote

ENDINGS = (".tar", ".zip", ".parquet", ".npz")


def part_files(data: str) -> tuple[list[str], list[Any]]:
    """The files of a folder, of an address or of `hf:NAME@SPLIT`, sorted, and what changes when one does.

    ValueError unless all of them are of one of `ENDINGS`, the same one.
    """
    if data.startswith(HUB):
        found = sorted(files_of(data.removeprefix(HUB)))
        # the addresses there name a version
        identity = [each if is_remote(each) else stamp(expanded(each)) for each in found]
    elif is_remote(data):
        remote = Remote(data)
        found, identity = [each for each in remote.addresses() if not _is_hidden(each)], [remote.identity]
    else:
        folder = expanded(data)
        if data == DIGITS and not folder.exists():
            raise ValueError("stream is for files, and the digits come with a package: leave it out")
        if not folder.exists():
            raise missing(data, more="a folder, an address or hf:NAME")
        names = os.listdir(folder) if folder.is_dir() else [""]
        found = sorted(str(folder / name) for name in names if not _is_hidden(name))
        identity = [stamp(expanded(each)) for each in found]
    strangers = [each for each in found if not each.lower().endswith(ENDINGS)]
    if strangers and len(strangers) < len(found):
        raise ValueError(
            f"stream is for files of one kind, {', '.join(ENDINGS)}, and beside them {data} holds "
            f"{some(strangers)}: move that elsewhere"
        )
    endings = {os.path.splitext(each)[1].lower() for each in found}
    if len(endings) != 1 or not endings <= {*ENDINGS}:
        raise ValueError(
            f"stream is for files of one kind, {', '.join(ENDINGS)}, in a folder or at an address, and "
            f"{data} is {some(found) or 'empty'}: leave stream out, or put what belongs together into such "
            "files"
        )
    return found, identity


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")
