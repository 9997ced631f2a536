"""A run: (settings, data, seed, update) say the next bit, and the same command resumes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.dataset import Dataset
from ..errors import unknown
from ..files import Lines
from ..model.devices import pick_device, threads
from ..training.autotune import fastest_execution
from ..training.config import TrainConfig
from ..training.distributed import slots_of
from ..training.trainer import Trainer
from ..world import ALONE, World
from . import history, monitor, previews
from . import pace as clock
from .checkpoints import Moment, checkpoint_steps, load_newest, save_checkpoint
from .export import Best, complete, describe_model, export
from .folder import RunFolder
from .following import led_trainer
from .history import Entry
from .loop import Loop
from .monitor import Monitor
from .pace import MEASURED_SHARE, Pace
from .previews import Previews
from .saving import Saving
from .sinks import SINKS, Sinks
from .start import begin, execution_of, named_start
from .steps import Steps, close_abandoned

EXECUTION = ("precision", "channels_last", "threads")


class Run:
    """A training run in a folder, new or resumed.

    Iterate over `train()` for a dictionary of metrics after every update. Leaving the loop early
    saves first. `trainer.ema` is the averaged model at any moment.

    Args:
        folder: new or empty, or that of the same run, to resume it. Another budget makes it longer, and
            habits may be others at any time; all other settings must be the same.
        data, config: what to train on, and how.
        source: where the data were prepared from, so that evaluation finds them again.
        device: where to train; `auto`: a GPU if there is one.
        net: a network to train, instead of the one that the settings describe.
        world: the processes that train it together; this one leads, and the others `follow`.
        fork_of: another run, or one of its checkpoints, to go on from with these settings.
        command: the words of the command that this is, for the record.
        say: is told what a person should know; the logger `alphabar` unless given.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        data: Dataset,
        config: TrainConfig,
        *,
        source: str = "",
        device: str = "auto",
        net: nn.Module | None = None,
        world: World = ALONE,
        fork_of: str | os.PathLike[str] | None = None,
        command: Sequence[str] = (),
        say: Callable[[str], None] = logging.getLogger("alphabar").warning,
    ) -> None:
        self.folder, self.data, self.asked, self.net, self.say = RunFolder(folder), data, config, net, say
        self.source, self.device, self.command = source, pick_device(device), list(command)
        self.fork_of, self.world = fork_of, world
        slots_of(config, world.size)  # raises
        self.differences: list[str] = []
        self.resumed_from: Path | None = None
        for name in config.logs:
            if name not in SINKS:
                raise unknown("log", name, SINKS)
            SINKS[name].check()
        self.entry = self._read()
        self._trainer: Trainer | None = None

    @property
    def total(self) -> int | None:
        """The run's length in images; None while the speed for `minutes` is not yet measured."""
        known = history.total_of(self.entry)
        return history.asked_total(self.asked, 0, len(self.data)) if known is None else known

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        known = history.total_of(self.entry)
        return known is not None and self.trainer.images >= known

    @property
    def config(self) -> TrainConfig:
        """The settings, with what was measured in place of `auto`."""
        measured = self._measured()
        update = {name: measured[name] for name in EXECUTION if name in measured}
        return self.asked.model_copy(
            update=update if self.asked.threads is None else {**update, "threads": self.asked.threads}
        )

    @property
    def trainer(self) -> Trainer:
        """The model in training; made when it is first asked for, or when training begins."""
        if self._trainer is None:
            self._trainer = led_trainer(self)
        return self._trainer

    def _measured(self) -> Entry:
        """run.json's part of what was measured; what is open is measured now."""
        measured, asked = self.entry["measured"], self.asked
        if (asked.precision == "auto" or asked.channels_last is None) and "precision" not in measured:
            limit_s = None if asked.minutes is None else MEASURED_SHARE * 60 * asked.minutes
            measured |= fastest_execution(
                asked, self.data, self.device, self.net, limit_s, clock.seconds, self.world.size
            )
        return measured

    # --- opening -------------------------------------------------------------------------------

    def _read(self) -> Entry:
        """What run.json says, after checking that this is the same run; or a new entry."""
        start = named_start(self.asked, self.fork_of)
        if not self.folder.exists():
            self.folder.check_free()
            entry = history.new_entry(self.asked, self.data, self.source, self.command, start)
            if self.fork_of is not None:
                entry["measured"] = execution_of(self.fork_of)
            return entry
        entry = self.folder.entry()
        history.check_same(self.folder.path, entry, self.asked, self.data, start)
        return entry

    def _open(self) -> bool:
        """Under the lock: read again what another process may have written, and go on from there, or begin.

        False if there is nothing to do, because the run has the images that are asked for.
        """
        before = self.entry["measured"]
        self.entry = self._read()
        if not self.folder.exists():
            self.entry["measured"] |= before  # measured by this process, for a run that nobody has begun
        elif any(before.get(name) != self.entry["measured"].get(name) for name in EXECUTION):
            self._trainer = None
        self.folder.clean()
        if number := self.config.threads:
            torch.set_num_threads(number)
        if self.folder.exists():
            self.resumed_from = load_newest(self.folder.checkpoint_folder, self.trainer, self.say)
        if self.resumed_from is None:
            self._begin()
        images = self.trainer.images
        said = history.adopt_changes(self.entry, self.asked, self.data, self.source, self.command, images)
        if said:
            self.say(f"from here on: {', '.join(said)}")
        changed = history.machine_changes(self.entry, self.trainer)
        if changed and self.resumed_from:
            self.say(f"resuming with {', '.join(changed)}: the last bits may differ from an unbroken run")
        times = [row for row in self.folder.times() if row["step"] <= self.trainer.step]
        spent_s = times[-1]["spent_s"] if times else self.entry["measured"].get("took_s", 0.0)
        self.pace = Pace(self.asked.minutes, self.began, spent_s, self.trainer.images, self._at_the_end)
        enough = history.adopt_budget(self.entry, self.asked, self.trainer.images, len(self.data), times)
        self.folder.write_entry(self.entry)
        self.describe_model()
        if self.resumed_from is None and self.entry["identity"]["start"]:
            save_checkpoint(Moment.of(self.trainer, self.folder.checkpoint_folder, copied=False))
        if not enough:
            self.say(f"{self.folder} has {self.trainer.images:,} images already, as many as are asked for")
        return enough and not self.finished

    def _at_the_end(self, total: float) -> dict[str, float]:
        """What comes after the last update of a run of `total` images, in images."""
        return {
            "monitor": monitor.cost(total),
            "preview": self.asked.previews * previews.cost(total),
        }

    @property
    def hurry(self) -> int | None:
        """The total of a run that has to keep to minutes."""
        return None if self.asked.minutes is None else self.total

    def _begin(self) -> None:
        """From the first update: a run that begins with weights gets these."""
        self.folder.check_begins()
        if self.entry["identity"]["start"] is None:
            return
        total = history.asked_total(self.asked, 0, len(self.data))
        self.differences = begin(self.entry, self.trainer, self.config, total, self.say)

    # --- training ------------------------------------------------------------------------------

    def train(self) -> Steps:
        """Train to the end of the budget: rows of metrics, one after each update."""
        return Steps(self.folder.path, self.rows, lambda: self.total)

    def rows(self) -> Generator[dict[str, Any]]:
        """The same as a generator, which saves when it is closed."""
        self.began = clock.now()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.folder.alone())
            except ValueError:
                if not close_abandoned(self.folder.path):
                    raise
                held.enter_context(self.folder.alone())
            held.enter_context(threads(None))  # as before, at the end
            go_on = self._open()
            self.saving = held.enter_context(contextlib.closing(Saving()))
            self.monitor = Monitor(self.trainer)
            self.previews = Previews(self.folder, self.trainer, clock.seconds)
            self.metrics = held.enter_context(contextlib.closing(Lines(self.folder.metrics_file)))
            self.times = held.enter_context(contextlib.closing(Lines(self.folder.times_file)))
            self._cut_metrics()
            self.sinks = held.enter_context(Sinks(self.folder, self.entry, self.config, self.say))
            if go_on:
                yield from Loop(self).rows()
            self._complete()

    def plan(self) -> None:
        """Decide on the length anew where the minutes ask for it; first recorded, then followed."""
        images = self.trainer.images
        planned = self.pace.planned(images, history.total_of(self.entry))
        if planned is not None and planned != history.total_of(self.entry):
            history.decide_total(self.entry, images, planned)
            self.folder.write_entry(self.entry)

    def save(self) -> None:
        """Write metrics and clock; then, while training goes on, a checkpoint and the averaged model.

        Each file is whole or not there at all.
        """
        self.settle(wait=True)
        self.metrics.flush()
        self.times.write(self.pace.reading(self.trainer.step, self.trainer.images))
        self.times.flush()
        self.describe_model()
        folder = self.folder.checkpoint_folder
        moment = Moment.of(self.trainer, folder)
        kept = [step for step in checkpoint_steps(folder) if self.is_milestone(step)]

        def write() -> None:
            save_checkpoint(moment, kept)
            export(moment, self.folder.model, self.say)

        self.saving.begin(write, moment.images)

    def save_best(self) -> None:
        """Write the averaged model as the best one, while training goes on."""
        self.settle(wait=True)
        self.describe_model()
        moment = Moment.of(self.trainer)
        self.saving.begin(lambda: export(moment, self.folder.best, self.say))

    def settle(self, wait: bool = False) -> None:
        """Let the logs have what is on the disk by now; `wait`: all that was to be saved."""
        for images in self.saving.done(wait):
            self.sinks.push(images)

    def _complete(self) -> None:
        """What comes after the last save, or was lost when a process was killed after it."""
        self.settle(wait=True)
        complete(self.trainer, self.folder.model, self.say)
        if self.asked.previews:
            self.previews.draw(self.hurry)
        self.sinks.push(self.trainer.images)

    def _cut_metrics(self) -> None:
        """Back to the checkpoint: what came after it will come again, the same."""
        start = self.entry["identity"]["start"] or {}
        wanted = self.trainer.step - start.get("step", 0)
        there = self.metrics.cut(wanted)
        if there < wanted:
            self.say(f"{self.folder.metrics_file} lacks {wanted - there} of {wanted} lines; they are lost")
        self.best = Best(self.asked.best, self.entry["history"], self.folder.metrics())
        for preview in self.folder.preview_files():
            if int(preview.stem) > self.trainer.images:
                preview.unlink()

    def is_milestone(self, step: int) -> bool:
        return history.is_milestone(self.entry, step, self.asked.batch_size, self.asked.keep_every)

    # --- model files -----------------------------------------------------------------------------

    def describe_model(self) -> None:
        """What the averaged model says of itself."""
        run = {"run": self.folder.path.resolve().name, "of_images": history.total_of(self.entry)}
        describe_model(self.trainer, run | self.entry["data"])

    def _repr_html_(self) -> str:
        return self.folder._repr_html_()
