"""A run is a folder: (configuration, data, seed, step) say the next bit, and the same command resumes.

RUN/run.json             what was asked, and what was measured once
RUN/metrics.jsonl        one line a step; a function of the run alone
RUN/times.jsonl          the clock, which is not
RUN/checkpoints/         the last two, and a milestone at each quarter
RUN/model.safetensors    the averaged model, self-describing
RUN/best.safetensors     the same when its held-out loss (or what `best` says) was least
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Generator, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

import torch

from ..data.dataset import Dataset
from ..denoiser import MODEL_FILE
from ..files import DamagedFile, atomic, read_facts, read_json, write_json
from ..theory.plans import Plan
from ..version import __version__
from .checkpoints import checkpoint_files, load_newest, save_checkpoint
from .config import TrainConfig, differences
from .measure import fastest_execution
from .trainer import Trainer
from .watch import Watch

SPEED_SHARE = 0.1  # of --minutes, at most MAX_SPEED_S, go into measuring the speed
MAX_SPEED_S = 20.0
SAFETY = 0.86  # what --minutes leaves of it for saves, measurements, previews and a slower machine


class Run:
    """A training run in a folder, new or resumed.

    Iterate over `train()` for a dictionary of metrics after every step. Leaving the loop early
    saves first. `trainer.ema` is the averaged model at any moment.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        data: Dataset,
        config: TrainConfig,
        *,
        source: str = "",
        device: str = "cpu",
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        start = time.monotonic()
        self.folder = Path(folder).expanduser()
        self.asked = config
        self.say = say
        self.entry = self._open(source, data)
        measured = self.entry["measured"]
        if (config.precision == "auto" or config.channels_last is None) and "precision" not in measured:
            measured |= fastest_execution(config, data, device)
        self.config = config.model_copy(
            update={k: measured[k] for k in ("precision", "channels_last") if k in measured}
        )
        if config.images is not None:
            measured["images"] = config.images
        elif config.epochs is not None:
            measured["images"] = max(1, round(config.epochs * len(data)))
        self.trainer = Trainer(self.config, data, device)
        self.watch = Watch(self.trainer)
        self.trainer.ema.about = {
            "run": self.folder.resolve().name,
            "source": source,
            "prepared": data.prepared,
        }
        self.resumed_from: Path | None = None
        self.best = math.inf
        self.start = start

    @property
    def total(self) -> int | None:
        """The run's length in images; None while the speed for `minutes` is not yet measured."""
        return self.entry["measured"].get("images")

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.total is not None and self.trainer.images >= self.total

    # --- opening -------------------------------------------------------------------------------

    def _open(self, source: str, data: Dataset) -> dict[str, Any]:
        """What run.json says, after checking that this is the same run, or a new entry."""
        path = self.folder / "run.json"
        entry = {
            "alphabar": __version__,
            "data": {
                "source": source,
                "fingerprint": data.fingerprint,
                "holdout": data.holdout,
                "prepared": data.prepared,
            },
            "config": self.asked.model_dump(mode="json"),
            "measured": {},
        }
        if not path.exists():
            if self.folder.exists() and not self.folder.is_dir():
                raise ValueError(f"{self.folder} is a file; --out must be a folder")
            if self.folder.exists() and any(not _is_leftover(p) for p in self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds something that is not a run of Alphabar; "
                    "choose a new or an empty folder (nothing was written)"
                )
            return entry
        before = read_json(path)
        if not isinstance(before, dict) or not {"config", "data", "measured"} <= set(before):
            raise ValueError(f"{path} is not the description of a run of Alphabar; choose another --out")
        differing = differences(EARLIER | before["config"], entry["config"])
        for name in ("fingerprint", "holdout"):
            if before["data"][name] != entry["data"][name]:
                differing.append(f"data.{name} ({before['data'][name]!s:.12} → {entry['data'][name]!s:.12})")
        if differing:
            raise ValueError(
                f"{self.folder} is a run with other settings: {', '.join(differing)}. "
                "Give the same ones to resume it, or another --out for a new run"
            )
        return before

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep a second process from training in the same folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "w") as lock:
            try:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass  # no such locks on this system
            except OSError:
                raise ValueError(f"another process is training in {self.folder}") from None
            yield

    # --- training ------------------------------------------------------------------------------

    def train(self) -> Generator[dict[str, Any]]:
        """Train to the end of the budget, yielding metrics after each step."""
        with self._locked():
            self._remove_leftovers()
            write_json(self.folder / "run.json", self.entry)
            self.resumed_from = load_newest(self.folder / "checkpoints", self.trainer, self.say)
            self._warn_of_changes()
            if self.finished:
                self._export()
                return
            self.best = self._best_before()
            with self._metrics() as metrics, open(self.folder / "times.jsonl", "a") as times:
                yield from self._steps(metrics, times)

    def _steps(self, metrics: IO[str], times: IO[str]) -> Generator[dict[str, Any]]:
        trainer = self.trainer
        clock = _Clock(self.asked.minutes, trainer.images, self.start)
        saved_at, saved_step = time.monotonic(), trainer.step
        try:
            while not self.finished:
                row = trainer.update(self.total)
                measured = clock.total(trainer.images) if self.total is None else None
                if measured is not None:
                    self.entry["measured"]["images"] = measured
                if self.watch.is_due() or self.finished:
                    row |= self.watch()
                    self._keep_best(row)
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
                due = time.monotonic() - saved_at >= 60 * self.asked.save_minutes
                if due or measured or self.finished or trainer.step in self._milestones():
                    self.save()
                    saved_at, saved_step = time.monotonic(), trainer.step
                    times.write(json.dumps(clock.reading(trainer.step, trainer.images)) + "\n")
                    times.flush()
                if measured is not None:  # after the save: the steps so far were made without the total
                    write_json(self.folder / "run.json", self.entry)
                yield row
        except GeneratorExit:
            if trainer.step != saved_step:
                self.save()
            raise

    def save(self) -> None:
        """Write a checkpoint and the averaged model, each whole or not at all."""
        save_checkpoint(self.folder / "checkpoints", self.trainer, self._milestones())
        self._export()

    def _best_before(self) -> float:
        """The least up to the checkpoint."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()[: self.trainer.step] if path.exists() else []
        return min((self._measured(json.loads(line)) for line in lines), default=math.inf)

    def _keep_best(self, row: dict[str, Any]) -> None:
        if self._measured(row) < self.best:
            self.best = self._measured(row)
            self._export(BEST_FILE)

    def _measured(self, row: dict[str, Any]) -> float:
        found = row.get(self.config.best)
        return math.inf if found is None else found

    def _export(self, name: str = MODEL_FILE) -> None:
        trainer = self.trainer
        trainer.ema.about = {
            **trainer.ema.about,
            "alphabar": __version__,
            "images": trainer.images,
            "steps": trainer.step,
            "of_images": self.total,
            "data_fingerprint": self.entry["data"]["fingerprint"],
            "config": self.config.model_dump(mode="json"),
        }
        self._keep_fitted(self.folder / name)
        trainer.ema.save(self.folder / name)

    def _keep_fitted(self, path: Path) -> None:
        """What was fitted to the model in a file stays with it, if its weights are still these."""
        ema = self.trainer.ema
        ema.plans, ema.x0_mse = [], None
        if not path.exists():
            return
        with contextlib.suppress(ValueError, KeyError):
            before, _ = read_facts(path)
            if before["about"]["images"] == self.trainer.images:
                ema.plans = [Plan.from_dict(entry) for entry in before["plans"]]
                ema.x0_mse = before["x0_mse"]
            elif before["plans"] or before["x0_mse"]:
                self.say("the weights have changed: what alphabar tune fitted to those before is dropped")

    def _milestones(self) -> list[int]:
        if self.total is None:
            return []
        steps = -(-self.total // self.config.batch_size)
        return [steps * quarter // 4 for quarter in (1, 2, 3)]

    @contextlib.contextmanager
    def _metrics(self) -> Iterator[IO[str]]:
        """metrics.jsonl, cut back to the checkpoint: what came after it will come again, the same."""
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[: self.trainer.step]
            with atomic(path) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        with open(path, "a", encoding="utf-8") as file:
            yield file

    def _remove_leftovers(self) -> None:
        for folder in (self.folder, self.folder / "checkpoints"):
            for path in folder.glob(".*.tmp"):
                path.unlink()

    def _warn_of_changes(self) -> None:
        """Exact resuming needs the same software and threads; say so where they have changed."""
        now = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
        now["device"] = self.trainer.device.type
        before = self.entry["measured"].setdefault("made_with", now)
        changed = [f"{k} {before[k]} → {now[k]}" for k in now if before.get(k) != now[k]]
        if changed and self.resumed_from:
            self.say(f"resuming with {', '.join(changed)}: the last bits may differ from an unbroken run")
        write_json(self.folder / "run.json", self.entry)


LOCK, BEST_FILE = ".lock", "best.safetensors"
EARLIER = {"optimizer": "adamw", "momentum": 0.95, "best": "held_out_loss"}  # before these were settings


def _is_leftover(path: Path) -> bool:
    """Whether a file is what a run leaves that was killed before its first write was done."""
    return path.name == LOCK or fnmatch(path.name, ".run.json.*.tmp")


class _Clock:
    """Turns minutes into a number of images, once the speed has been measured."""

    def __init__(self, minutes: float | None, images: int, start: float) -> None:
        self.minutes = minutes
        self.start = start
        self.start_images = images
        self.first: tuple[float, int] | None = None
        self.steps = 0

    def total(self, images: int) -> int | None:
        """The budget in images, as soon as it can be told; the first step warms up."""
        if self.minutes is None:
            return None
        now, budget_s = time.monotonic(), 60 * self.minutes
        self.steps += 1
        if self.first is None:
            self.first = now, images
            return None
        elapsed = now - self.first[0]
        if self.steps < 4 or elapsed < min(MAX_SPEED_S, SPEED_SHARE * budget_s):
            return None
        rate = (images - self.first[1]) / elapsed
        return round(images + max(0.0, SAFETY * rate * (budget_s - (now - self.start))))

    def reading(self, step: int, images: int) -> dict[str, Any]:
        elapsed = time.monotonic() - self.start
        return {
            "step": step,
            "images": images,
            "time": time.time(),
            "elapsed_s": elapsed,
            "images_per_s": (images - self.start_images) / elapsed,
        }


def run_progress(folder: Path) -> dict[str, Any]:
    """How far the run in a folder has come, from its newest readable checkpoint's header."""
    for path in reversed(checkpoint_files(folder / "checkpoints")):
        with contextlib.suppress(DamagedFile):
            return read_facts(path)[0]
    return {"step": 0, "images": 0}
