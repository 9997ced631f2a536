"""Where metrics go beside metrics.jsonl: TensorBoard, Weights & Biases, Trackio, MLflow.

After every save each sink gets the rows of metrics.jsonl, up to the checkpoint, that it doesn't have yet. So
its log is unbroken and holds nothing twice, however often training is killed, and a sink that is added later
starts from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..training.config import LOGS, TrainConfig
from .folder import RunFolder
from .services import MLflow, Sink, TensorBoard, Trackio, Values, WeightsAndBiases

__all__ = ["SINKS", "Sink", "Sinks"]

SINKS: dict[str, type[Sink]] = LOGS
"""Places that metrics can go to, by name."""
SINKS.update({"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio, "mlflow": MLflow})


class Row(NamedTuple):
    """What a sink gets for each update: the arguments of `Sink.write`."""

    images: int
    values: Values
    picture: Path | None
    time: float


class Sinks:
    """The sinks of a run, each opened when there is something to send to it.

    RUN/logged.json says how far each has come: {sink: {"images": it has for certain, "toward": was sent}}. A
    killed process leaves `toward` behind. The next one then asks the sink for its last row; a sink that can't
    say is assumed to have everything.
    """

    def __init__(
        self,
        folder: RunFolder,
        entry: dict[str, Any],
        config: TrainConfig,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.folder, self.entry, self.config, self.say = folder, entry, config, say
        self.open: dict[str, Sink] = {}
        self.failed: set[str] = set()
        self.logged: dict[str, Any] = folder.logged() if config.logs else {}
        self.sent: dict[str, int] = {}
        self.offset = 0

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.open):
            self._guarded(name, lambda name=name: self._close(name))

    def push(self, images: int) -> None:
        """Send every sink the rows up to `images` that it doesn't have yet."""
        names = [name for name in self.config.logs if name not in self.failed]
        if not names:
            return
        metrics, self.offset = self.folder.metrics_up_to(images, self.offset)
        rows = self._rows(metrics)
        for name in names:
            self._guarded(name, lambda name=name: self._send(name, rows))

    def _rows(self, metrics: Iterable[dict[str, Any]]) -> list[Row]:
        """Rows of metrics.jsonl, with the time, the speed and the preview that belong to each."""
        times = self.folder.times()
        start = self.entry["identity"]["start"] or {}
        when = clock(times, start.get("images", 0))
        rates = {row["images"]: {"images_per_s": row["images_per_s"]} for row in times}
        pictures = {int(path.stem): path for path in self.folder.preview_files()}
        rows = []
        for row in metrics:
            images = row["images"]
            values = {key: value for key, value in row.items() if _is_metric(key, value)}
            rows.append(Row(images, values | rates.get(images, {}), pictures.get(images), when(images)))
        return rows

    def _send(self, name: str, rows: list[Row]) -> None:
        known = self._known(name)
        new = [row for row in rows if row.images > known]
        if not new:
            return
        sink, toward = self._opened(name), new[-1].images
        self._note(name, {"images": self.logged.get(name, {"images": 0})["images"], "toward": toward})
        for row in new:
            sink.write(*row)
        sink.flush()
        self.sent[name] = toward
        if sink.flushes:
            self._note(name, {"images": toward})

    def _known(self, name: str) -> int:
        """`images` of the last row that a sink has."""
        if name not in self.sent:
            state = self.logged.get(name, {"images": 0})
            sent = state["images"]
            if "toward" in state:
                last = self._opened(name).last()
                sent = state["toward"] if last is None else max(sent, last)
            self.sent[name] = sent
        return self.sent[name]

    def _opened(self, name: str) -> Sink:
        if name not in self.open:
            config = self.config.model_dump(mode="json")
            self.open[name] = SINKS[name](self.folder, self.entry, config)
        return self.open[name]

    def _close(self, name: str) -> None:
        self.open.pop(name).close()
        if self.logged.get(name, {}).get("toward") == self.sent.get(name):  # it got everything
            self._note(name, {"images": self.sent[name]})

    def _note(self, name: str, state: dict[str, int]) -> None:
        if self.logged.get(name) != state:
            self.logged[name] = state
            self.folder.write_logged(self.logged)

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        """Do something with a sink; if that fails, training goes on, and resuming sends it the rest."""
        try:
            act()
        except Exception as error:
            self.failed.add(name)
            self.say(f"log {name} failed, and is left out from here on: {type(error).__name__}: {error}")


def clock(times: Sequence[dict[str, Any]], start: int = 0) -> Callable[[int], float]:
    """images → when so many had been trained on, in seconds since 1970.

    Between two readings of the clock, which is read at every save, updates count as evenly spread. A run that
    was resumed stood still until then.

    Args:
        times: the rows of times.jsonl.
        start: images of the model that the run began with.
    """
    marks: list[tuple[int, float]] = []
    for images, row in sorted({row["images"]: row for row in times}.items()):
        resumed = row["time"] - row["elapsed_s"]
        before, until = marks[-1] if marks else (start, -np.inf)
        if until < resumed:
            marks.append((before + 1, resumed))
        marks.append((images, row["time"]))
    if not marks:
        return lambda images: time.time()
    known = np.array(marks).T
    return lambda images: float(np.interp(images, *known))


def _is_metric(key: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and key not in ("step", "images", "sample_n")
