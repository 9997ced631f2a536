"""A run's folder: the one place that knows the names inside it.

RUN/run.json             what decides the bits, how long, habits, what was measured, and the history
RUN/metrics.jsonl        one line an update; a function of the run alone
RUN/times.jsonl          the clock, which is not
RUN/checkpoints/         the last two, and a milestone at each quarter
RUN/model.safetensors    the averaged model, self-describing
RUN/best.safetensors     the same when its held-out loss (or what `best` says) was least
RUN/previews/            sheets of samples by images seen
RUN/loss.png             its curves, as alphabar train draws them at the end
RUN/logged.json          how far each log (tensorboard, …) has been told; their own files lie beside it
"""

from __future__ import annotations

import contextlib
import html
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import (
    DamagedFile,
    Locked,
    check_facts,
    clean,
    expanded,
    is_temporary,
    json_lines,
    lines_with_ends,
    lock_of,
    locked,
    read_json,
    read_metadata,
    write_json,
)
from ..images import html_image
from ..model.facts import CHECKPOINT
from ..model.file import MODEL_FILE
from .checkpoints import checkpoint_files, clean_parts
from .facts import LOGGED, METRICS, TIMES, check_run

PARTS = {"identity", "budget", "habits", "measured", "history"}


class RunFolder:
    """What there is in the folder of a run, which need not exist yet.

    Attributes:
        path: of the folder.
        model, best, checkpoint_folder, metrics_file, times_file, previews, curves: places in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self.model = self.path / MODEL_FILE
        self.best = self.path / "best.safetensors"
        self.checkpoint_folder = self.path / "checkpoints"
        self.metrics_file = self.path / "metrics.jsonl"
        self.times_file = self.path / "times.jsonl"
        self.previews = self.path / "previews"
        self.curves = self.path / "loss.png"
        self._entry_file = self.path / "run.json"
        self._logged_file = self.path / "logged.json"
        self._lock = self.path / ".lock"

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def holding(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The folder of a run, given by itself or by one of its checkpoints."""
        path = expanded(path)
        return cls(path if path.is_dir() else path.parent.parent)

    def exists(self) -> bool:
        """Whether there is a run in it."""
        return self._entry_file.exists()

    # --- run.json --------------------------------------------------------------------------------

    def entry(self) -> dict[str, Any]:
        """What run.json says; ValueError if it is not one of these."""
        entry = read_json(self._entry_file)
        if not isinstance(entry, dict) or not set(entry) >= PARTS:
            raise ValueError(f"{self._entry_file} is not the description of a run; choose another --out")
        return check_run(self._entry_file, entry)

    def write_entry(self, entry: dict[str, Any]) -> None:
        """Replace run.json; nothing happens if it says so already."""
        if not self.exists() or read_json(self._entry_file) != json.loads(json.dumps(entry)):
            write_json(self._entry_file, entry)

    # --- what training wrote ---------------------------------------------------------------------

    def metrics(self, start: int = 0) -> list[dict[str, Any]]:
        """A row for each update, from byte `start` of the file on."""
        return [check_facts(self.metrics_file, row, METRICS) for row in json_lines(self.metrics_file, start)]

    def metrics_up_to(self, images: int, start: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The rows from byte `start` on of updates up to so many images, and the byte after them."""
        rows, end = [], start
        for row, after in lines_with_ends(self.metrics_file, start):
            if check_facts(self.metrics_file, row, METRICS)["images"] > images:
                break
            rows.append(row)
            end = after
        return rows, end

    def times(self) -> list[dict[str, Any]]:
        """Readings of the clock, one a save."""
        return [check_facts(self.times_file, row, TIMES) for row in json_lines(self.times_file)]

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return checkpoint_files(self.checkpoint_folder)

    def progress(self) -> dict[str, Any]:
        """{"step", "images"} of the newest readable checkpoint, from its header alone; 0 if there is none."""
        for path in reversed(self.checkpoints()):
            with contextlib.suppress(DamagedFile, FileNotFoundError):
                return check_facts(path, read_metadata(path)[0], CHECKPOINT)["checkpoint"]
        return {"step": 0, "images": 0}

    def preview(self, images: int) -> Path:
        """The sheet of samples after so many images."""
        return self.previews / f"{images:09d}.png"

    def preview_files(self) -> list[Path]:
        """Sheets of samples, the earliest first."""
        return sorted(path for path in self.previews.glob("*.png") if path.stem.isdecimal())

    def logged(self) -> dict[str, Any]:
        """How many images each log has been told of, and is being told of, by name."""
        if not self._logged_file.exists():
            return {}
        return check_facts(self._logged_file, read_json(self._logged_file), LOGGED)

    def write_logged(self, logged: dict[str, Any]) -> None:
        """Replace what `logged` reads."""
        write_json(self._logged_file, logged)

    def log_place(self, name: str) -> Path:
        """Where a log keeps a file or folder of its own."""
        return self.path / name

    # --- one process at a time -------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second process from training in the folder; ValueError if one does."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self._lock, wait=False))
            except Locked:
                raise ValueError(f"another process or loop is training in {self.path}") from None
            yield

    def is_trained_now(self) -> bool:
        """Whether a process is training in the folder."""
        if not self._lock.exists():
            return False
        try:
            with self.alone():
                return False
        except ValueError:
            return True
        except OSError:  # a folder that can only be read
            return False

    def check_trainable(self) -> None:
        """ValueError, before data are read, where nothing can be trained here now."""
        if not self.exists():
            self.check_free()
        if self._lock.exists():
            with self.alone():
                pass

    def check_free(self) -> None:
        """ValueError unless a new run may start here: there is no folder, or an empty one."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; --out must be a folder")
        if not all(self._is_leftover(path) for path in self.path.iterdir()):
            what, begin = "something that is not a run of Alphabar", ""
            if self.model.exists():
                what = "a run whose run.json is missing"
                begin = f", and begin with its weights by --from {self.model}"
            raise ValueError(
                f"{self.path} holds {what}; choose a new or an empty folder{begin} (nothing was written)"
            )

    def check_begins(self) -> None:
        """ValueError where training would begin anew over a model, because the checkpoints are gone."""
        if self.model.exists():
            raise ValueError(
                f"{self} has a model but no checkpoint to go on from: put its checkpoints back, or train "
                f"a new run from its weights, --from {self.model} --out NEW_RUN"
            )

    def _is_leftover(self, path: Path) -> bool:
        """Whether this is what a run leaves that was killed before its run.json was written."""
        return path == self._lock or is_temporary(path)

    def clean(self) -> None:
        """Remove what killed processes left."""
        for folder in (self.path, self.checkpoint_folder, self.previews):
            clean(folder)
        clean_parts(self.checkpoint_folder)
        for lock in (lock_of(self.model), lock_of(self.best)):
            if lock.exists():
                with contextlib.suppress(Locked), locked(lock, wait=False):
                    pass  # it goes, if nobody holds it

    # --- in a notebook ---------------------------------------------------------------------------

    def _repr_png_(self) -> bytes | None:
        """The newest sheet of samples."""
        files = self.preview_files()
        return files[-1].read_bytes() if files else None

    def _repr_html_(self) -> str:
        """How far it has come, and the newest sheet of samples."""
        rows = self.metrics()
        told = f"{rows[-1]['images']:,} images, loss {rows[-1]['loss']:.4f}" if rows else "not begun"
        png = self._repr_png_()
        shown = f"<br>{html_image(png)}" if png else ""
        return f"<p><b>{html.escape(str(self.path))}</b>: {told}{shown}</p>"
