"""The progress of training, as a bar in a terminal or as occasional lines in a file; and how to stop it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..torchrun import STOPS, are_several
from .console import errors, say

if TYPE_CHECKING:
    from ..runs.run import Run

FIRST_LINE_S = 15.0
LATER = 0.15  # the wait for the next line, as a share of the time since the start: long runs say less


class Progress:
    """Shows images, loss, rate and time left, in the way that suits where standard error goes.

    Args:
        noun: what samples are called.
        rough: whether the total follows from a time, and may be planned anew.
    """

    def __init__(self, noun: str = "images", rough: bool = False) -> None:
        self.noun, self.of = noun, "of about" if rough else "of"
        self.start = time.monotonic()
        self.line_at = self.start + FIRST_LINE_S
        self.bar: Any = None
        self.task: Any = None
        self.held_out: float | None = None

    def __enter__(self) -> Progress:
        if errors.is_terminal or errors.is_jupyter:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            texts = [TextColumn("{task.fields[" + name + "]}") for name in ("count", "loss", "rate", "left")]
            self.bar = Bar(BarColumn(), *texts, console=errors, transient=True)
            self.task = self.bar.add_task("", total=None, count="", loss="", rate="", left="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(
        self, row: dict[str, Any], total: int | None, images_per_s: float, left_s: float | None
    ) -> None:
        """Show where training is.

        Args:
            row: the metrics of the last update.
            total: the run's length in images, if it is known.
            images_per_s: the present rate; 0 while it is not known.
            left_s: how long training still takes, if it is known.
        """
        now, images = time.monotonic(), row["images"]
        count = f"{images:,}{f' {self.of} {total:,}' if total else ''} {self.noun}"
        loss, rate = f"loss {row['loss']:.4f}", f"{images_per_s:,.1f} {self.noun}/s" if images_per_s else ""
        left = "" if left_s is None else f"{time_left(left_s)} left"
        if self.bar is not None:
            self.bar.update(
                self.task, completed=images, total=total, count=count, loss=loss, rate=rate, left=left
            )
        elif now >= self.line_at:
            self.line_at = now + max(FIRST_LINE_S, LATER * (now - self.start))
            held_out = f"held out {self.held_out:.4f}" if self.held_out else ""
            words = filter(None, (count, loss, held_out, rate, left))
            say(f"{datetime.now():%H:%M:%S}  {', '.join(words)}")
        self.held_out = row.get("held_out_loss", self.held_out)


def time_left(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h".

    >>> time_left(40), time_left(700), time_left(12600), time_left(-1)
    ('40 s', '12 min', '3.5 h', '0 s')
    """
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def execution(run: Run) -> str:
    """How the network runs: precision, memory layout, compilation and device, in words."""
    layout = "channels_last" if run.config.channels_last else "contiguous"
    compiled = f", compiled ({run.config.compile})" if run.config.compile else ""
    alone = (
        "" if run.config.threads is None else f", {run.config.threads} thread{'s' * (run.config.threads > 1)}"
    )
    return f"{run.config.precision}, {layout}{compiled}, {run.trainer.device}{alone}"


class Stopped(BaseException):
    """A signal to stop that came while there was nothing to save."""


class Stop:
    """Whether a signal to stop has come.

    Attributes:
        number: of the signal, or 0.
        finishing: whether to finish the update in progress first; otherwise a signal raises Stopped at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self.finishing = False

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """The exit code by which shells name the signal."""
        return 128 + self.number


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note a first signal to stop; a second one does what it would do otherwise.

    Of several processes it does nothing: what began them passes on what a terminal has sent already.
    """
    stop, before = Stop(), {}

    def note(number: int, _: object) -> None:
        stop.number = number
        signal.signal(number, signal.SIG_IGN if are_several() else before[number])
        if not stop.finishing:
            raise Stopped

    with contextlib.suppress(ValueError):  # outside the main thread, signals can't be handled
        for number in STOPS:
            before[number] = signal.getsignal(number)
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)
