"""A loop over training that can be left in any way: what was done is saved."""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakSet, ref

from ..torchrun import are_several

Row = dict[str, Any]


class NotebookLine:
    """A line below a notebook's cell that is replaced as training goes."""

    EVERY_S = 0.5

    def __init__(self) -> None:
        self.begun = self.told = time.monotonic()
        self.first: int | None = None
        self.display: Any = None

    def tell(self, row: Row, total: int | None) -> None:
        """Say how far it is, unless that was said just now."""
        now, images = time.monotonic(), row["images"]
        if self.first is None:
            self.begun, self.first = now, images
        if self.display is not None and now - self.told < self.EVERY_S and images != total:
            return
        rate = (images - self.first) / (now - self.begun) if now > self.begun else 0.0
        words = [f"{images:,}{f' of {total:,}' if total else ''} images", f"loss {row['loss']:.4f}"]
        words += [f"{rate:,.1f} images/s"] if rate else []
        words += [f"{(total - images) / rate / 60:.1f} min left"] if rate and total and total > images else []
        data = {"text/plain": ", ".join(words)}
        if self.display is None:
            self.display = sys.modules["IPython.display"].display(data, raw=True, display_id=True)
        else:
            self.display.update(data, raw=True)
        self.told = now


class Steps(Iterator[Row]):
    """Rows of metrics, one after each update.

    However the loop over them is left, what was done is saved: by `break` or an exception in its body (when
    the loop is gone, or when the program ends), by Ctrl-C or a notebook's stop button (after the update that
    is being made; at once, and without saving, at the second time), by `close()`. A notebook shows how
    far it is.

    Args:
        folder: of the run.
        make: begins the training; its generator saves when it is closed.
        total: the images of the run, as soon as they are known.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[], Generator[Row]],
        total: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.folder, self.total = folder.resolve(), total
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        self._line = NotebookLine() if getattr(shell, "kernel", None) is not None else None
        self._rows = make()
        self._working = self._interrupted = self._begun = False
        self._before: Any = None
        self._caller = 0

    def __repr__(self) -> str:
        return f"Steps({str(self.folder)!r}): iterate over it to train"

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Row:
        self._caller = id(sys._getframe(1))
        if not self._begun:
            self._begun = True
            _open.add(self)
            self._watch_interrupts()
        self._working = True
        try:
            row = next(self._rows)
        except BaseException:
            self._working = False
            self.close()
            raise
        self._working = False
        if self._line is not None:
            self._line.tell(row, self.total())
        if self._interrupted:
            self.close()
            raise KeyboardInterrupt
        return row

    def close(self) -> None:
        """End the loop: what was done is saved."""
        if not self._working:
            self._working = True  # a further Ctrl-C waits for the save
            try:
                self._rows.close()
            finally:
                self._working = False
            _open.discard(self)
            if self._before is not None:
                with contextlib.suppress(ValueError):  # not in the main thread
                    signal.signal(signal.SIGINT, self._before)
                self._before = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    # --- Ctrl-C ----------------------------------------------------------------------------------

    def _watch_interrupts(self) -> None:
        """Handle Ctrl-C, unless the program does so itself."""
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and handler is signal.default_int_handler:
            self._before = handler
            itself = ref(self)  # the handler must not keep a loop that was left

            def interrupt(number: int, frame: FrameType | None) -> None:
                steps = itself()
                if steps is None:
                    raise KeyboardInterrupt
                steps._interrupt()

            signal.signal(signal.SIGINT, interrupt)

    def _interrupt(self) -> None:
        if self._working and (not self._interrupted or are_several()):  # torchrun passes it on once more
            self._interrupted = True
            return
        self.close()
        raise KeyboardInterrupt

    # --- loops that nobody goes on with -----------------------------------------------------------

    def is_abandoned(self) -> bool:
        """Whether the function that iterated has ended: a notebook keeps the loop of a cell that failed."""
        running = set()
        for frame in sys._current_frames().values():
            while frame is not None:
                running.add(id(frame))
                frame = frame.f_back
        return not self._working and self._caller not in running


_open: WeakSet[Steps] = WeakSet()


def close_abandoned(folder: Path) -> bool:
    """Close a loop in this process over a folder's run that nobody goes on with; whether there was one."""
    left = [steps for steps in _open if steps.folder == folder.resolve() and steps.is_abandoned()]
    for steps in left:
        steps.close()
    return bool(left)


@atexit.register
def _close_all() -> None:
    for steps in list(_open):
        steps.close()
