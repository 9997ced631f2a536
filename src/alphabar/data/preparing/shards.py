"""Work on many files, by shards: over processes, in order, and kept, so that a kill loses a few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...files import DamagedFile, read_json, write_json
from ...forked import over_processes, processes_for

FEWEST, MOST = 4096, 256
"""Files in a shard at least, and shards at most: prepared samples are in one file for each."""

Progress = Callable[[int, int], None]
Work = Callable[[int, range, Progress], dict[str, Any]]
"""(number of a shard, its files, progress within it) → what is found, as JSON."""


def shards_of(n: int) -> list[range]:
    """0 … n - 1 in shards of one size, but for the last.

    >>> shards_of(10000)
    [range(0, 4096), range(4096, 8192), range(8192, 10000)]
    >>> len(shards_of(10**7)), len(shards_of(1))
    (256, 1)
    """
    size = max(FEWEST, -(-n // MOST))
    return [range(first, min(first + size, n)) for first in range(0, n, size)]


class Shards:
    """Files 0 … n - 1 on which work is done by shards.

    Args:
        n: how many.
        folder: keeps what is found; None keeps nothing.
        apart: whether several processes may do it at once.
    """

    def __init__(self, n: int, folder: Path | None, apart: bool) -> None:
        self.n, self.folder, self.all = n, folder, shards_of(n)
        self.processes = processes_for(len(self.all)) if apart and folder is not None else 1

    def results(
        self,
        name: str,
        work: Work,
        progress: Progress | None = None,
        is_whole: Callable[[int, dict[str, Any]], bool] = lambda k, found: True,
    ) -> Iterator[dict[str, Any]]:
        """What work finds in each shard, in their order; what was kept is not done again.

        Args:
            name: under which it is kept.
            work: what to do.
            progress: called with (done, total) files.
            is_whole: whether what was kept of a shard is still of use.
        """
        say = progress or (lambda done, total: None)
        kept = {
            k: found
            for k in range(len(self.all))
            if (found := self._kept(name, k)) is not None and is_whole(k, found)
        }
        missing = [k for k in range(len(self.all)) if k not in kept]

        def done(k: int, within: Progress) -> dict[str, Any]:
            return self._keep(name, k, work(k, self.all[k], within))

        if self.processes > 1 and len(missing) > 1:
            each = over_processes(lambda k: done(k, lambda done, total: None), missing)
        else:
            each = (done(k, self._counted(k, say)) for k in missing)
        for k, shard in enumerate(self.all):
            yield kept[k] if k in kept else next(each)
            say(shard.stop, self.n)

    def _counted(self, k: int, say: Progress) -> Progress:
        """Says what is done in a shard, perhaps counted in frames, as files of all."""
        shard = self.all[k]
        return lambda done, total: say(min(shard.start + done, shard.stop), self.n)

    def _file(self, name: str, k: int) -> Path | None:
        return self.folder and self.folder / f"{name}-{k:05d}.json"

    def _kept(self, name: str, k: int) -> dict[str, Any] | None:
        if (file := self._file(name, k)) is None or not file.exists():
            return None
        try:
            return read_json(file)
        except DamagedFile:
            return None

    def _keep(self, name: str, k: int, found: dict[str, Any]) -> dict[str, Any]:
        if (file := self._file(name, k)) is not None:
            write_json(file, found)
        return found
