"""The services that metrics can be logged to, each behind the same few methods."""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from .folder import RunFolder

PROJECT = "alphabar"
PICTURES = "previews"

Values = dict[str, float]


class Sink:
    """A place that metrics go to: a row of `SINKS` is a class like this one.

    Attributes:
        package: what must be installed for it.
        flushes: whether `flush` stores everything, so that a kill can't undo it; if not, only `close` does.

    Args:
        folder: the run's.
        entry: the contents of run.json.
        config: the settings, as JSON.
    """

    package: ClassVar[str] = ""
    flushes: ClassVar[bool] = True

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        raise NotImplementedError

    def write(self, images: int, values: Values, picture: Path | None, time: float) -> None:
        """Log one row.

        Args:
            images: how many images had been trained on.
            values: the metrics.
            picture: the preview that was drawn then, if one was.
            time: when that was, in seconds since 1970.
        """
        raise NotImplementedError

    def last(self) -> int | None:
        """`images` of the last row that the service has, or None if it can't say."""
        return None

    def flush(self) -> None:
        """Write out what is still in memory."""

    def close(self) -> None:
        """Write out everything and end the connection."""

    @classmethod
    def check(cls) -> None:
        """ValueError if its package is not installed."""
        if cls.package and importlib.util.find_spec(cls.package) is None:
            raise ValueError(
                f"logging to {cls.package} needs the package {cls.package}, which is not installed: "
                f"pip install {cls.package}, or leave {cls.package} out"
            )


class TensorBoard(Sink):
    """Event files in RUN/tensorboard."""

    package = "tensorboard"

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = str(folder.log_place("tensorboard"))
        self.writer = SummaryWriter(self.place)

    def write(self, images: int, values: Values, picture: Path | None, time: float) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, images, walltime=time)
        if picture is not None:
            import numpy as np

            from ..data.sources.pictures import opened

            with opened(picture) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.writer.add_image(PICTURES, pixels, images, walltime=time, dataformats="HWC")

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
    """A wandb run in RUN/wandb: offline, for a later `wandb sync`, unless an API key is found."""

    package = "wandb"

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.wandb = wandb
        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=entry["id"],
            name=folder.path.resolve().name,
            dir=str(folder),  # in which it makes its own
            config=config,
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or ("online" if _knows_key() else "offline"),  # pyright: ignore[reportArgumentType]
        )

    def write(self, images: int, values: Values, picture: Path | None, time: float) -> None:
        pictures = {} if picture is None else {PICTURES: self.wandb.Image(str(picture))}
        self.run.log({"images": images, **values, **pictures}, step=images)

    def last(self) -> int | None:
        """The server's step; None offline."""
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
    """A Trackio run, in Trackio's own folder on this machine or where its environment variables say.

    A thread of Trackio's stores the rows, up to half a second later. Only closing it waits for that.
    """

    package = "trackio"
    flushes = False

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        import trackio  # pyright: ignore[reportMissingImports]

        self.trackio: Any = trackio
        name = f"{folder.path.resolve().name}-{entry['id']}"
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            run = trackio.init(project=PROJECT, name=name, config=config, resume="allow")
        self.following: int | None = getattr(run, "_next_step", None)

    def write(self, images: int, values: Values, picture: Path | None, time: float) -> None:
        pictures = {} if picture is None else {PICTURES: self.trackio.Image(str(picture))}
        self.trackio.log({"images": images, **values, **pictures}, step=images)

    def last(self) -> int | None:
        """The last step that was stored when the run was opened; None if a server didn't say."""
        remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        if self.following is None or (remote and not self.following):
            return None
        return max(self.following - 1, 0)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self.trackio.finish()


class MLflow(Sink):
    """An MLflow run, in RUN/mlflow.db unless MLFLOW_TRACKING_URI names another place."""

    package = "mlflow"
    BATCH = 1000  # metrics in a call, which is the most that a server takes

    def __init__(self, folder: RunFolder, entry: dict[str, Any], config: dict[str, Any]) -> None:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        own = f"sqlite:///{folder.log_place('mlflow.db').resolve()}"
        files = None if elsewhere else folder.log_place("mlflow").resolve().as_uri()
        self.client: Any = MlflowClient(elsewhere or own)
        self.metric: Any = Metric
        known = self.client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self.client.create_experiment(PROJECT, files)
        runs = self.client.search_runs([experiment], f"tags.alphabar = '{entry['id']}'")
        if runs:
            self.id = runs[0].info.run_id
        else:
            name = folder.path.resolve().name
            made = self.client.create_run(experiment, tags={PROJECT: entry["id"]}, run_name=name)
            self.id = made.info.run_id
            for name, value in config.items():
                self.client.log_param(self.id, name, str(value)[:500])
        self.waiting: list[Any] = []

    def write(self, images: int, values: Values, picture: Path | None, time: float) -> None:
        at_ms = round(1000 * time)
        self.waiting += [self.metric(name, value, at_ms, images) for name, value in values.items()]
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
