"""The updates of a run, with what comes between them: measures, previews, saves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from ..world import ProcessLost
from . import history
from . import pace as clock
from .following import LAG

if TYPE_CHECKING:
    from .run import Run


class Loop:
    """Updates to the end of a run's budget, or of one of its processes: what was done is saved.

    Args:
        run: which is open.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.saved_at, self.saved_step = clock.now(), run.trainer.step
        self.unwritten: list[dict[str, Any]] = []  # the row of metrics of the last update, until it is

    def rows(self) -> Generator[dict[str, Any]]:
        """Metrics of each update, in order; what was done is saved when this is closed."""
        run, trainer = self.run, self.run.trainer
        try:
            while not run.finished:
                trainer.launch(trainer.config.learning_rate(trainer.images, history.decisions(run.entry)))
                run.pace.mark(trainer.images)
                run.plan()
                run.settle()
                due = self._due()
                for row in trainer.rows(0 if due else LAG):
                    self.unwritten = [row]
                    if due and not trainer.begun:
                        row = self._aside(due, row)
                    else:
                        self._write(row)
                    yield row
        except (GeneratorExit, ProcessLost):
            self._save()
            raise
        except (OSError, ValueError):  # such as of data that can't be reached any more
            # not in shards, for which the others would have to help, and they wait elsewhere; nor the end of
            # the run, which would never be measured then: it is done again from the last save
            if trainer.sharding is None and not run.finished:
                with contextlib.suppress(OSError, ValueError):
                    self._save()
                    run.say(f"{trainer.images:,} images are saved; the same command goes on from there")
            raise

    def _save(self) -> None:
        """What was done since the last save."""
        run, trainer = self.run, self.run.trainer
        for row in itertools.chain(self.unwritten, trainer.rows()):
            self._write(row)
        if trainer.step != self.saved_step:
            run.save()
        run.settle(wait=True)

    def _write(self, row: dict[str, Any]) -> None:
        self.run.metrics.write(row)
        self.unwritten = []

    def _due(self) -> set[str]:
        """What comes after the last update, before another begins."""
        run, finished = self.run, self.run.finished
        late = clock.now() - self.saved_at >= 60 * run.asked.save_minutes
        due = {
            "monitor": finished or run.monitor.is_due(),
            "preview": run.asked.previews and (finished or run.previews.is_due(run.pace.rate)),
            "save": finished or late or run.is_milestone(run.trainer.step),
        }
        return {name for name, is_due in due.items() if is_due}

    def _aside(self, due: set[str], row: dict[str, Any]) -> dict[str, Any]:
        """Do it, and write the row of metrics; with what was measured."""
        run = self.run
        run.trainer.collect()
        if "monitor" in due:
            with run.pace.aside("monitor"):
                self.unwritten = [row := row | run.monitor(run.hurry)]
                if run.best.is_by(row):
                    run.save_best()
        self._write(row)
        if "preview" in due:
            with run.pace.aside("preview"):
                run.previews.draw(run.hurry)
        if "save" in due:
            with run.pace.aside("save"):
                run.save()
            self.saved_at, self.saved_step = clock.now(), run.trainer.step
        return row
