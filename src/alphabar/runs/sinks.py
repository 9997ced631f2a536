"""Where metrics go beside metrics.jsonl: TensorBoard, Weights & Biases, Trackio, MLflow.

After every save each is told of all rows of metrics.jsonl up to the checkpoint that it has not been told of,
by images seen. So a log is unbroken and says nothing twice over any number of kills, and one that is asked
for later begins at the beginning.
"""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ..training.config import LOGS, TrainConfig
from .folder import RunFolder

PROJECT = "alphabar"
PICTURES = "previews"

Values = dict[str, float]


class Sink:
    """One place that metrics go to. A row of `SINKS` is a class like this one.

    Attributes:
        package: that must be installed.

    Args:
        folder: of the run.
        entry: run.json.
        config: the settings, as JSON.
    """

    package: ClassVar[str] = ""

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        raise NotImplementedError

    def write(self, images: int, values: Values, picture: Path | None) -> None:
        """Tell of one row."""
        raise NotImplementedError

    def last(self) -> int | None:
        """The images of the last row that it knows of; None if it cannot tell."""
        return None

    def flush(self) -> None:
        """See to it that what was told is kept."""

    def close(self) -> None:
        """End."""

    @classmethod
    def check(cls) -> None:
        """ValueError if its package is not installed."""
        if cls.package and importlib.util.find_spec(cls.package) is None:
            name = next((name for name, row in SINKS.items() if row is cls), cls.package)
            raise ValueError(
                f"log {name} needs the package {cls.package}, which is not installed: "
                f"pip install {cls.package}, or leave {name} out"
            )


class TensorBoard(Sink):
    """Event files in RUN/tensorboard."""

    package = "tensorboard"

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = str(folder.path / "tensorboard")
        self.writer = SummaryWriter(self.place)

    def write(self, images: int, values: Values, picture: Path | None) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, images)
        if picture is not None:
            import numpy as np
            from PIL import Image

            with Image.open(picture, formats=["PNG"]) as image:
                self.writer.add_image(PICTURES, np.asarray(image.convert("RGB")), images, dataformats="HWC")

    def last(self) -> int | None:
        """The last step of the loss in the event files."""
        from tensorboard.backend.event_processing import (  # pyright: ignore[reportMissingImports]
            event_accumulator,
        )

        events = event_accumulator.EventAccumulator(self.place, size_guidance={"scalars": 0})
        events.Reload()
        known = events.Scalars("loss") if "loss" in events.Tags()["scalars"] else []
        return max((event.step for event in known), default=0)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases(Sink):
    """A run of wandb, in RUN/wandb; offline (to be sent by `wandb sync`) unless it knows a key."""

    package = "wandb"

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.wandb = wandb
        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=entry["id"],
            name=folder.path.resolve().name,
            dir=str(folder.path),
            config=config,
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or ("online" if _knows_key() else "offline"),  # pyright: ignore[reportArgumentType]
        )

    def write(self, images: int, values: Values, picture: Path | None) -> None:
        pictures = {} if picture is None else {PICTURES: self.wandb.Image(str(picture))}
        self.run.log({"images": images, **values, **pictures}, step=images)

    def last(self) -> int | None:
        """The step that the server knows; offline it cannot tell."""
        return int(self.run.step) if getattr(self.run, "resumed", False) else None

    def close(self) -> None:
        self.run.finish()


def _knows_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError):
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    return False


class Trackio(Sink):
    """A run of Trackio, in its own folder on this machine (or as its environment variables say)."""

    package = "trackio"

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        import trackio  # pyright: ignore[reportMissingImports]

        self.trackio: Any = trackio
        name = f"{folder.path.resolve().name}-{entry['id']}"
        trackio.init(project=PROJECT, name=name, config=config, resume="allow")

    def write(self, images: int, values: Values, picture: Path | None) -> None:
        pictures = {} if picture is None else {PICTURES: self.trackio.Image(str(picture))}
        self.trackio.log({"images": images, **values, **pictures}, step=images)

    def close(self) -> None:
        self.trackio.finish()


