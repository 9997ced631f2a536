"""Files written by a thread, while training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Saving:
    """At most one thing is being written, so that there is at most one copy of what a trainer was.

    What fails is raised when that is noticed: by `done`, or before something else is written.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "alphabar-saving")
        self._pending: tuple[Future[None], int | None] | None = None

    def begin(self, write: Callable[[], Any], images: int | None = None) -> None:
        """Write something, perhaps all of what a run is after so many images."""
        assert self._pending is None
        self._pending = self._pool.submit(lambda: (write(), None)[1]), images

    def done(self, wait: bool = False) -> Iterator[int]:
        """The images of what is on the disk since this was asked before; `wait`: until it is."""
        if self._pending is None:
            return
        future, images = self._pending
        if wait or future.done():
            self._pending = None
            future.result()
            if images is not None:
                yield images

    def close(self) -> None:
        """Wait for what is being written."""
        try:
            for _ in self.done(wait=True):
                pass
        finally:
            self._pool.shutdown()
