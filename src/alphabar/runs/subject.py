"""The subject of results: a model, with its run's folder if it has one, or existing samples."""

from __future__ import annotations

import contextlib
import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from ..files import DamagedFile, expanded, load_tensors
from ..model.denoiser import Denoiser
from ..model.file import load
from ..model.whole import of_crops
from .folder import RunFolder
from .given import is_model


class Subject:
    """A model and what its run's folder holds, each read once; or the place of samples.

    Attributes:
        of: what was given.
        path: the same as a path, if it is one.
        has_model: whether there is a model, and not just samples.
    """

    def __init__(self, of: str | Path | Denoiser, device: str = "auto") -> None:
        self.of, self.device = of, device
        self.path = None if isinstance(of, Denoiser) else expanded(of)
        self.has_model = self.path is None or is_model(self.path)

    @property
    def name(self) -> str:
        """The name of the run, the file or the model."""
        return (self.path.resolve().name if self.path else self.denoiser.about.get("run")) or "model"

    @cached_property
    def folder(self) -> RunFolder | None:
        """The run's folder, if the subject is one."""
        folder = RunFolder(self.path) if self.path is not None and self.path.is_dir() else None
        return folder if folder is not None and self.has_model else None

    @cached_property
    def entry(self) -> dict[str, Any]:
        """The contents of run.json; empty if there is none."""
        return self.folder.entry() if self.folder is not None and self.folder.exists() else {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of the run's metrics.jsonl, one for each update."""
        return self.folder.metrics() if self.folder is not None else []

    @cached_property
    def times(self) -> list[dict[str, Any]]:
        """The run's readings of the clock, one for each save."""
        return self.folder.times() if self.folder is not None else []

    @cached_property
    def denoiser(self) -> Denoiser:
        """The model, of samples as it was trained on; ValueError if there are only samples."""
        if isinstance(self.of, Denoiser):
            return of_crops(self.of)
        if not self.has_model:
            raise ValueError(f"{self.of} is neither a run nor a model file")
        return of_crops(load(self.of, self.device))

    @cached_property
    def raw(self) -> Denoiser | None:
        """The model with the current weights, from which training resumes, rather than their average."""
        for path in reversed(self.folder.checkpoints() if self.folder is not None else []):
            with contextlib.suppress(DamagedFile, RuntimeError):
                tensors = load_tensors(path)[0]
                net = {k.removeprefix("net."): tensors[k] for k in tensors if k.startswith("net.")}
                model = copy.deepcopy(self.denoiser)
                model.net.load_state_dict(net)
                return model
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of training that the model's file names."""
        return self.denoiser.about.get("training", {})

    @cached_property
    def fault(self) -> str:
        """Why the weights can't be used for sampling; "" if they can."""
        if not self.has_model or all(bool(p.isfinite().all()) for p in self.denoiser.parameters()):
            return ""
        return f"the weights of {self.of} hold NaN or infinity: alphabar diagnose tells more"