class MLflow(Sink):
    """A run of MLflow, in RUN/mlflow.db unless MLFLOW_TRACKING_URI names another place."""

    package = "mlflow"
    BATCH = 1000

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        place = folder.path.resolve()
        own = f"sqlite:///{place / 'mlflow.db'}"
        self.client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own)
        self.metric: Any = Metric
        known = self.client.get_experiment_by_name(PROJECT)
        where = None if os.environ.get("MLFLOW_TRACKING_URI") else (place / "mlflow").as_uri()
        experiment = known.experiment_id if known else self.client.create_experiment(PROJECT, where)
        runs = self.client.search_runs([experiment], f"tags.alphabar = '{entry['id']}'")
        if runs:
            self.id = runs[0].info.run_id
        else:
            made = self.client.create_run(experiment, tags={PROJECT: entry["id"]}, run_name=place.name)
            self.id = made.info.run_id
            for name, value in config.items():
                self.client.log_param(self.id, name, str(value)[:500])
        self.waiting: list[Any] = []

    def write(self, images: int, values: Values, picture: Path | None) -> None:
        self.waiting += [self.metric(name, value, images, images) for name, value in values.items()]
        if picture is not None:
            self.client.log_artifact(self.id, str(picture), PICTURES)
        if len(self.waiting) >= self.BATCH - 20:
            self.flush()

    def last(self) -> int | None:
        """The last step of the loss."""
        return max((metric.step for metric in self.client.get_metric_history(self.id, "loss")), default=0)

    def flush(self) -> None:
        for i in range(0, len(self.waiting), self.BATCH):
            self.client.log_batch(self.id, metrics=self.waiting[i : i + self.BATCH])
        self.waiting = []

    def close(self) -> None:
        self.client.set_terminated(self.id)


SINKS: dict[str, type[Sink]] = LOGS
"""Places that metrics can go to, by name."""
SINKS.update({"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio, "mlflow": MLflow})


class Sinks:
    """The sinks of a run, opened when there is something to say; with each, how far it has been told.

    RUN/logged.json says {sink: {"images": told, "toward": being told}}. A process that is killed between the
    two leaves `toward`; then the sink is asked, and one that cannot tell is taken to know.
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
        self.offset = 0

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.open):
            self._guarded(name, self.open.pop(name).close)

    def push(self, images: int) -> None:
        """Tell every sink of the rows up to `images` that it has not been told of."""
        names = [name for name in self.config.logs if name not in self.failed]
        if not names:
            return
        size = self.folder.metrics_file.stat().st_size
        rows = [row for row in self.folder.metrics(self.offset) if row["images"] <= images]
        self.offset = size
        rates = {row["images"]: row["images_per_s"] for row in self.folder.times()}
        pictures = {int(path.stem): path for path in self.folder.preview_files()}
        for name in names:
            self._guarded(name, lambda name=name: self._tell(name, rows, rates, pictures))

    def _tell(
        self, name: str, rows: list[dict[str, Any]], rates: dict[int, float], pictures: dict[int, Path]
    ) -> None:
        if name not in self.open:
            config = self.config.model_dump(mode="json")
            self.open[name] = SINKS[name](self.folder, self.entry, config)
        sink, state = self.open[name], self.logged.get(name, {"images": 0})
        told = state["images"]
        if "toward" in state:
            last = sink.last()
            told = state["toward"] if last is None else max(told, last)
        new = [row for row in rows if row["images"] > told]
        if not new and "toward" not in state:
            return
        toward = new[-1]["images"] if new else told
        self.logged[name] = {"images": told, "toward": toward}
        self.folder.write_logged(self.logged)
        for row in new:
            values = {key: value for key, value in row.items() if _is_metric(key, value)}
            values |= {"images_per_s": rates[row["images"]]} if row["images"] in rates else {}
            sink.write(row["images"], values, pictures.get(row["images"]))
        sink.flush()
        self.logged[name] = {"images": toward}
        self.folder.write_logged(self.logged)

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        """Training goes on if a sink fails; it is told of the rest when the run is resumed."""
        try:
            act()
        except Exception as error:
            self.failed.add(name)
            self.say(f"log {name} failed, and is left out from here on: {type(error).__name__}: {error}")


def _is_metric(key: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and key not in ("step", "images")
