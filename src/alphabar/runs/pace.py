"""How fast a run goes, and how many images fit into its minutes."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

MEASURED_SHARE, MEASURED_S = 0.1, 20.0  # of the budget, and at most: before the first total is told
LATEST_SHARE = 0.3  # by then it is told, however few updates there were
WINDOW_SHARE = 0.1  # of the budget, at least: the rate is that of the last while, as long as what is left
FINE = 0.001  # of the budget: what lies between two marks, or an update
OFF_SHARE = 0.05  # of the budget: a plan is made again if it would miss its end by more
OFF_OF_LEFT = 0.1  # and of what is left, while that is less
LATE_SHARE = 0.02  # of the budget: a run that is late by more ends
LEAST_UPDATES = 3
MOST = 0.1  # of a run in minutes, that its last measurement or preview may take

MOST_AT_END = 0.2  # of the budget: what the last of all of these are expected to take
ENDLESS_S = 600.0  # stands for the budget of a run that has none in minutes

now = time.monotonic
"""The clock, which tests replace by their own."""


def seconds() -> float:
    """What `now` says at this moment."""
    return now()


class Pace:
    """Measures a run, and plans the total of one that has a budget in minutes.

    What a run spends beside updates (saves, measurements, previews, whoever iterates over it) counts as
    well: so much a second of updates, and at the end once more.

    Args:
        minutes: the budget, if it is one.
        start: when this process began with the run.
        spent_s: what processes before have spent on it.
        images: seen before.
        expected: what comes after the last update of a run of so many images, by name, in images; until
            it has been measured.
    """

    def __init__(
        self,
        minutes: float | None,
        start: float,
        spent_s: float,
        images: int,
        expected: Callable[[float], dict[str, float]] = lambda total: {},
    ) -> None:
        self.budget_s = None if minutes is None else 60 * minutes
        self.start, self.spent_s = start, spent_s
        self.start_images, self.expected = images, expected
        self.aside_s = 0.0
        self.costs: dict[str, float] = {}
        self.marks: list[tuple[float, int]] = []
        self.updates = 0
        self.planned_at: float | None = None

    @property
    def elapsed_s(self) -> float:
        """What the run has spent, in all its processes."""
        return now() - self.start + self.spent_s

    @property
    def rate(self) -> float:
        """Images a second, without what is done aside; 0 while that is not known.

        Of as long a while as it is to hold for: where other programs come and go, the next minutes are more
        like the last minutes than like the last moment.
        """
        last, after = self.marks[-1]
        budget_s = self.budget_s or ENDLESS_S
        window = max(WINDOW_SHARE * budget_s, 0.0 if self.budget_s is None else budget_s - self.elapsed_s)
        begin = bisect_right(self.marks, (last - window, 2**62)) - 1
        first, before = self.marks[max(0, min(begin, len(self.marks) - 1 - LEAST_UPDATES))]
        return (after - before) / (last - first) if last > first else 0.0

    def left_s(self, images: int, total: int | None) -> float | None:
        """What is left of the minutes, or of a run of `total` images at the present rate; None if unknown."""
        if self.budget_s is not None:
            return max(0.0, self.budget_s - self.elapsed_s)
        return (total - images) / self.rate if total and self.marks and self.rate else None

    @contextlib.contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Count what happens here as something else than updates; one of them comes again at the end."""
        begin = now()
        try:
            yield
        finally:
            took = now() - begin
            self.aside_s += took
            if self.marks and self.rate:
                self.costs[what] = took * self.rate

    def mark(self, images: int) -> None:
        """After each update."""
        busy, fine = now() - self.aside_s, FINE * (self.budget_s or ENDLESS_S)
        self.updates += 1
        if len(self.marks) > 1 and busy - self.marks[-2][0] < fine:
            self.marks.pop()
        self.marks.append((busy, images))
        if len(self.marks) > 2 / FINE:
            del self.marks[: len(self.marks) // 2]

    def planned(self, images: int, total: int | None) -> int | None:
        """The total to have from now on, if another one than `total` is to be had."""
        if self.budget_s is None or not self.marks:
            return None
        left_s = self.budget_s - self.elapsed_s
        if total is None:
            return self._first(images, left_s)
        finish_s = self._finish_s()
        if left_s - finish_s < -LATE_SHARE * self.budget_s:
            return images
        if self.updates <= LEAST_UPDATES or not self.rate:
            return None
        needed_s = (total - images) / self._overall_rate()
        if self._is_fresh() and needed_s > LATE_SHARE * self.budget_s:
            return None
        off_s = needed_s + finish_s - left_s
        if abs(off_s) <= max(
            LATE_SHARE * self.budget_s, min(OFF_SHARE * self.budget_s, OFF_OF_LEFT * left_s)
        ):
            return None
        return self._fitting(images, left_s)

    def _first(self, images: int, left_s: float) -> int | None:
        assert self.budget_s is not None
        measured_s = self.marks[-1][0] - self.marks[0][0]
        enough = measured_s >= min(MEASURED_S, MEASURED_SHARE * self.budget_s)
        if enough and self.updates > LEAST_UPDATES:
            return self._fitting(images, left_s)
        if self.elapsed_s < LATEST_SHARE * self.budget_s:
            return None
        if self.rate:
            return self._fitting(images, left_s)
        rate = (images - self.start_images) / max(now() - self.start, 1e-9)  # with what building took
        return round(images + max(0.0, rate * left_s))

    def _is_fresh(self) -> bool:
        assert self.budget_s is not None
        planned_at = self.start if self.planned_at is None else self.planned_at
        return now() - planned_at < OFF_SHARE * self.budget_s

    def _finish_s(self) -> float:
        """What comes after the last update: each thing aside once more, at the present rate."""
        assert self.budget_s is not None
        if not self.rate:
            return 0.0
        costs = self.expected(self.rate * self.budget_s) | self.costs
        return min(sum(costs.values()) / self.rate, MOST_AT_END * self.budget_s)

    def _overall_rate(self) -> float:
        busy_s = max(now() - self.start - self.aside_s, 1e-9)
        return self.rate / (1 + self.aside_s / busy_s)

    def _fitting(self, images: int, left_s: float) -> int:
        self.planned_at = now()
        return round(images + max(0.0, self._overall_rate() * (left_s - self._finish_s())))

    def reading(self, step: int, images: int) -> dict[str, Any]:
        """A row of times.jsonl."""
        elapsed = now() - self.start
        mean = (images - self.start_images) / max(elapsed, 1e-9)
        return {
            "step": step,
            "images": images,
            "time": time.time(),
            "elapsed_s": elapsed,
            "spent_s": self.elapsed_s,
            "images_per_s": self._overall_rate() if self.marks and self.rate else mean,
        }
